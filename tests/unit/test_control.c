/* Both ends of the control socket in one process: the server's threads, the client here. */
#include "daemon/service/control.h"
#include "daemon/service/control_client.h"

#include "config/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct world {
    char dir[64], path[96];
    struct control *control;
    pthread_t acceptor;
    atomic_bool stopping;
    atomic_int n_given_up;
};

static int serve_echo(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    (void)err;
    *ret_result =
        json_pack("{s:s?, s:i}", "text", control_string(call, "text"), "uid", (int)call->uid);
    return ERR_OK;
}

static int serve_fail(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    (void)call;
    (void)ret_result;
    return err_fatal(err, EX_DATAERR, "it is bad: mend it");
}

static int serve_steps(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    (void)ret_result;
    for (int i = 1; i <= 3; i++)
        if (!control_progress(call, json_pack("{s:i}", "done", i)))
            return err_retry(err, EX_TEMPFAIL, "given up");
    return ERR_OK;
}

/* What the files that came along hold. */
static int serve_read(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    *ret_result = json_array();
    for (size_t i = 0; i < call->n_fds || i == 0; i++) {
        char text[32] = "";
        int fd, r = control_file(call, i, "file", &fd, err);
        if (r != ERR_OK) {
            json_decref(*ret_result);
            return r;
        }
        assert_true(pread(fd, text, sizeof(text) - 1, 0) >= 0);
        json_array_append_new(*ret_result, json_string(text));
    }
    return ERR_OK;
}

/* Runs until the peer has gone or the server stops. */
static int serve_forever(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct world *w = call->ctx;

    (void)ret_result;
    while (control_progress(call, json_pack("{s:i}", "done", 0)))
        poll(NULL, 0, 5);
    atomic_fetch_add(&w->n_given_up, 1);
    return err_retry(err, EX_TEMPFAIL, "given up");
}

static const struct control_command commands[] = {
    {"echo", serve_echo}, {"fail", serve_fail},       {"steps", serve_steps},
    {"read", serve_read}, {"forever", serve_forever}, {NULL, NULL},
};

static void *accept_main(void *arg)
{
    struct world *w = arg;
    struct pollfd fd = {.fd = control_fd(w->control), .events = POLLIN};

    while (!atomic_load(&w->stopping))
        if (poll(&fd, 1, 10) > 0)
            control_accept(w->control);
    return NULL;
}

