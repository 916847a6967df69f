#include "daemon/cli/demo/demo.h"

#include "config/clock.h"
#include "daemon/base/paths.h"
#include "daemon/kafka/mock.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* ---- the folder -------------------------------------------------------------------------- */

/* The three lines at the end quote the path: nothing that a shell or a URI would read. */
static bool is_plain(const char *path)
{
    return strpbrk(path, "'\"\\$`?#%&\n") == NULL;
}

static int not_plain(const char *path, struct err *err)
{
    return err_fatal(err, EX_USAGE,
                     "%s: choose a --dir of at most 90 plain characters, without quotes", path);
}

/* In /tmp anybody may make a folder of this name first: it must be ours, and no link. */
static int claim(const char *dir, struct err *err)
{
    struct stat info;

    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_fatal(err, EX_CANTCREAT, "%s: %s: choose another --dir", dir,
                         strerror(errno));
    if (lstat(dir, &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != geteuid())
        return err_fatal(err, EX_CANTCREAT, "%s: not a folder of yours: choose another --dir",
                         dir);
    return ERR_OK;
}

static void remove_files(const char *folder, bool (*ours)(const char *name))
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL)
        if (ours(entry->d_name))
            unlinkat(dirfd(dir), entry->d_name,
                     0); /* what stays shows up when it is made anew */
    if (dir)
        closedir(dir);
}

static bool is_clip(const char *name)
{
    return strncmp(name, "clip-", 5) == 0;
}

/* Exactly what an earlier demo left. */
static bool is_state(const char *name)
{
    const char *dot = strrchr(name, '.');

    return strncmp(name, "demo.db", 7) == 0 || strncmp(name, "metammfd.", 9) == 0 ||
           strcmp(name, "control.sock") == 0 || (dot && strcmp(dot, ".safetensors") == 0);
}

static void set_paths(struct demo *d)
{
    snprintf(d->store, sizeof(d->store), "%s/demo.db", d->dir);
    snprintf(d->config, sizeof(d->config), "%s/metammfd.conf", d->dir);
    snprintf(d->log, sizeof(d->log), "%s/metammfd.log", d->dir);
    snprintf(d->clips_dir, sizeof(d->clips_dir), "%s/clips", d->dir);
    snprintf(d->socket, sizeof(d->socket), "%s/control.sock", d->dir);
}

static int find_bin(struct demo *d, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", d->bin, sizeof(d->bin) - 1);
    char *slash;

    if (n <= 0)
        return err_fatal(err, EX_OSERR, "/proc/self/exe: %s: is /proc mounted?",
                         strerror(errno));
    d->bin[n] = '\0';
    slash = strrchr(d->bin, '/');
    if (slash)
        *slash = '\0';
    return ERR_OK;
}

int demo_folder(struct demo *d, const char *dir, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX];
    int r;

    if (dir)
        snprintf(path, sizeof(path), "%s", dir);
    else
        snprintf(path, sizeof(path), "%s/metammf-demo", tmp && *tmp ? tmp : "/tmp");
    if (!is_plain(path))
        return not_plain(path, err);
    r = claim(path, err);
    if (r)
        return r;
    if (!realpath(path, d->dir))
        return err_fatal(err, EX_CANTCREAT, "%s: %s", path, strerror(errno));
    if (!is_plain(d->dir) || strlen(d->dir) > 90) /* a socket's path has 107 bytes */
        return not_plain(d->dir, err);
    set_paths(d);
    remove_files(d->dir, is_state);
    remove_files(d->clips_dir, is_clip);
    return find_bin(d, err);
}

/* ---- clips ------------------------------------------------------------------------------- */

static int parse_clip(const char *line, size_t bytes, struct demo_clip *ret, struct err *err)
{
    json_t *json = json_loadb(line, bytes, 0, NULL);
    const char *file = json_string_value(json_object_get(json, "file"));
    const char *title = json_string_value(json_object_get(json, "title"));

    if (!file || !title) {
        json_decref(json);
        return err_fatal(err, EX_SOFTWARE, "clip maker: unexpected line \"%.*s\"", (int)bytes,
                         line);
    }
    snprintf(ret->file, sizeof(ret->file), "%s", file);
    snprintf(ret->item_id, sizeof(ret->item_id), "%.*s", (int)strcspn(file, "."), file);
    snprintf(ret->title, sizeof(ret->title), "%s", title);
    ret->scene = (int)json_integer_value(json_object_get(json, "scene"));
    json_decref(json);
    return ERR_OK;
}

static int parse_clips(struct demo *d, const char *out, struct err *err)
{
    int r = ERR_OK;

    while (r == ERR_OK && *out && d->n_clips < DEMO_CLIPS_MAX) {
        size_t n = strcspn(out, "\n");

        r = parse_clip(out, n, &d->clips[d->n_clips], err);
        d->n_clips++;
        out += out[n] ? n + 1 : n;
    }
    return r;
}

