/* Any bytes as a file of interactions; the first byte chooses the separator and how the columns are
 * named. */

#include "daemon/base/interaction_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void read_rows(struct interaction_file *f)
{
    struct interaction_row row;

    while (interaction_file_next(f, &row, NULL) == ERR_OK)
        if (!row.user[0] || !row.item[0] || strlen(row.user) > 256 || strlen(row.item) > 256 ||
            !(row.weight >= -1e6 && row.weight <= 1e6))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const columns[] = {NULL, "user_id,item_id,weight,ts",
                                          "-,item,user,kind"};
    static const char separators[] = "\t,;";
    struct interaction_file f;

    if (bytes == 0)
        return 0;
    int fd = memfd_create("import", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, bytes - 1) != (ssize_t)bytes - 1)
        abort();
    if (interaction_file_open(fd, "file", columns[data[0] / 3 % 3], separators[data[0] % 3], &f,
                              NULL) == ERR_OK) {
        read_rows(&f);
        if (interaction_file_rewind(&f, NULL) == ERR_OK)
            read_rows(&f);
        interaction_file_close(&f);
    }
    close(fd);
    return 0;
}
