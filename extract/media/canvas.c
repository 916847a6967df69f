/* canvas.h.
 *
 * Scaling goes straight to planar YCbCr 4:2:0: it costs 0.29 of scaling to RGB, and descriptors
 * want luma anyway. libswscale is not asked to convert matrix or range between YCbCr formats
 * (it would detour by RGB at full size): that is linear, so it is done here on the canvas, by
 *
 *   [Y Cb Cr]ᵀ(601) = F(601) F(m)⁻¹ [Y Cb Cr]ᵀ(m),   F(m) the RGB → YCbCr matrix of matrix m.
 *
 * A clip that does not name its matrix is taken as BT.709 from 720 lines up, as players do. */

#include "extract/media/canvas.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#define HD_LINES 720

struct canvas_painter {
    struct SwsContext *sws;
    int width, height;
    enum AVPixelFormat format;
    enum AVColorSpace matrix; /* of the conversion below */
    float convert[3][3];      /* YCbCr of `matrix` → BT.601, chroma centred on 0 */
    struct canvas scratch;
};

int canvas_painter_new(struct canvas_painter **ret_painter, struct err *err)
{
    struct canvas_painter *p = calloc(1, sizeof(*p));
    if (!p)
        return err_oom(err, "canvas");
    p->format = AV_PIX_FMT_NONE;
    p->matrix = AVCOL_SPC_NB;
    *ret_painter = p;
    return ERR_OK;
}

void canvas_reset(struct canvas_painter *p)
{
    sws_freeContext(p->sws);
    p->sws = NULL;
    p->format = AV_PIX_FMT_NONE;
}

void canvas_painter_free(struct canvas_painter *p)
{
    if (!p)
        return;
    canvas_reset(p);
    free(p);
}

/* The full-range twin of a deprecated yuvj format, else the format itself. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *ret_full_range)
{
    switch (format) {
    case AV_PIX_FMT_YUVJ420P:
        *ret_full_range = true;
        return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P:
        *ret_full_range = true;
        return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P:
        *ret_full_range = true;
        return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P:
        *ret_full_range = true;
        return AV_PIX_FMT_YUV440P;
    default:
        return format;
    }
}

static bool is_ycbcr(enum AVPixelFormat format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    return d && !(d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL));
}

static int make_scaler(struct canvas_painter *p, int width, int height,
                       enum AVPixelFormat format, struct err *err)
{
    if (p->sws && p->width == width && p->height == height && p->format == format)
        return ERR_OK;
    canvas_reset(p);
    p->sws = sws_getContext(width, height, format, CANVAS_SIDE, CANVAS_SIDE, AV_PIX_FMT_YUV420P,
                            SWS_AREA, NULL, NULL, NULL);
    if (!p->sws)
        return err_skip(err, "media_no_frames", "picture: %dx%d %s cannot be scaled", width,
                        height, av_get_pix_fmt_name(format));
    /* Range in = range out: no conversion of YCbCr. From RGB: full-range BT.601. */
    const int *table = sws_getCoefficients(SWS_CS_ITU601);
    int full = !is_ycbcr(format);
    (void)sws_setColorspaceDetails(p->sws, table, full, table, full, 0, 1 << 16, 1 << 16);
    p->width = width;
    p->height = height;
    p->format = format;
    return ERR_OK;
}

/* Kr and Kb of a matrix, ITU-T H.273 table 4. */
static void luma_weights(enum AVColorSpace matrix, float *ret_kr, float *ret_kb)
{
    switch (matrix) {
    case AVCOL_SPC_BT709:
        *ret_kr = 0.2126f;
        *ret_kb = 0.0722f;
        break;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
        *ret_kr = 0.2627f;
        *ret_kb = 0.0593f;
        break;
    case AVCOL_SPC_SMPTE240M:
        *ret_kr = 0.212f;
        *ret_kb = 0.087f;
        break;
    case AVCOL_SPC_FCC:
        *ret_kr = 0.30f;
        *ret_kb = 0.11f;
        break;
    default:
        *ret_kr = 0.299f;
        *ret_kb = 0.114f;
    }
}

/* convert = F(601) · F(matrix)⁻¹, both with Cb = (B−Y)/(2(1−Kb)), Cr = (R−Y)/(2(1−Kr)). */
static void set_matrix(struct canvas_painter *p, enum AVColorSpace matrix)
{
    if (p->matrix == matrix)
        return;
    p->matrix = matrix;
    float kr, kb;
    luma_weights(matrix, &kr, &kb);
    float r0 = 0.299f, b0 = 0.114f;
    for (int i = 0; i < 3; i++) {
        float y = i == 0, cb = i == 1, cr = i == 2;
        float r = y + 2 * (1 - kr) * cr, b = y + 2 * (1 - kb) * cb;
        float g = (y - kr * r - kb * b) / (1 - kr - kb);
        float y0 = r0 * r + (1 - r0 - b0) * g + b0 * b;
        p->convert[0][i] = y0;
        p->convert[1][i] = (b - y0) / (2 * (1 - b0));
        p->convert[2][i] = (r - y0) / (2 * (1 - r0));
    }
}

