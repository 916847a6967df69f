#include "config/clock.h"
#include "daemon/http/http.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 30000

struct world {
    struct http *http;
    bool alive, ready;
};

static bool live(void *ctx, char *ret_why, size_t why_bytes)
{
    snprintf(ret_why, why_bytes, "sink stands still");
    return ((struct world *)ctx)->alive;
}

static bool ready(void *ctx, char *ret_why, size_t why_bytes)
{
    snprintf(ret_why, why_bytes, "broker down");
    return ((struct world *)ctx)->ready;
}

static void metrics(void *ctx, FILE *out)
{
    (void)ctx;
    for (int i = 0; i < 5000; i++) /* more than one packet */
        fprintf(out, "metammf_line %d\n", i);
}

static int setup(void **state)
{
    static struct world w;
    const struct http_handlers handlers = {live, ready, metrics, &w};
    struct err err;

    w = (struct world){.alive = true, .ready = true};
    *state = &w;
    return http_start("127.0.0.1", 0, &handlers, &w.http, &err);
}

static int teardown(void **state)
{
    http_stop(((struct world *)*state)->http);
    return 0;
}

static int connect_to(const struct world *w)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(http_port(w->http))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

/* Sends request as it is and returns everything until the server closes; free it. */
static char *ask_raw(const struct world *w, const char *request)
{
    int fd = connect_to(w);
    size_t used = 0, room = 1 << 20;
    char *answer = malloc(room);
    ssize_t n;

    assert_non_null(answer);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    while ((n = recv(fd, answer + used, room - 1 - used, 0)) > 0)
        used += (size_t)n;
    answer[used] = '\0';
    close(fd);
    return answer;
}

static char *ask(const struct world *w, const char *method, const char *path)
{
    char request[256];

    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             method, path);
    return ask_raw(w, request);
}

static void check(const struct world *w, const char *method, const char *path,
                  const char *status, const char *body)
{
    char *answer = ask(w, method, path), *split = strstr(answer, "\r\n\r\n");

    assert_memory_equal(answer, status, strlen(status));
    assert_non_null(split);
    assert_string_equal(split + 4, body);
    free(answer);
}

static void probes_answer_200_or_503_with_the_reason(void **state)
{
    struct world *w = *state;

    check(w, "GET", "/livez", "HTTP/1.1 200", "ok\n");
    check(w, "GET", "/readyz", "HTTP/1.1 200", "ready\n");
    w->ready = false;
    check(w, "GET", "/livez", "HTTP/1.1 200", "ok\n");
    check(w, "GET", "/readyz", "HTTP/1.1 503", "broker down\n");
    w->alive = false;
    check(w, "GET", "/livez", "HTTP/1.1 503", "sink stands still\n");
}

static void head_has_no_body(void **state)
{
    check(*state, "HEAD", "/livez", "HTTP/1.1 200", "");
}

static void other_paths_and_methods_are_refused(void **state)
{
    static const char *const paths[] = {"/", "/livez/", "/../etc/passwd", "/metrics.html"};
    char *answer;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        answer = ask(*state, "GET", paths[i]);
        assert_memory_equal(answer, "HTTP/1.1 404", 12);
        free(answer);
    }
    answer = ask(*state, "DELETE", "/metrics");
    assert_memory_equal(answer, "HTTP/1.1 405", 12);
    assert_non_null(strstr(answer, "Allow: GET, HEAD"));
    free(answer);
    answer = ask_raw(*state, "POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                             "Content-Length: 5\r\n\r\nhello");
    assert_memory_equal(answer, "HTTP/1.1 405", 12);
    free(answer);
}

static void metrics_come_whole_with_their_type(void **state)
{
    char *answer = ask(*state, "GET", "/metrics");

    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(answer, "metammf_line 0\n"));
    assert_non_null(strstr(answer, "metammf_line 4999\n"));
    free(answer);
}

static void garbage_does_not_stop_the_server(void **state)
{
    static const char *const garbage[] = {"\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\r\n\r\n",
                                          "GET /livez HTTP/9.9\r\n\r\n"};

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        int fd = connect_to(*state);

        assert_true(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL) > 0);
        close(fd);
    }
    check(*state, "GET", "/livez", "HTTP/1.1 200", "ok\n");
}

