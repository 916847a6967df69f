/* The built-in textual encoder: title, description and tags as two hashed bags.
 *
 * Normalised by utf8proc to NFKC with case folded and invisible characters dropped, so that
 * full-width letters, ligatures and variation selectors meet their plain forms. Invalid bytes
 * end a word and are otherwise ignored. Words are runs of letters, marks and digits; `#tag` is
 * a word of its own beside the word `tag`; each emoji or symbol is a word; in scripts without
 * spaces (Han, kana, Thai, Lao, Khmer, Burmese) each character and each pair is. A bag counts
 * a token as 1 + ln(tf), at index hash mod 256, with the hash's sign: collisions cancel on
 * average (Weinberger et al., 2009).
 *
 * Bounds: TEXT_BYTES_MAX of input, TOKENS_MAX different tokens; what is beyond is not read. */

#include "extract/media/encoder.h"

#include "extract/media/vec.h"
#include "extract/wire/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#define TEXT_BYTES_MAX 16384
#define CODES_MAX      (TEXT_BYTES_MAX * 6) /* one of 3 bytes becomes 18 code points */
#define TOKENS_MAX     4096
#define SLOTS          (TOKENS_MAX * 2)
#define BAG_DIM        256
#define WORD_MAX       64
#define TAG_WEIGHT     1.0f

enum bag { BAG_WORDS, BAG_NGRAMS, BAG_COUNT };

struct slot {
    uint64_t hash; /* 0 = free */
    uint32_t n;
    float weight;
    enum bag bag;
};

struct textual {
    struct slot slots[SLOTS];
    uint32_t used[TOKENS_MAX]; /* slots in order of first sight */
    uint32_t n_tokens;
    utf8proc_uint8_t clean[TEXT_BYTES_MAX];
    utf8proc_int32_t codes[CODES_MAX + 1]; /* utf8proc ends some results with a zero */
    uint32_t budget_bytes;
};

/* FNV-1a over code points, finished by a 64-bit mixer (Stafford's variant 13). */
static uint64_t hash_codes(enum bag bag, const utf8proc_int32_t *codes, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u ^ (uint64_t)bag;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint64_t)(uint32_t)codes[i]) * 0x100000001b3u;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    h ^= h >> 31;
    return h ? h : 1;
}

static void count_token(struct textual *t, enum bag bag, float weight,
                        const utf8proc_int32_t *codes, size_t n)
{
    uint64_t h = hash_codes(bag, codes, n);
    uint32_t i = (uint32_t)(h >> 20) % SLOTS;
    while (t->slots[i].hash && t->slots[i].hash != h)
        i = (i + 1) % SLOTS;
    struct slot *s = &t->slots[i];
    if (!s->hash) {
        if (t->n_tokens == TOKENS_MAX)
            return;
        *s = (struct slot){.hash = h, .bag = bag, .weight = weight};
        t->used[t->n_tokens++] = i;
    }
    s->n++;
}

static bool is_spaceless(utf8proc_int32_t c)
{
    return (c >= 0x0E00 && c <= 0x0EFF) || /* Thai, Lao */
           (c >= 0x1000 && c <= 0x109F) || /* Burmese */
           (c >= 0x1780 && c <= 0x17FF) || /* Khmer */
           (c >= 0x3040 && c <= 0x30FF) || /* kana */
           (c >= 0x3400 && c <= 0x4DBF) || /* Han */
           (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x20000 && c <= 0x3FFFF);
}

static bool is_letter(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return c == '_';
    }
}

static bool is_symbol(utf8proc_int32_t c)
{
    bool skin_tone = c >= 0x1F3FB && c <= 0x1F3FF;
    utf8proc_category_t category = utf8proc_category(c);
    return !skin_tone && c > 0x7F &&
           (category == UTF8PROC_CATEGORY_SO || category == UTF8PROC_CATEGORY_SM ||
            (c >= 0x1F000 && c <= 0x1FAFF));
}

/* The 3 and 4 letter sequences of ^word$. */
static void count_ngrams(struct textual *t, const utf8proc_int32_t *word, size_t n)
{
    utf8proc_int32_t marked[WORD_MAX + 2];
    marked[0] = '^';
    memcpy(marked + 1, word, n * sizeof(*word));
    marked[n + 1] = '$';
    for (size_t length = 3; length <= 4; length++)
        for (size_t i = 0; i + length <= n + 2; i++)
            count_token(t, BAG_NGRAMS, 1, marked + i, length);
}

static void count_word(struct textual *t, const utf8proc_int32_t *word, size_t n, bool is_tag)
{
    n = n > WORD_MAX ? WORD_MAX : n;
    count_token(t, BAG_WORDS, 1, word, n);
    count_ngrams(t, word, n);
    if (!is_tag)
        return;
    utf8proc_int32_t tag[WORD_MAX + 1];
    tag[0] = '#';
    memcpy(tag + 1, word, n * sizeof(*word));
    count_token(t, BAG_WORDS, TAG_WEIGHT, tag, n + 1);
}

