#ifndef MMF_EXTRACT_WIRE_WIRE_H
#define MMF_EXTRACT_WIRE_WIRE_H

/* Two cursors over a message in native byte order, for protocol.c. The writer's buffer is large
 * enough by the caller's arithmetic. The reader never passes the end; the first fault ends the
 * message for it, every later field reads as zero, and the parser asks once, at the end. Field
 * by field, so that no padding (and nothing that padding might hold) crosses. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_writer {
    unsigned char *at;
};

void wire_put(struct wire_writer *w, const void *data, size_t n_bytes);
void wire_put_u8(struct wire_writer *w, unsigned v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_i64(struct wire_writer *w, int64_t v);
/* A char array of fixed size, zeroes after the text. */
void wire_put_chars(struct wire_writer *w, const char *s, size_t size);
/* Length, bytes, NUL; cut to max bytes, never inside a UTF-8 character. NULL = absent. */
void wire_put_text(struct wire_writer *w, const char *s, size_t max);
size_t wire_written(const struct wire_writer *w, const void *buf);

struct wire_reader {
    const unsigned char *at, *end;
    const char *fault; /* the first one; NULL = none */
};

struct wire_reader wire_reader(const void *data, size_t n_bytes);
void wire_require(struct wire_reader *r, bool holds, const char *fault);
void wire_get(struct wire_reader *r, void *out, size_t n_bytes);
unsigned wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
int64_t wire_get_i64(struct wire_reader *r);
/* Text, then nothing but zeroes up to size. */
void wire_get_chars(struct wire_reader *r, char *out, size_t size);
/* A pointer into the message, NULL = absent (or a fault). */
const char *wire_get_text(struct wire_reader *r, size_t max);

#endif
