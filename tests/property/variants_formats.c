/* variants.h: formats beside the usual ones, pixels of other kinds, moving stills. */

#include "variants.h"

#include <stddef.h>

struct row {
    const char *encoder, *container, *pixels, *what;
    bool one_palette;
};

static const struct row formats[] = {
    {"rawvideo", "avi", "pal8", "palette", true},
    {"rawvideo", "mov", "pal8", "palette", true},
    {"rawvideo", "matroska", "pal8", "palette", true},
    {"rawvideo", "avi", "bgr24", "few colours", true},
    {"gif", "gif", "pal8", "gif", true},
    {"apng", "apng", "rgb24", "apng", false},
    {"libwebp_anim", "webp", NULL, "webp", false},
    {"png", "mov", "rgb24", "png", false},
    {"png", "matroska", "rgb24", "png", false},
    {"qtrle", "mov", "rgb24", "rle", false},
    {"ffv1", "matroska", "yuv420p", "ffv1", false},
    {"ffv1", "avi", "yuv420p", "ffv1", false},
    {"huffyuv", "avi", "yuv422p", "huffyuv", false},
    {"ffvhuff", "avi", "yuv420p", "ffvhuff", false},
    {"utvideo", "avi", "yuv420p", "utvideo", false},
    {"cinepak", "avi", "rgb24", "cinepak", false},
    {"svq1", "mov", "yuv410p", "svq1", false},
    {"h261", "avi", NULL, "h261", false},
    {"snow", "avi", NULL, "snow", false},
    {"flashsv", "flv", "bgr24", "screen", false},
    {"msvideo1", "avi", "rgb555le", "video1", false},
    {"jpeg2000", "mov", "yuv420p", "jpeg2000", false},
    {"vc2", "mov", "yuv422p10le", "dirac", false},
    {"libxvid", "avi", NULL, "xvid", false},
    {"h263p", "avi", NULL, "h263+", false},
    {"rv20", "matroska", NULL, "rv20", false},
    {"libtheora", "avi", NULL, "theora", false},
    {"zmbv", "avi", "bgr0", "zmbv", false},
    {"magicyuv", "avi", "yuv420p", "magicyuv", false},
    {"asv1", "avi", NULL, "asv1", false},
};

static const struct row pixels[] = {
    {"libx264", "mp4", "yuv422p", "4:2:2", false},
    {"libx264", "mp4", "yuv444p", "4:4:4", false},
    {"libx264", "mp4", "yuv420p10le", "10 bits", false},
    {"libx264", "matroska", "yuvj420p", "full range", false},
    {"libx264", "mp4", "gray", "grey", false},
    {"libx264rgb", "mp4", "rgb24", "rgb", false},
    {"libx265", "mp4", "yuv420p10le", "10 bits", false},
    {"libx265", "mp4", "yuv422p", "4:2:2", false},
    {"libx265", "mp4", "yuv420p12le", "12 bits", false},
    {"libvpx-vp9", "webm", "yuv420p10le", "10 bits", false},
    {"libvpx-vp9", "webm", "yuv444p", "4:4:4", false},
    {"libvpx-vp9", "webm", "yuva420p", "alpha", false},
    {"libvpx", "webm", "yuva420p", "alpha", false},
    {"libsvtav1", "mp4", "yuv420p10le", "10 bits", false},
    {"mpeg2video", "mpegts", "yuv422p", "4:2:2", false},
    {"mjpeg", "avi", "yuvj422p", "4:2:2", false},
    {"mjpeg", "mov", "yuvj444p", "4:4:4", false},
    {"prores_ks", "mov", "yuv444p10le", "4:4:4", false},
    {"prores_ks", "mov", "yuva444p10le", "alpha", false},
    {"rawvideo", "avi", "bgr24", "bgr", false},
    {"rawvideo", "mov", "rgb24", "rgb", false},
    {"rawvideo", "avi", "yuyv422", "yuy2", false},
    {"rawvideo", "mov", "uyvy422", "uyvy", false},
    {"rawvideo", "avi", "rgb555le", "15 bits", false},
    {"rawvideo", "avi", "gray", "grey", false},
    {"rawvideo", "avi", "nv12", "nv12", false},
    {"rawvideo", "mov", "argb", "argb", false},
    {"libtheora", "ogg", "yuv444p", "4:4:4", false},
};

static void add_row(struct variants *list, const struct row *r, const char *family,
                    const char *label)
{
    struct variant v = {.family = family,
                        .container = r->container,
                        .coding = {.encoder = r->encoder,
                                   .pixels = r->pixels,
                                   .one_palette = r->one_palette,
                                   .in_band = variants_in_band(r->container)},
                        .sound = {.encoder = variants_sound_for(r->container)}};
    variants_add(list, &v, label, "%s", r->what);
}

void variants_of_formats(struct variants *list)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        add_row(list, &formats[i], "format", formats[i].encoder);
    for (size_t i = 0; i < sizeof(pixels) / sizeof(pixels[0]); i++)
        add_row(list, &pixels[i], "pixels", pixels[i].encoder);
}
