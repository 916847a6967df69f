#include "daemon/event/wire.h"

#include "daemon/event/item.h"
#include "daemon/event/json.h"
#include "daemon/event/mend.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Byte 0, then the id of a schema in a registry, big-endian; the payload follows, which is JSON when the
 * schema is JSON Schema. (Confluent Schema Registry, "Wire format") */
#define FRAME_BYTES 5

static bool is_framed(const unsigned char *bytes, size_t n_bytes)
{
    return n_bytes >= FRAME_BYTES && bytes[0] == 0;
}

static uint32_t schema_id(const unsigned char *b)
{
    return (uint32_t)b[1] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 8 | b[4];
}

/* As it is, and mended if that is no JSON. */
static int open_text(const char *text, size_t n_bytes, enum wire_root allowed,
                     struct document *ret_d, unsigned *warnings, struct err *err)
{
    struct err first;
    unsigned found = 0;
    char *mended = NULL;
    size_t mended_bytes;
    int status = json_document_open(text, n_bytes, allowed == WIRE_ANY, ret_d, &first);

    if (status == ERR_SKIP)
        status = mend_text(text, n_bytes, &mended, &mended_bytes, &found, &first);
    if (mended) {
        status = json_document_open(mended, mended_bytes, allowed == WIRE_ANY, ret_d, &first);
        *warnings |= status == ERR_OK ? found : 0;
        free(mended);
    }
    if (status != ERR_OK && err)
        *err = first;
    return status;
}

int wire_open(const void *bytes, size_t n_bytes, enum wire_root allowed, struct document *ret_d,
              unsigned *warnings, struct err *err)
{
    bool framed = is_framed(bytes, n_bytes);
    size_t skip = framed ? FRAME_BYTES : 0;
    int status =
        open_text((const char *)bytes + skip, n_bytes - skip, allowed, ret_d, warnings, err);

    if (status == ERR_SKIP && framed)
        return err_skip(err, "bad_json",
                        "event: Confluent wire format (magic byte 0), schema id %" PRIu32
                        ": only JSON is read; let the producer write JSON, or JSON Schema",
                        schema_id(bytes));
    return status;
}
