#ifndef MMF_DAEMON_EVENT_WIRE_H
#define MMF_DAEMON_EVENT_WIRE_H

/* From a value's bytes to a tree of fields: the seam for wire formats. JSON is the one that is read
 * (json.c). Another is another file that fills a struct document; mapping and meaning know no
 * format. */

#include "daemon/event/field.h"

enum wire_root {
    WIRE_OBJECT, /* an object or a list, else it is no JSON text to us */
    WIRE_ANY     /* a text too */
};

/* Text that is nearly UTF-8 or nearly JSON is mended: a byte order mark goes; bytes that are no UTF-8,
 * \u0000 and halves of surrogate pairs become U+FFFD. Adds to *warnings (enum item_warning).
 *
 * ERR_SKIP bad_json: with line and column, or "Confluent wire format, schema id 7" for a value that
 * begins with the byte 0 and holds no JSON behind these five bytes. ERR_RETRY when memory is out.
 * ret_d->close ends it. */
int wire_open(const void *bytes, size_t n_bytes, enum wire_root allowed, struct document *ret_d,
              unsigned *warnings, struct err *err);

#endif