static void idle_connections_leave_room_for_one_more_after_they_go(void **state)
{
    int fds[40];

    for (size_t i = 0; i < 40; i++) /* more than it serves at once */
        fds[i] = connect_to(*state);
    for (size_t i = 0; i < 40; i++)
        close(fds[i]);
    check(*state, "GET", "/livez", "HTTP/1.1 200", "ok\n");
}

/* 40 clients that send a byte of a header now and then, and are never silent for long. */
#define SLOW 40

struct slow {
    int fds[SLOW];
    atomic_bool done;
    atomic_uint n_rounds;
};

static void *feed_slowly(void *arg)
{
    struct slow *slow = arg;

    while (!atomic_load(&slow->done)) {
        for (size_t i = 0; i < SLOW; i++)
            (void)send(slow->fds[i], "G", 1, MSG_NOSIGNAL); /* some have been cut */
        atomic_fetch_add(&slow->n_rounds, 1);
        (void)poll(NULL, 0, 20);
    }
    return NULL;
}

static void slow_clients_starve_nobody(void **state)
{
    const char request[] = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    struct slow slow = {.done = false};
    char answer[16] = "";
    pthread_t thread;

    for (size_t i = 0; i < SLOW; i++)
        slow.fds[i] = connect_to(*state);
    assert_int_equal(pthread_create(&thread, NULL, feed_slowly, &slow), 0);
    while (atomic_load(&slow.n_rounds) < 3)
        (void)poll(NULL, 0, 1);
    for (int i = 0; i < 14; i++) {
        struct pollfd fd = {.fd = connect_to(*state), .events = POLLIN};

        assert_int_equal(send(fd.fd, request, sizeof(request) - 1, MSG_NOSIGNAL),
                         sizeof(request) - 1);
        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
        assert_int_equal(recv(fd.fd, answer, 12, MSG_WAITALL), 12);
        assert_string_equal(answer, "HTTP/1.1 200");
        close(fd.fd);
    }
    atomic_store(&slow.done, true);
    pthread_join(thread, NULL);
    for (size_t i = 0; i < SLOW; i++)
        close(slow.fds[i]);
}

static _Atomic int64_t ahead_us;

static int64_t clock_ahead(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + atomic_load(&ahead_us);
}

/* Never silent, never done: after 5 s in all it is cut. Here a second is over with each byte. */
static void connection_has_5_s_in_all(void **state)
{
    static const struct clock_source source = {clock_ahead, clock_ahead};
    struct pollfd fd = {.events = POLLIN};
    char byte;
    int s = 0;

    clock_inject(&source);
    fd.fd = connect_to(*state);
    while (s < 60 && poll(&fd, 1, 20) == 0) {
        (void)send(fd.fd, "G", 1, MSG_NOSIGNAL);
        atomic_fetch_add(&ahead_us, 1000000);
        s++;
    }
    assert_in_range(s, 5, 59);
    assert_true(recv(fd.fd, &byte, 1, 0) <= 0);
    close(fd.fd);
    check(*state, "GET", "/livez", "HTTP/1.1 200", "ok\n");
    clock_inject(NULL);
}

static void connection_has_one_request(void **state)
{
    const char *line = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    char *answer = ask_raw(*state, line);

    assert_memory_equal(answer, "HTTP/1.1 200", 12);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    free(answer);
}

static void start_says_what_is_wrong(void **state)
{
    const struct world *w = *state;
    const struct http_handlers handlers = {live, ready, metrics, *state};
    struct http *second;
    struct err err;

    assert_int_equal(http_start("example", 0, &handlers, &second, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, "http.address"));
    assert_int_equal(http_start("127.0.0.1", http_port(w->http), &handlers, &second, &err),
                     ERR_FATAL);
    assert_non_null(strstr(err.text, "http.port"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(probes_answer_200_or_503_with_the_reason, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(head_has_no_body, setup, teardown),
        cmocka_unit_test_setup_teardown(other_paths_and_methods_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_come_whole_with_their_type, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_does_not_stop_the_server, setup, teardown),
        cmocka_unit_test_setup_teardown(idle_connections_leave_room_for_one_more_after_they_go,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(slow_clients_starve_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(connection_has_5_s_in_all, setup, teardown),
        cmocka_unit_test_setup_teardown(connection_has_one_request, setup, teardown),
        cmocka_unit_test_setup_teardown(start_says_what_is_wrong, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
