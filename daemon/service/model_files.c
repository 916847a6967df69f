#include "daemon/service/model_files.h"

#include "config/infile.h"
#include "daemon/base/paths.h"
#include "daemon/retrain/files.h"
#include "fusion/file/outfile.h"
#include "fusion/file/safetensors.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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
        if (r == ERR_OK && files.n >= CANDIDATE_N_NEEDED && access(name, F_OK) != 0 &&
            errno == ENOENT)
            break;
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

/* Sizes that candidate_read takes, and twice the room, because what is published is copied once more. */
static int check_room(const struct control_call *call, const char *dir, size_t n,
                      struct err *err)
{
    struct statvfs disk;
    int64_t all_bytes = 0;
    int fd, r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < n; i++) {
        struct stat info = {.st_size = 0};
        r = control_file(call, i, candidate_files[i], &fd, err);
        if (r == ERR_OK && fstat(fd, &info) != 0)
            r = err_open(err, EX_NOINPUT, candidate_files[i], errno);
        else if (r == ERR_OK && info.st_size > CANDIDATE_BYTES_MAX)
            r = err_fatal(err, EX_DATAERR, "%s: %lld bytes, more than such a file has",
                          candidate_files[i], (long long)info.st_size);
        else
            all_bytes += info.st_size;
    }
    if (r == ERR_OK && statvfs(dir, &disk) == 0 &&
        all_bytes > (int64_t)(disk.f_bavail * disk.f_frsize) / 2)
        r = err_fatal(err, EX_IOERR, "%s: no room for %lld bytes of model files: make some",
                      dir, (long long)all_bytes);
    return r;
}

static int check_header(const struct control_call *call, struct err *err)
{
    struct safetensors header;
    int fd, r = control_file(call, 0, candidate_files[0], &fd, err);

    if (r != ERR_OK)
        return r;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* safetensors_open_fd takes it */
    if (own < 0)
        return err_open(err, EX_OSERR, candidate_files[0], errno);
    r = safetensors_open_fd(own, candidate_files[0], &header, err);
    if (r == ERR_OK)
        safetensors_close(&header);
    return r;
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

/* Those that may be missing are so when their descriptors do not come. */
static size_t n_files(const struct control_call *call)
{
    size_t n = call->n_fds < CANDIDATE_N_FILES ? call->n_fds : CANDIDATE_N_FILES;

    return n > CANDIDATE_N_NEEDED ? n : CANDIDATE_N_NEEDED;
}

int model_files_take(const struct control_call *call, const struct settings *s, bool folder,
                     char ret_dir[PATH_MAX], char ret_path[PATH_MAX], struct err *err)
{
    size_t n = folder ? n_files(call) : 1;
    char dir[PATH_MAX];
    int r = paths_model_dir(s, dir, err);

    /* before a byte is copied: the peer may mean another file */
    if (r == ERR_OK)
        r = check_room(call, dir, n, err);
    if (r == ERR_OK)
        r = check_header(call, err);
    if (r == ERR_OK)
        r = paths_model_file(s, RETRAIN_BY_HAND "XXXXXX", dir, err);
    if (r != ERR_OK)
        return r;
    if (!mkdtemp(dir))
        return err_fatal(err, EX_CANTCREAT, "%s: %s", dir, strerror(errno));
    r = copy_files(call, dir, n, err);
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

void model_files_forget(const char *dir, struct err *err)
{
    size_t n = strlen(dir);

    for (char *at = strstr(err->text, dir); at; at = strstr(at, dir)) {
        size_t cut = at[n] == '/' ? n + 1 : n;
        memmove(at, at + cut, strlen(at + cut) + 1);
    }
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
