#include "daemon/base/paths.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define WORKER_NAME  "metammf-extract"
#define TRAINER_NAME "metammf"

static int too_long(struct err *err, const char *path)
{
    return err_fatal(err, EX_CONFIG, "path %.200s…: longer than %d bytes", path, PATH_MAX - 1);
}

static int set_path(char ret_path[PATH_MAX], const char *path, size_t n, struct err *err)
{
    if (n >= PATH_MAX)
        return too_long(err, path);
    memcpy(ret_path, path, n);
    ret_path[n] = '\0';
    return ERR_OK;
}

int paths_model_dir(const struct settings *s, char ret_path[PATH_MAX], struct err *err)
{
    if (s->store.model_dir[0])
        return set_path(ret_path, s->store.model_dir, strlen(s->store.model_dir), err);
    const char *slash = strrchr(s->store.path, '/');
    if (!slash)
        return set_path(ret_path, ".", 1, err);
    size_t n = slash == s->store.path ? 1 : (size_t)(slash - s->store.path);
    return set_path(ret_path, s->store.path, n, err);
}

int paths_join(const char *dir, const char *name, char ret_path[PATH_MAX], struct err *err)
{
    size_t n = strlen(dir), bytes = strlen(name) + 1;
    if (n + 1 + bytes > PATH_MAX)
        return too_long(err, dir);
    memcpy(ret_path, dir, n);
    ret_path[n] = '/';
    memcpy(ret_path + n + 1, name, bytes);
    return ERR_OK;
}

int paths_model_file(const struct settings *s, const char *name, char ret_path[PATH_MAX],
                     struct err *err)
{
    char dir[PATH_MAX];
    int status = paths_model_dir(s, dir, err);
    return status == ERR_OK ? paths_join(dir, name, ret_path, err) : status;
}

/* A program in the folder of this executable. */
static bool beside(const char *name, char ret_path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);
    size_t bytes = strlen(name) + 1;
    if (n <= 0)
        return false;
    ret_path[n] = '\0';
    char *slash = strrchr(ret_path, '/');
    if (!slash || (size_t)(slash + 1 - ret_path) + bytes > PATH_MAX)
        return false;
    memcpy(slash + 1, name, bytes);
    return access(ret_path, X_OK) == 0;
}

static int find_program(const char *name, const char *installed, const char *setting,
                        char ret_path[PATH_MAX], struct err *err)
{
    if (beside(name, ret_path))
        return ERR_OK;
    if (access(installed, X_OK) == 0)
        return set_path(ret_path, installed, strlen(installed), err);
    return err_fatal(err, EX_CONFIG, "%s: %s, and there is none beside this executable: set %s",
                     installed, strerror(errno), setting);
}

int paths_worker(const struct settings *s, char ret_path[PATH_MAX], struct err *err)
{
    const char *set = s->extract.worker_path;
    return set[0] ? set_path(ret_path, set, strlen(set), err)
                  : find_program(WORKER_NAME, MMF_LIBEXECDIR "/" WORKER_NAME,
                                 "extract.worker_path", ret_path, err);
}

int paths_trainer(const struct settings *s, char ret_path[PATH_MAX], struct err *err)
{
    const char *set = s->training.trainer_path;
    return set[0] ? set_path(ret_path, set, strlen(set), err)
                  : find_program(TRAINER_NAME, MMF_BINDIR "/" TRAINER_NAME,
                                 "training.trainer_path", ret_path, err);
}
