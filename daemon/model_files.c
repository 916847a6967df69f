#include "daemon/model_files.h"

#include "config/infile.h"
#include "daemon/paths.h"
#include "daemon/retrain_files.h"
#include "fusion/outfile.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static_assert(CANDIDATE_N_FILES <= CONTROL_FDS_MAX, "a candidate's files go with one packet");

int model_files_open(const char *path, bool folder, struct model_files *ret_files,
                     struct err *err)
{
    size_t n = folder ? CANDIDATE_N_FILES : 1;
    struct model_files files = {.n = 0};
    char name[PATH_MAX];
    int64_t bytes;
    int r = ERR_OK;

    while (r == ERR_OK && files.n < n) {
        if (folder)
            r = paths_join(path, candidate_files[files.n], name, err);
        if (r == ERR_OK)
            r = infile_open(folder ? name : path, &files.fds[files.n], &bytes, err);
        files.n += r == ERR_OK;
    }
    if (r == ERR_OK)
        *ret_files = files;
    else
        model_files_close(&files);
    return r;
}

void model_files_close(struct model_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        (void)close(files->fds[i]);
    files->n = 0;
}

static int copy_files(const struct control_call *call, const char *dir, size_t n,
                      struct err *err)
{
    char to[PATH_MAX];
    int fd, r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < n; i++) {
        r = control_file(call, i, candidate_files[i], &fd, err);
        if (r == ERR_OK)
            r = paths_join(dir, candidate_files[i], to, err);
        if (r == ERR_OK)
            r = outfile_copy_fd(fd, candidate_files[i], to, err);
    }
    return r;
}

int model_files_take(const struct control_call *call, const struct settings *s, bool folder,
                     char ret_dir[PATH_MAX], char ret_path[PATH_MAX], struct err *err)
{
    char dir[PATH_MAX];
    int r = paths_model_file(s, RETRAIN_BY_HAND "XXXXXX", dir, err);

    if (r != ERR_OK)
        return r;
    if (!mkdtemp(dir))
        return err_fatal(err, EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    r = copy_files(call, dir, folder ? CANDIDATE_N_FILES : 1, err);
    if (r == ERR_OK && !folder)
        r = paths_join(dir, candidate_files[0], ret_path, err);
    else if (r == ERR_OK)
        memcpy(ret_path, dir, sizeof(dir));
    if (r == ERR_OK)
        memcpy(ret_dir, dir, sizeof(dir));
    else
        model_files_remove(dir);
    return r;
}

void model_files_remove(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;

    while (d && (entry = readdir(d)))
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        (void)closedir(d);
    (void)rmdir(dir);
}
