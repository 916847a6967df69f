/* The main of a fuzz target that is built without libFuzzer: gives it every file of the folder
 * named on the command line, and the empty input. No seed is an error. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MAX_BYTES ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A copy of exactly the file's size, so that AddressSanitizer sees a read past its end. */
static int replay(const char *folder, const char *name)
{
    char path[4096];
    uint8_t *data;
    size_t bytes;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "rb");
    data = malloc(SEED_MAX_BYTES);
    if (f == NULL || data == NULL) {
        perror(path);
        exit(1);
    }
    bytes = fread(data, 1, SEED_MAX_BYTES, f);
    fclose(f);
    data = realloc(data, bytes != 0 ? bytes : 1);
    if (data == NULL)
        exit(1);
    LLVMFuzzerTestOneInput(data, bytes);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    const struct dirent *entry;
    int n = 0;
    DIR *folder;

    folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER_OF_SEEDS\n", argv[0]);
        return 1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.')
            n += replay(argv[1], entry->d_name);
    }
    closedir(folder);
    printf("%d seeds replayed\n", n);
    return n == 0;
}
