#include "fusion/file/safetensors.h"

#include "fusion/file/outfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A JSON string. open_memstream's errors are sticky: ferror is asked once at the end. */
static void put_string(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static size_t source_elements(const struct safetensors_source *s)
{
    size_t n = 1;

    for (int i = 0; i < s->n_dims; i++)
        n *= s->shape[i];
    return n;
}

static void put_metadata(FILE *out, const struct safetensors_pair *metadata, size_t n)
{
    fputs("\"__metadata__\":{", out);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            fputc(',', out);
        put_string(out, metadata[i].key);
        fputc(':', out);
        put_string(out, metadata[i].value);
    }
    fputc('}', out);
}

static void put_source(FILE *out, const struct safetensors_source *s, uint64_t begin)
{
    put_string(out, s->name);
    fputs(":{\"dtype\":\"F32\",\"shape\":[", out);
    for (int i = 0; i < s->n_dims; i++)
        fprintf(out, "%s%zu", i > 0 ? "," : "", s->shape[i]);
    fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin,
            begin + source_elements(s) * sizeof(float));
}

/* The header padded with spaces so that the data begins at a multiple of 64 bytes. */
static int make_header(const struct safetensors_source *sources, size_t n_sources,
                       const struct safetensors_pair *metadata, size_t n_metadata,
                       char **ret_text, size_t *ret_bytes, struct err *err)
{
    char *text = NULL;
    size_t bytes = 0;
    uint64_t at = 0;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        return err_oom(err, "header of a safetensors file");
    fputc('{', out);
    if (n_metadata > 0)
        put_metadata(out, metadata, n_metadata);
    for (size_t i = 0; i < n_sources; i++) {
        if (i > 0 || n_metadata > 0)
            fputc(',', out);
        put_source(out, &sources[i], at);
        at += source_elements(&sources[i]) * sizeof(float);
    }
    fputc('}', out);
    for (long n = ftell(out); n >= 0 && (n + 8) % 64 != 0; n++)
        fputc(' ', out);
    if (ferror(out) | fclose(out)) {
        free(text);
        return err_oom(err, "header of a safetensors file");
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return ERR_OK;
}

int safetensors_write(const char *path, const struct safetensors_source *sources,
                      size_t n_sources, const struct safetensors_pair *metadata,
                      size_t n_metadata, struct err *err)
{
    struct outfile out;
    uint64_t header_bytes;
    size_t bytes = 0;
    char *text = NULL;
    int status = make_header(sources, n_sources, metadata, n_metadata, &text, &bytes, err);

    if (status != ERR_OK)
        return status;
    status = outfile_open(path, &out, err);
    if (status != ERR_OK) {
        free(text);
        return status;
    }
    header_bytes = bytes;
    status = outfile_write(&out, &header_bytes, sizeof(header_bytes), err);
    if (status == ERR_OK)
        status = outfile_write(&out, text, bytes, err);
    free(text);
    for (size_t i = 0; i < n_sources && status == ERR_OK; i++)
        status = outfile_write(&out, sources[i].data,
                               source_elements(&sources[i]) * sizeof(float), err);
    if (status == ERR_OK)
        status = outfile_commit(&out, err);
    outfile_abort(&out);
    return status;
}
