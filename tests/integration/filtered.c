/* Runs a command under a system call filter as systemd would: filtered FILE COMMAND [ARG …], FILE
 * naming the allowed calls, one a line; every other call gives EPERM. */

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int allow_all(scmp_filter_ctx filter, FILE *names)
{
    char name[128];
    int n = 0;

    while (fgets(name, sizeof(name), names) != NULL) {
        int call;

        name[strcspn(name, "\n")] = '\0';
        call = seccomp_syscall_resolve_name(name);
        if (call < 0) /* another architecture's, or newer than the library */
            continue;
        if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) != 0)
            return -1;
        n++;
    }
    return n;
}

int main(int argc, char **argv)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    FILE *names = argc > 2 ? fopen(argv[1], "r") : NULL;

    if (filter == NULL || names == NULL) {
        fprintf(stderr, "usage: %s FILE COMMAND [ARG …]\n", argv[0]);
        return 2;
    }
    if (allow_all(filter, names) < 100 || fclose(names) != 0 || seccomp_load(filter) != 0) {
        fprintf(stderr, "%s: the filter cannot be built from %s\n", argv[0], argv[1]);
        return 2;
    }
    seccomp_release(filter);
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 2;
}