int demo_make_clips(struct demo *d, size_t n, struct err *err)
{
    char worker[PATH_MAX], number[16], option[] = "--make-clips";
    char *const argv[] = {worker, option, d->clips_dir, number, NULL};
    struct settings s = {0};
    char *out = NULL;
    int r = settings_init(&s);

    if (r)
        return err_oom(err, "settings");
    r = paths_worker(&s, worker, err);
    settings_done(&s);
    snprintf(number, sizeof(number), "%zu", n);
    if (r == ERR_OK)
        r = demo_run(argv, "clips", (int64_t)n, &out, err);
    if (r == ERR_OK)
        r = parse_clips(d, out, err);
    free(out);
    if (r == ERR_OK && d->n_clips != n)
        r = err_fatal(err, EX_SOFTWARE, "clip maker: %zu clips instead of %zu", d->n_clips, n);
    return r;
}

/* ---- Kafka and settings ------------------------------------------------------------------ */

int demo_start_kafka(struct demo *d, struct err *err)
{
    int r = kafka_mock_start(1, &d->kafka, err);

    if (r == ERR_OK)
        r = kafka_mock_create_topic(d->kafka, DEMO_VIDEO_TOPIC, DEMO_N_PARTITIONS, err);
    if (r == ERR_OK)
        r = kafka_mock_create_topic(d->kafka, DEMO_CLICK_TOPIC, 1, err);
    if (r == ERR_OK)
        r = kafka_mock_create_topic(d->kafka, DEMO_DLQ_TOPIC, 1, err);
    return r;
}

int demo_write_settings(struct demo *d, struct err *err)
{
    FILE *out = fopen(d->config, "we");
    bool failed;

    if (!out)
        return err_fatal(err, EX_CANTCREAT, "%s: %s", d->config, strerror(errno));
    /* mode assign: a group's first join would take the mock cluster 3 s */
    fprintf(out,
            "source = \"kafka\";\n"
            "store = { path = \"%s\"; };\n"
            "media = { roots = [\"%s\"]; };\n"
            "kafka = {\n"
            "    bootstrap_servers = \"%s\";\n"
            "    mode = \"assign\";\n"
            "    group_id = \"" DEMO_GROUP "\";\n"
            "    video_topics = [\"" DEMO_VIDEO_TOPIC "\"];\n"
            "    interaction_topics = [\"" DEMO_CLICK_TOPIC "\"];\n"
            "};\n"
            "http = { port = 0; };\n"
            "control = { socket = \"%s\"; };\n",
            d->store, d->clips_dir, kafka_mock_bootstrap(d->kafka), d->socket);
    failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed)
        return err_fatal(err, EX_IOERR, "%s: %s", d->config, strerror(errno));
    return ERR_OK;
}

/* ---- events ------------------------------------------------------------------------------ */

static void timestamp(char ret_text[32])
{
    time_t now = (time_t)(clock_real_us() / 1000000);
    struct tm tm;

    if (!gmtime_r(&now, &tm) || strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        ret_text[0] = '\0';
}

static char *video_event(const struct demo *d, const struct demo_clip *clip, const char *now)
{
    char uri[2 * PATH_MAX];
    json_t *json;
    char *text;

    snprintf(uri, sizeof(uri), "file://%s/%s", d->clips_dir, clip->file);
    json = json_pack("{s:s, s:s, s:s, s:s}", "item_id", clip->item_id, "media_uri", uri,
                     "title", clip->title, "published_at", now);
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

static char *click_event(const struct demo_clip *clip, int user, const char *now)
{
    json_t *json =
        json_pack("{s:s+, s:s, s:s, s:f, s:s}", "user_id", "u", user % 2 ? "2" : "1", "item_id",
                  clip->item_id, "kind", "watch", "weight", 1.0, "ts", now);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static bool add_message(struct kafka_mock_message *m, const char *topic, const char *key,
                        char *value)
{
    *m = (struct kafka_mock_message){.topic = topic,
                                     .partition = -1,
                                     .key = key,
                                     .key_bytes = strlen(key),
                                     .value = value,
                                     .value_bytes = value ? strlen(value) : 0};
    return value != NULL;
}

int demo_produce(struct demo *d, struct err *err)
{
    struct kafka_mock_message messages[DEMO_CLIPS_MAX + DEMO_INTERACTIONS + 1];
    char *values[DEMO_CLIPS_MAX + DEMO_INTERACTIONS + 1];
    char now[32];
    size_t n = 0;
    bool complete = true;
    int r;

    assert(d->n_clips > 0);
    timestamp(now);
    for (size_t i = 0; i < d->n_clips; i++, n++) {
        values[n] = video_event(d, &d->clips[i], now);
        complete &= add_message(&messages[n], DEMO_VIDEO_TOPIC, d->clips[i].item_id, values[n]);
    }
    values[n] = strdup("{\"item_id\": \"broken\", \"media_uri\": ");
    complete &= add_message(&messages[n], DEMO_VIDEO_TOPIC, "broken", values[n]);
    n++;
    for (int i = 0; i < DEMO_INTERACTIONS; i++, n++) {
        values[n] = click_event(&d->clips[(size_t)i % d->n_clips], i, now);
        complete &= add_message(&messages[n], DEMO_CLICK_TOPIC, "u", values[n]);
    }
    r = complete ? kafka_mock_produce(d->kafka, messages, n, err) : err_oom(err, "events");
    for (size_t i = 0; i < n; i++)
        free(values[i]);
    return r;
}
