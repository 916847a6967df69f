#ifndef MMF_CONFIG_ARENA_H
#define MMF_CONFIG_ARENA_H

/* Memory of one piece of work, freed in one call. Under AddressSanitizer every allocation is
 * its own malloc, so that overruns inside an arena are seen. Not thread-safe: an arena belongs
 * to the one owner of its work. A zeroed struct is an empty arena. */

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *head;
    size_t used_bytes; /* of all allocations since init */
};

void arena_init(struct arena *a);
/* 16-byte aligned, zeroed; NULL when memory is out. bytes == 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t bytes);
/* n * size with overflow checked. */
void *arena_array(struct arena *a, size_t n, size_t size);
void *arena_copy(struct arena *a, const void *src, size_t bytes);
/* Copies n bytes and ends them with NUL. */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_strdup(struct arena *a, const char *s);
/* What is allocated after the mark is given back by the rewind; the mark stays good. */
struct arena_mark {
    struct arena_block *head, *behind;
    size_t head_used, used_bytes;
};
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, struct arena_mark mark);
void arena_done(struct arena *a);

#endif