static enum AVColorSpace frame_matrix(const AVFrame *f, enum AVPixelFormat format)
{
    if (!is_ycbcr(format) || f->colorspace == AVCOL_SPC_RGB)
        return AVCOL_SPC_SMPTE170M;
    if (f->colorspace == AVCOL_SPC_UNSPECIFIED)
        return f->height >= HD_LINES ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
    return f->colorspace;
}

static uint8_t clip_byte(float v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : lrintf(v));
}

static void expand_range(struct canvas *c)
{
    uint8_t luma[256], chroma[256];
    for (int i = 0; i < 256; i++) {
        luma[i] = clip_byte((float)(i - 16) * (255.0f / 219.0f));
        chroma[i] = clip_byte((float)(i - 128) * (255.0f / 224.0f) + 128.0f);
    }
    for (size_t i = 0; i < sizeof(c->y); i++)
        c->y[i] = luma[c->y[i]];
    for (size_t i = 0; i < sizeof(c->cb); i++) {
        c->cb[i] = chroma[c->cb[i]];
        c->cr[i] = chroma[c->cr[i]];
    }
}

static void convert_matrix(const struct canvas_painter *p, struct canvas *c)
{
    const float(*m)[3] = p->convert;
    for (int row = 0; row < CANVAS_CHROMA; row++) {
        for (int col = 0; col < CANVAS_CHROMA; col++) {
            int i = row * CANVAS_CHROMA + col;
            float cb = (float)c->cb[i] - 128, cr = (float)c->cr[i] - 128;
            int add = (int)lrintf(m[0][1] * cb + m[0][2] * cr);
            uint8_t *y = &c->y[2 * row * CANVAS_SIDE + 2 * col];
            for (int k = 0; k < 4; k++) {
                int v = y[(k >> 1) * CANVAS_SIDE + (k & 1)] + add;
                y[(k >> 1) * CANVAS_SIDE + (k & 1)] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
            c->cb[i] = clip_byte(m[1][1] * cb + m[1][2] * cr + 128);
            c->cr[i] = clip_byte(m[2][1] * cb + m[2][2] * cr + 128);
        }
    }
}

static void orient_plane(const uint8_t *src, uint8_t *dst, int side, bool transpose,
                         bool flip_x, bool flip_y)
{
    for (int y = 0; y < side; y++) {
        for (int x = 0; x < side; x++) {
            int tx = flip_x ? side - 1 - x : x, ty = flip_y ? side - 1 - y : y;
            dst[y * side + x] = transpose ? src[tx * side + ty] : src[ty * side + tx];
        }
    }
}

int canvas_paint(struct canvas_painter *p, const AVFrame *frame, bool transpose, bool flip_x,
                 bool flip_y, struct canvas *ret_canvas, struct err *err)
{
    bool full = frame->color_range == AVCOL_RANGE_JPEG;
    enum AVPixelFormat format = plain_format((enum AVPixelFormat)frame->format, &full);
    int status = make_scaler(p, frame->width, frame->height, format, err);
    if (status != ERR_OK)
        return status;
    bool turn = transpose || flip_x || flip_y;
    struct canvas *c = turn ? &p->scratch : ret_canvas;
    uint8_t *planes[4] = {c->y, c->cb, c->cr, NULL};
    int strides[4] = {CANVAS_SIDE, CANVAS_CHROMA, CANVAS_CHROMA, 0};
    int rows = sws_scale(p->sws, (const uint8_t *const *)frame->data, frame->linesize, 0,
                         frame->height, planes, strides);
    if (rows <= 0)
        return err_skip(err, "media_no_frames", "picture: %dx%d %s cannot be scaled",
                        frame->width, frame->height, av_get_pix_fmt_name(format));
    if (is_ycbcr(format) && !full)
        expand_range(c);
    set_matrix(p, frame_matrix(frame, format));
    if (p->matrix != AVCOL_SPC_SMPTE170M && p->matrix != AVCOL_SPC_BT470BG)
        convert_matrix(p, c);
    if (turn) {
        orient_plane(c->y, ret_canvas->y, CANVAS_SIDE, transpose, flip_x, flip_y);
        orient_plane(c->cb, ret_canvas->cb, CANVAS_CHROMA, transpose, flip_x, flip_y);
        orient_plane(c->cr, ret_canvas->cr, CANVAS_CHROMA, transpose, flip_x, flip_y);
    }
    return ERR_OK;
}