static void quiet(enum log_level level, const char *text, const struct log_field *fields,
                  size_t n_fields)
{
    (void)level;
    (void)text;
    (void)fields;
    (void)n_fields;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err;

    log_set_writer(quiet);
    snprintf(w->dir, sizeof(w->dir), "/tmp/mmf-control-XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    snprintf(w->path, sizeof(w->path), "%s/c.sock", w->dir);
    if (control_open(w->path, commands, w, &w->control, &err) != ERR_OK)
        return -1;
    *state = w;
    return pthread_create(&w->acceptor, NULL, accept_main, w);
}

static void stop(struct world *w)
{
    atomic_store(&w->stopping, true);
    pthread_join(w->acceptor, NULL);
    control_close(w->control);
    w->control = NULL;
}

static int teardown(void **state)
{
    struct world *w = *state;

    if (w->control)
        stop(w);
    rmdir(w->dir);
    free(w);
    log_set_writer(NULL);
    return 0;
}

static int connect_to(const struct world *w)
{
    struct err err;
    int fd = -1;

    assert_int_equal(control_connect(w->path, &fd, &err), ERR_OK);
    return fd;
}

static void count_progress(void *ctx, const json_t *progress)
{
    int *n = ctx;

    assert_int_equal(json_integer_value(json_object_get(progress, "done")), ++*n);
}

static void ask_command_gets_its_result(void **state)
{
    struct control_ask ask = {.fd = connect_to(*state)};
    json_t *result = NULL;
    struct err err;

    for (int i = 0; i < 3; i++) { /* one connection, several requests */
        ask.request = json_pack("{s:s, s:s}", "command", "echo", "text", "grüße");
        assert_int_equal(control_ask(&ask, &result, &err), ERR_OK);
        assert_string_equal(json_string_value(json_object_get(result, "text")), "grüße");
        assert_int_equal(json_integer_value(json_object_get(result, "uid")), geteuid());
        json_decref(result);
    }
    close(ask.fd);
}

static void ask_failure_carries_text_and_exit_code(void **state)
{
    struct control_ask ask = {.fd = connect_to(*state),
                              .request = json_pack("{s:s}", "command", "fail")};
    struct err err;

    assert_int_equal(control_ask(&ask, NULL, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_string_equal(err.text, "it is bad: mend it");
    close(ask.fd);
}

static void ask_progress_arrives_in_order(void **state)
{
    int n = 0;
    struct control_ask ask = {.fd = connect_to(*state),
                              .request = json_pack("{s:s}", "command", "steps"),
                              .progress = count_progress,
                              .ctx = &n};
    json_t *result = NULL;
    struct err err;

    assert_int_equal(control_ask(&ask, &result, &err), ERR_OK);
    assert_null(result);
    assert_int_equal(n, 3);
    close(ask.fd);
}

/* A file of the folder with that text, opened with flags. */
static int file_with(const struct world *w, const char *text, int flags)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/file", w->dir);
    int made = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(made >= 0);
    assert_int_equal(write(made, text, strlen(text)), strlen(text));
    close(made);
    int fd = open(path, flags);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static int ask_read(const struct world *w, const int *fds, size_t n_fds, json_t **ret_result,
                    struct err *err)
{
    struct control_ask ask = {.fd = connect_to(w),
                              .request = json_pack("{s:s}", "command", "read"),
                              .fds = fds,
                              .n_fds = n_fds};
    int r = control_ask(&ask, ret_result, err);
    close(ask.fd);
    return r;
}

static void ask_descriptors_travel_along_in_order(void **state)
{
    int fds[CONTROL_FDS_MAX];
    json_t *result = NULL;
    struct err err;

    for (size_t i = 0; i < CONTROL_FDS_MAX; i++) {
        const char text[] = {(char)('a' + i), '\0'};
        fds[i] = file_with(*state, text, i % 2 ? O_RDWR : O_RDONLY);
    }
    assert_int_equal(ask_read(*state, fds, CONTROL_FDS_MAX, &result, &err), ERR_OK);
    for (size_t i = 0; i < CONTROL_FDS_MAX; i++) {
        const char text[] = {(char)('a' + i), '\0'};
        assert_string_equal(json_string_value(json_array_get(result, i)), text);
        close(fds[i]);
    }
    json_decref(result);
}

/* O_PATH needs no right to the file, and a FIFO would hold us up: none is read. */
static void ask_what_the_peer_may_not_read_is_refused(void **state)
{
    const struct world *w = *state;
    char fifo[128];
    int ends[2];

    snprintf(fifo, sizeof(fifo), "%s/fifo", w->dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(pipe(ends), 0);
    const struct {
        int fd;
        const char *why;
    } cases[] = {
        {file_with(w, "secret", O_PATH), "not open for reading"},
        {file_with(w, "secret", O_WRONLY), "not open for reading"},
        {open(fifo, O_PATH), "not open for reading"},
        {open(fifo, O_RDONLY | O_NONBLOCK), "not a regular file"},
        {ends[0], "not a regular file"},
        {open(w->dir, O_RDONLY | O_DIRECTORY), "not a regular file"},
        {open("/dev/zero", O_RDONLY), "not a regular file"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err;
        assert_true(cases[i].fd >= 0);
        assert_int_equal(ask_read(w, &cases[i].fd, 1, NULL, &err), ERR_FATAL);
        if (!strstr(err.text, cases[i].why))
            fail_msg("case %zu: %s", i, err.text);
        close(cases[i].fd);
    }
    struct err err;
    assert_int_equal(ask_read(w, NULL, 0, NULL, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_USAGE);
    close(ends[1]);
    unlink(fifo);
}

static void check_refused(const struct world *w, const void *packet, size_t bytes)
{
    char answer[4096];
    int fd = connect_to(w);
    ssize_t n;

    assert_int_equal(send(fd, packet, bytes, MSG_NOSIGNAL), bytes);
    n = recv(fd, answer, sizeof(answer) - 1, 0);
    assert_true(n > 0);
    answer[n] = '\0';
    assert_non_null(strstr(answer, "\"ok\":false"));
    assert_non_null(strstr(answer, "\"exit_code\":64"));
    close(fd);
}

static void garbage_is_refused_and_does_no_harm(void **state)
{
    static char big[CONTROL_PACKET_BYTES + 100];
    static const char *const packets[] = {
        "{",       "[1]", "{\"command\": 1}", "{\"command\": \"\"}", "{\"a\": 1, \"a\": 2}",
        "\xff\xff"};

    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
        check_refused(*state, packets[i], strlen(packets[i]));
    memset(big, ' ', sizeof(big));
    memcpy(big, "{\"command\": \"echo\"}", 19);
    check_refused(*state, big, sizeof(big)); /* valid but for its length */
    ask_command_gets_its_result(state);
}

static size_t count_open(void)
{
    size_t n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* A packet with n_fds descriptors, and what is answered; a packet without a byte ends the connection. */
static void send_many(int fd, const char *packet, size_t n_fds, char answer[256])
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(64 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)packet, strlen(packet)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_SPACE(n_fds * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n_fds * sizeof(int)); /* of descriptor 0 */
    assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), strlen(packet));
    ssize_t n = recv(fd, answer, 255, 0);
    answer[n > 0 ? n : 0] = '\0';
}

static void extra_descriptors_are_not_leaked(void **state)
{
    static const struct {
        const char *packet, *answer;
        size_t n_fds;
    } cases[] = {{"{\"command\": \"echo\"}", "\"ok\":true", CONTROL_FDS_MAX},
                 {"{\"command\": \"echo\"}", "10 files", CONTROL_FDS_MAX + 1},
                 {"{\"command\": \"echo\"}", "10 files", 64},
                 {"", "", CONTROL_FDS_MAX}};
    size_t before = 0;

    for (size_t i = 0; i < 20 * 4; i++) {
        char answer[256];
        int fd = connect_to(*state);
        send_many(fd, cases[i % 4].packet, cases[i % 4].n_fds, answer);
        if (!strstr(answer, cases[i % 4].answer))
            fail_msg("case %zu: %s", i % 4, answer);
        close(fd);
        if (i == 8)
            before = count_open();
    }
    assert_true(count_open() <=
                before + 2 * CONTROL_FDS_MAX); /* the last ones may be being closed */
}

static void too_many_clients_are_told_to_come_again(void **state)
{
    struct control_ask ask = {0};
    int fds[8];
    struct err err;

    for (size_t i = 0; i < 8; i++) {
        fds[i] = connect_to(*state);
        ask.fd = fds[i];
        ask.request = json_pack("{s:s}", "command", "steps");
        assert_int_equal(control_ask(&ask, NULL, &err), ERR_OK);
    }
    ask.fd = connect_to(*state);
    ask.request = json_pack("{s:s}", "command", "steps");
    assert_int_equal(control_ask(&ask, NULL, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_TEMPFAIL);
    assert_non_null(strstr(err.text, "too many"));
    close(ask.fd);
    for (size_t i = 0; i < 8; i++)
        close(fds[i]);
}

static void close_ends_a_handler_that_runs(void **state)
{
    struct world *w = *state;
    char packet[256];
    int fd = connect_to(w);

    assert_true(send(fd, "{\"command\": \"forever\"}", 22, MSG_NOSIGNAL) > 0);
    assert_true(recv(fd, packet, sizeof(packet), 0) > 0); /* it runs */
    stop(w);
    assert_int_equal(atomic_load(&w->n_given_up), 1);
    assert_int_equal(access(w->path, F_OK), -1);
    close(fd);
}

static void a_peer_that_goes_ends_its_handler(void **state)
{
    struct world *w = *state;
    char packet[256];
    int fd = connect_to(w);

    assert_true(send(fd, "{\"command\": \"forever\"}", 22, MSG_NOSIGNAL) > 0);
    assert_true(recv(fd, packet, sizeof(packet), 0) > 0);
    close(fd);
    for (int i = 0; i < 2000 && atomic_load(&w->n_given_up) == 0; i++)
        poll(NULL, 0, 5);
    assert_int_equal(atomic_load(&w->n_given_up), 1);
}

static void open_socket_is_0660_and_taken_over_only_when_dead(void **state)
{
    const struct world *w = *state;
    struct control *second = NULL;
    struct stat info;
    struct err err;
    char stale[128];
    int fd;

    assert_int_equal(stat(w->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    assert_int_equal(control_open(w->path, commands, NULL, &second, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_TEMPFAIL);
    snprintf(stale, sizeof(stale), "%s/stale", w->dir);
    fd = open(stale, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(control_open(stale, commands, NULL, &second, &err), ERR_OK);
    control_close(second);
    assert_int_equal(control_connect(stale, &fd, &err), ERR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ask_command_gets_its_result, setup, teardown),
        cmocka_unit_test_setup_teardown(ask_failure_carries_text_and_exit_code, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ask_progress_arrives_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(ask_descriptors_travel_along_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(ask_what_the_peer_may_not_read_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(garbage_is_refused_and_does_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(extra_descriptors_are_not_leaked, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_clients_are_told_to_come_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(close_ends_a_handler_that_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_goes_ends_its_handler, setup, teardown),
        cmocka_unit_test_setup_teardown(open_socket_is_0660_and_taken_over_only_when_dead,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
