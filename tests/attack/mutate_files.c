/* Mutations FROM … TO-1 of the files whose paths come on standard input, into OUT, by
 * tests/integration/mutate.h: mutation i depends on the seed, i and the bases alone.
 *
 *     mutate_files OUT SEED FROM TO < PATHS
 *
 * OUT/<i>-mutated_<kind>_of_<base>. */

#include "../integration/mutate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASES_MAX 1024
#define BASE_MAX  (3u << 20) /* larger ones are left out */

static struct mutate_file bases[BASES_MAX];
static size_t n_bases;

static _Noreturn void give_up(const char *what)
{
    (void)fprintf(stderr, "mutate_files: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add_base(const char *path)
{
    struct mutate_file *f = &bases[n_bases];
    const char *slash = strrchr(path, '/');
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        give_up(path);
    f->bytes = malloc(BASE_MAX + 1);
    if (f->bytes == NULL)
        give_up("memory");
    f->n_bytes = fread(f->bytes, 1, BASE_MAX + 1, in);
    (void)fclose(in);
    (void)snprintf(f->name, sizeof(f->name), "%.150s", slash != NULL ? slash + 1 : path);
    if (f->n_bytes > 0 && f->n_bytes <= BASE_MAX && n_bases + 1 < BASES_MAX)
        n_bases++;
    else
        free(f->bytes);
}

static void write_mutation(const char *dir, unsigned seed, unsigned i)
{
    char path[4096];
    struct mutate_file f;
    uint64_t random = ((uint64_t)seed << 32) | i;
    const struct mutate_file *base = &bases[mutate_random(&random) % n_bases];
    const struct mutate_file *other = &bases[mutate_random(&random) % n_bases];
    enum mutate_kind kind = mutate(base, other, &random, &f);
    (void)snprintf(path, sizeof(path), "%s/%05u-mutated_%s_of_%s", dir, i,
                   mutate_kind_name(kind), base->name);
    FILE *out = fopen(path, "wb");
    if (out == NULL || fwrite(f.bytes, 1, f.n_bytes, out) != f.n_bytes || fclose(out) != 0)
        give_up(path);
    free(f.bytes);
}

int main(int argc, char **argv)
{
    char path[4096];
    if (argc != 5)
        return 2;
    while (fgets(path, sizeof(path), stdin) != NULL) {
        path[strcspn(path, "\n")] = 0;
        add_base(path);
    }
    if (n_bases == 0)
        return 2;
    unsigned seed = (unsigned)strtoul(argv[2], NULL, 10);
    unsigned to = (unsigned)strtoul(argv[4], NULL, 10);
    for (unsigned i = (unsigned)strtoul(argv[3], NULL, 10); i < to; i++)
        write_mutation(argv[1], seed, i);
    for (size_t i = 0; i < n_bases; i++)
        free(bases[i].bytes);
    return 0;
}
