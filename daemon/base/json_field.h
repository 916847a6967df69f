#ifndef MMF_DAEMON_BASE_JSON_FIELD_H
#define MMF_DAEMON_BASE_JSON_FIELD_H

/* A field of a JSON object for what is shown to people: absent, null or of another type reads as
 * nothing. What comes from outside is checked where it comes in, not by these. */

#include <stdbool.h>
#include <stdint.h>

struct json_t;

const struct json_t *json_field(const struct json_t *object, const char *name); /* or NULL */
int64_t json_field_int(const struct json_t *object, const char *name);          /* or 0 */
double json_field_real(const struct json_t *object, const char *name);          /* or 0 */
const char *json_field_text(const struct json_t *object, const char *name);     /* or "" */
bool json_field_true(const struct json_t *object, const char *name);

/* A text that may be no UTF-8, such as a path, as a JSON string; bytes that are none are shown as '?' and cost its
 * own reading only. NULL: no memory. */
struct json_t *json_of_text(const char *text);

#endif