/* A run of a script without spaces: characters, pairs, and pairs again among the n-grams. */
static void count_spaceless(struct textual *t, const utf8proc_int32_t *run, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        count_token(t, BAG_WORDS, 0.5f, run + i, 1);
        if (i + 1 < n)
            count_token(t, BAG_WORDS, 1, run + i, 2);
        if (i + 1 < n)
            count_token(t, BAG_NGRAMS, 1, run + i, 2);
        if (i + 2 < n)
            count_token(t, BAG_NGRAMS, 1, run + i, 3);
    }
}

static size_t run_length(const utf8proc_int32_t *codes, size_t n, bool spaceless)
{
    size_t i = 0;
    while (i < n && is_letter(codes[i]) && is_spaceless(codes[i]) == spaceless)
        i++;
    return i;
}

static void count_codes(struct textual *t, size_t n, bool is_tag)
{
    const utf8proc_int32_t *codes = t->codes;
    bool tag = is_tag;
    for (size_t i = 0; i < n;) {
        if (codes[i] == '#') {
            tag = true;
            i++;
            continue;
        }
        if (is_letter(codes[i])) {
            bool spaceless = is_spaceless(codes[i]);
            size_t length = run_length(codes + i, n - i, spaceless);
            length = length ? length : 1;
            if (spaceless)
                count_spaceless(t, codes + i, length);
            if (!spaceless || tag)
                count_word(t, codes + i, length, tag);
            i += length;
        } else {
            if (is_symbol(codes[i]))
                count_token(t, BAG_WORDS, 1, codes + i, 1);
            i++;
        }
        tag = is_tag;
    }
}

/* Copies the text with each invalid byte as a space, so that utf8proc accepts all of it. */
static size_t make_valid(const char *text, size_t bytes, utf8proc_uint8_t *clean)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                 (utf8proc_ssize_t)(bytes - i), &c);
        if (used > 0) {
            memcpy(clean + n, text + i, (size_t)used);
            n += (size_t)used;
            i += (size_t)used;
        } else {
            clean[n++] = ' ';
            i++;
        }
    }
    return n;
}

/* Clean UTF-8 → NFKC, folded; returns the number of code points. */
static size_t normalise(struct textual *t, size_t bytes)
{
    static const utf8proc_option_t folded =
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    utf8proc_ssize_t n =
        utf8proc_decompose(t->clean, (utf8proc_ssize_t)bytes, t->codes, CODES_MAX, folded);
    if (n <= 0 || n > CODES_MAX)
        return 0;
    n = utf8proc_normalize_utf32(t->codes, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    return n > 0 ? (size_t)n : 0;
}

static void count_field(struct textual *t, const char *text, bool is_tag)
{
    if (!text || t->budget_bytes == 0)
        return;
    size_t bytes = strnlen(text, t->budget_bytes);
    t->budget_bytes -= (uint32_t)bytes;
    bytes = make_valid(text, bytes, t->clean);
    count_codes(t, normalise(t, bytes), is_tag);
}

/* Adds each token to its bag at hash mod BAG_DIM with the hash's sign. */
static void fill_bags(const struct textual *t, float *vec)
{
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        const struct slot *s = &t->slots[t->used[i]];
        float value = s->weight * (1.0f + logf((float)s->n));
        size_t index = (size_t)s->bag * BAG_DIM + (size_t)(s->hash % BAG_DIM);
        vec[index] += s->hash >> 63 ? -value : value;
    }
}

static int textual_encode(void *state, const struct encoder_input *in, float *ret_vec,
                          bool *ret_present, struct err *err)
{
    (void)err;
    struct textual *t = state;
    *ret_present = false;
    if (!in->text)
        return ERR_OK;
    memset(t->slots, 0, sizeof(t->slots));
    t->n_tokens = 0;
    t->budget_bytes = TEXT_BYTES_MAX;
    count_field(t, in->text->title, false);
    for (uint32_t i = 0; in->text->tags && i < in->text->n_tags; i++)
        count_field(t, in->text->tags[i], true);
    count_field(t, in->text->description, false);
    if (t->n_tokens == 0)
        return ERR_OK;
    memset(ret_vec, 0, sizeof(float) * BAG_COUNT * BAG_DIM);
    fill_bags(t, ret_vec);
    vec_weigh(MODALITY_TEXTUAL, ret_vec);
    /* Two tokens of opposite sign in one place may cancel to nothing. */
    for (size_t i = 0; i < (size_t)BAG_COUNT * BAG_DIM; i++)
        *ret_present |= ret_vec[i] != 0;
    return ERR_OK;
}

int textual_encoder(struct encoder *ret_encoder, struct err *err)
{
    struct textual *t = calloc(1, sizeof(*t));
    if (!t)
        return err_oom(err, "textual encoder");
    *ret_encoder = (struct encoder){.identity = layout_identity(MODALITY_TEXTUAL),
                                    .state = t,
                                    .encode = textual_encode,
                                    .free = free};
    return ERR_OK;
}
