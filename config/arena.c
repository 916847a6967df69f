#include "config/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A list of blocks; the head is the one that is being filled. An allocation larger than a
 * quarter of a block gets its own, behind the head, so that the head's rest is not lost. */

#define ALIGN_BYTES      16u
#define BLOCK_MIN_BYTES  4096u
#define BLOCK_MAX_BYTES  65536u
#define ALLOCATION_LIMIT ((size_t)PTRDIFF_MAX / 2)

#ifdef __SANITIZE_ADDRESS__
#define OWN_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_MALLOC 1
#endif
#endif
#ifndef OWN_MALLOC
#define OWN_MALLOC 0
#endif

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    alignas(ALIGN_BYTES) unsigned char data[];
};

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

static struct arena_block *block_new(size_t size)
{
    struct arena_block *b = malloc(sizeof(*b) + size);

    if (b == NULL)
        return NULL;
    b->next = NULL;
    b->size = size;
    b->used = 0;
    return b;
}

/* A block of exactly this allocation, behind the head. */
static void *alloc_own(struct arena *a, size_t bytes)
{
    struct arena_block *b = block_new(bytes);

    if (b == NULL)
        return NULL;
    b->used = bytes;
    if (a->head == NULL) {
        a->head = b;
    } else {
        b->next = a->head->next;
        a->head->next = b;
    }
    return b->data;
}

static void *alloc_from_head(struct arena *a, size_t bytes)
{
    struct arena_block *b = a->head;
    size_t size = BLOCK_MIN_BYTES;
    void *p;

    if (b == NULL || b->size - b->used < bytes) {
        if (b != NULL && b->size >= size)
            size = b->size < BLOCK_MAX_BYTES ? b->size * 2 : BLOCK_MAX_BYTES;
        b = block_new(size);
        if (b == NULL)
            return NULL;
        b->next = a->head;
        a->head = b;
    }
    p = b->data + b->used;
    b->used += bytes;
    return p;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t rounded;
    void *p;

    if (bytes > ALLOCATION_LIMIT)
        return NULL;
    rounded = bytes == 0 ? ALIGN_BYTES : (bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
    if (OWN_MALLOC)
        p = alloc_own(a, bytes);
    else if (rounded > BLOCK_MIN_BYTES / 4)
        p = alloc_own(a, rounded);
    else
        p = alloc_from_head(a, rounded);
    if (p == NULL)
        return NULL;
    a->used_bytes += bytes;
    return memset(p, 0, bytes);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return arena_alloc(a, bytes);
}

void *arena_copy(struct arena *a, const void *src, size_t bytes)
{
    void *p = arena_alloc(a, bytes);

    if (p != NULL && bytes != 0)
        memcpy(p, src, bytes);
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p;

    if (n >= ALLOCATION_LIMIT)
        return NULL;
    p = arena_alloc(a, n + 1);
    if (p != NULL && n != 0)
        memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){.head = a->head,
                               .behind = a->head != NULL ? a->head->next : NULL,
                               .head_used = a->head != NULL ? a->head->used : 0,
                               .used_bytes = a->used_bytes};
}

/* The blocks from b to the one before `end`. */
static void free_blocks(struct arena_block *b, const struct arena_block *end)
{
    struct arena_block *next;

    for (; b != end; b = next) {
        next = b->next;
        free(b);
    }
}

/* Newer blocks are before the head of then, or directly behind it. */
void arena_rewind(struct arena *a, struct arena_mark mark)
{
    free_blocks(a->head, mark.head);
    if (mark.head != NULL) {
        free_blocks(mark.head->next, mark.behind);
        mark.head->next = mark.behind;
        mark.head->used = mark.head_used;
    }
    a->head = mark.head;
    a->used_bytes = mark.used_bytes;
}

void arena_done(struct arena *a)
{
    free_blocks(a->head, NULL);
    arena_init(a);
}
