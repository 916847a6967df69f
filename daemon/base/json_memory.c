#include "daemon/base/json_memory.h"

#include <jansson.h>
#include <stdlib.h>

static _Thread_local unsigned long n_failures;

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes);

    n_failures += p == NULL;
    return p;
}

/* Before any thread: jansson keeps these two in plain variables. */
__attribute__((constructor)) static void watch(void)
{
    json_set_alloc_funcs(allocate, free);
}

unsigned long json_memory_failures(void)
{
    return n_failures;
}
