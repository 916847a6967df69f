"""A3 to A5, D7 and their brothers: pictures that cost more than the packets, frames and pixels that a plan counts."""

import struct
import zlib

from formats import (FTYP, Bits, Track, avi, be16, be32, box, full, le16, le32, mkv, mkv_blocks, mkv_track, moov, mp4_of,
                     nal, ts_pes, ts_section, visual_entry)
from kinds import attack

SIDES = (4096, 2048, 1024, 256)


# ---- JPEG ----

def jpeg_segment(marker, body):
    return bytes([0xFF, marker]) + be16(len(body) + 2) + body


def jpeg_tables():
    """A code of one symbol for DC (0) and, for AC, codes for the end of 2^14 blocks and more (0xE0) and 0x00."""
    counts_dc = bytes([1] + [0] * 15)
    counts_ac = bytes([1, 1] + [0] * 14)
    return (jpeg_segment(0xDB, b"\0" + bytes([1] * 64)) + jpeg_segment(0xC4, b"\0" + counts_dc + b"\0")
            + jpeg_segment(0xC4, b"\x10" + counts_ac + b"\xe0\0"))


def jpeg_size(marker, width, height, components=1, sampling=0x11):
    parts = b"".join(bytes([i + 1, sampling if i == 0 else 0x11, 0]) for i in range(components))
    return jpeg_segment(marker, b"\x08" + be16(height) + be16(width) + bytes([components]) + parts)


def stuffed(data):
    return data.replace(b"\xff", b"\xff\0")


def progressive_jpeg(width, height, scans, refine=True, coefficient=63):
    """The first scan of one coefficient, then refinements that change nothing: a run of ends of band each."""
    blocks = (width + 7) // 8 * ((height + 7) // 8)
    dc = jpeg_segment(0xDA, b"\1\1\0\0\0\0") + stuffed(Bits().u(blocks, 0).bytes(1))
    runs, left = Bits(), blocks
    while left > 0:
        n = min(left, 32767)
        if n >= 1 << 14:
            runs.u(1, 0).u(14, n - (1 << 14))
        else:
            n = 1
            runs.u(2, 2)
        left -= n
    data = stuffed(runs.bytes(1))
    first = jpeg_segment(0xDA, bytes([1, 1, 0, coefficient, coefficient, 0x01 if refine else 0])) + data
    again = jpeg_segment(0xDA, bytes([1, 1, 0, coefficient, coefficient, 0x10 if refine else 0])) + data
    return (b"\xff\xd8" + jpeg_tables() + jpeg_size(0xC2, width, height) + dc + first + again * scans + b"\xff\xd9")


def baseline_jpeg(width, height, scans, components=1):
    """A flat picture of two bits a block, scanned again and again."""
    blocks = (width + 7) // 8 * ((height + 7) // 8)
    one = stuffed(bytes([0b01001001, 0b00100100, 0b10010010] * (blocks * 3 // 24 + 1))[:(blocks * 3 + 7) // 8])
    scan = jpeg_segment(0xDA, b"\1\1\0\0\x3f\0") + one
    return b"\xff\xd8" + jpeg_tables() + jpeg_size(0xC0, width, height, components) + scan * scans + b"\xff\xd9"


def film_of_pictures(d, picture, width, height, codec=("jpeg", b"MJPG", b"V_MJPEG")):
    """The pictures in one of the containers, sharing their bytes where it can be."""
    n = d.size("pictures", 1, 40)
    container = d.pick("container", ("mp4", "avi", "mkv"))
    entry = visual_entry(codec[0].encode(), width, height)
    if container == "mp4" or len(picture) * n > 40000000:
        return mp4_of([picture], entry, repeat=n)
    if container == "avi":
        return avi([picture] * n, codec[1], width, height)
    return mkv([mkv_track(1, codec[2], (width, height))], mkv_blocks([picture] * n))


@attack("A5_jpeg_scans", "mp4")
def jpeg_scans(d):
    side = d.pick("side", SIDES)
    scans = d.size("scans", 1, 3000)
    return film_of_pictures(d, progressive_jpeg(side, side, scans, d.pick("refine", (True, False))), side, side)


@attack("A5_jpeg_scans_one_packet", "mp4")
def jpeg_scans_one_packet(d):
    """A single picture whose scans take longer than any limit: nothing can be looked at between them."""
    side = d.pick("side", SIDES)
    scans = d.size("scans", 10, 100000)
    return mp4_of([progressive_jpeg(side, side, scans)], visual_entry(b"jpeg", side, side))


@attack("A5_jpeg_baseline_scans", "mp4")
def jpeg_baseline_scans(d):
    side = d.pick("side", SIDES)
    scans = d.size("scans", 1, 200)
    return film_of_pictures(d, baseline_jpeg(side, side, min(scans, 40000000 // (side * side // 160 + 1))), side, side)


@attack("A5_jpeg_thumbnails", "avi")
def jpeg_thumbnails(d):
    """Many small pictures in one packet; or two fields."""
    n, side = d.size("inside", 2, 5000), d.pick("side", (256, 1024, 64))
    picture = baseline_jpeg(side, side, 1)
    return film_of_pictures(d, (picture * n)[:20000000], side, side)


@attack("D7_shapes", "avi")
def shapes(d):
    """Long and thin, or with a declared size that the picture has not."""
    width, height = d.pick("shape", ((65500, 256), (16384, 1024), (1, 65500), (65500, 1), (256, 65500), (32769, 512),
                                     (40000, 400), (65535, 16), (8192, 2048), (4096, 4096), (4097, 4096)))
    picture = baseline_jpeg(width, height, 1)
    if d.pick("declared", (True, False)):
        return film_of_pictures(d, picture, width, height)
    return film_of_pictures(d, picture, d.size("width", 1, 65535), d.size("height", 1, 65535))


@attack("D7_raw", "avi")
def raw_shapes(d):
    width, height = d.pick("shape", ((65535, 256), (1, 65535), (16384, 1024), (4096, 4096), (65535, 1), (3, 5)))
    n = d.size("bytes", 1000, 4000000)
    fourcc = d.pick("fourcc", (b"I420", b"DIB ", b"YUY2", b"GREY", b"UYVY", b"Y800", b"v210"))
    return avi([bytes(n)] * 4, fourcc, width, height)


# ---- VP8, VP9, AV1 ----

def superframe(frames):
    """VP9's index of the frames in one packet, of four bytes each."""
    marker = bytes([0xC0 | 3 << 3 | len(frames) - 1])
    return b"".join(frames) + marker + b"".join(le32(len(f)) for f in frames) + marker


VP9_WAYS = ("-deadline", "realtime", "-cpu-used", 8, "-b:v", "200k", "-g", 999, "-error-resilient", 1, "-aq-mode", 0,
            "-auto-alt-ref", 0, "-lag-in-frames", 0)


class Reader:
    def __init__(self, data):
        self.bits, self.at = [b >> (7 - i) & 1 for b in data[:64] for i in range(8)], 0

    def u(self, n):
        value = int("".join(map(str, self.bits[self.at:self.at + n])), 2)
        self.at += n
        return value

    def optional(self, n):
        """A flag, and n bits if it is set."""
        if self.u(1):
            self.u(n)


def vp9_header_bits(frame, width):
    """The length of the uncompressed header of a resilient inter frame without segments."""
    r = Reader(frame)
    r.u(8)
    r.u(8 + 12)
    if not any(r.u(1) for _ in range(3)):
        r.u(32)
    r.optional(32)
    r.u(1)
    if not r.u(1):
        r.u(2)
    r.u(2 + 6 + 3)
    if r.u(1) and r.u(1):
        for _ in range(6):
            r.optional(7)
    r.u(8)
    for _ in range(3):
        r.optional(5)
    assert not r.u(1), "segments"
    columns = (width + 63) // 64
    for _ in range(max(0, columns.bit_length() - 3)):
        if not r.u(1):
            break
    r.optional(1)
    r.u(16)
    return r.at


def vp9_hide(frame, width):
    """The same frame, decoded but not shown: one flag cleared, and the flag that then follows put in."""
    n = vp9_header_bits(frame, width)
    bits = [b >> (7 - i) & 1 for b in frame[:(n + 7) // 8] for i in range(8)][:n]
    assert bits[7] == 1 and bits[4] == 0, "not resilient"
    b = Bits()
    b.bits = bits[:6] + [0, 1, 0] + bits[8:]
    return b.bytes() + frame[(n + 7) // 8:]


@attack("A3_vp9_hidden", "webm", ("vp9",))
def vp9_hidden(d):
    """Superframes of hidden frames between the shown ones."""
    side = d.pick("side", SIDES)
    key, shown, *_ = d.bases.ivf("vp9", "libvpx-vp9", side, 4, *VP9_WAYS, pattern="color=c=gray:")
    hidden = vp9_hide(shown, side)
    many = d.pick("hidden", (7, 1, 3, 5))
    n = d.size("packets", 2, 400)
    packet = superframe([hidden] * many + [shown])
    track = mkv_track(1, b"V_VP9", (side, side))
    return mkv([track], mkv_blocks([key] + [packet] * n, 40, 10 ** 9), doctype=b"webm")


@attack("A3_vp9_never_shown", "webm", ("vp9",))
def vp9_never_shown(d):
    """Only hidden frames, one a packet: no frame comes, and none is counted."""
    side = d.pick("side", SIDES)
    key, shown, *_ = d.bases.ivf("vp9", "libvpx-vp9", side, 4, *VP9_WAYS, pattern="color=c=gray:")
    hidden = vp9_hide(shown, side)
    n = d.size("packets", 2, 6000)
    keys = d.pick("keys", (10 ** 9, 1, 100))
    return mkv([mkv_track(1, b"V_VP9", (side, side))], mkv_blocks([key] + [hidden] * n, 40, keys),
               doctype=b"webm")


@attack("A3_vp8_hidden", "webm", ("vp8",))
def vp8_hidden(d):
    """VP8 whose frames are not shown: the flag is one bit."""
    side = d.pick("side", SIDES)
    packets = d.bases.ivf("vp8", "libvpx", side, 8, "-deadline", "realtime", "-cpu-used", 16, "-b:v", "200k", "-g", 999,
                          pattern="color=c=gray:")
    shown = d.pick("shown", (0, 1, 10))
    hide = [bytes([p[0] & ~0x10]) + p[1:] for p in packets]
    n = d.size("packets", 2, 8000)
    out = [hide[0] if d.pick("key hidden", (True, False)) else packets[0]]
    out += [packets[2] if shown and i % shown == 0 else hide[2] for i in range(n)]
    return mkv([mkv_track(1, b"V_VP8", (side, side))], mkv_blocks(out, 40, 10 ** 9), doctype=b"webm")


def av1_film(d, side):
    """A key frame and what follows it, one temporal unit each."""
    return d.bases.ivf("av1", "libaom-av1", side, 24, "-cpu-used", 8, "-usage", "realtime", "-b:v", "100k", "-g", 999,
                       "-lag-in-frames", 0, pattern="color=c=gray:")


@attack("A4_av1_units", "mp4", ("av1",))
def av1_units(d):
    """Many temporal units in each sample; samples share them."""
    side = d.pick("side", SIDES)
    film = av1_film(d, side)
    units = d.size("units", 1, 2000)
    n = d.size("samples", 1, 200)
    if d.pick("what", ("film", "keys")) == "keys":
        film = film[:1]
    return mp4_of([b"".join(film[i % len(film)] for i in range(units))], visual_entry(b"av01", side, side), repeat=n)


@attack("A4_av1_hidden", "mkv", ("av1",))
def av1_hidden(d):
    """Whole films in each block, many blocks, in the container of another's choice."""
    side = d.pick("side", SIDES)
    film = av1_film(d, side)
    n = d.size("blocks", 1, 500)
    return mkv([mkv_track(1, b"V_AV1", (side, side))], mkv_blocks([b"".join(film)] * n, 40, d.pick("keys", (1, 10 ** 9))))


# ---- H.264, MPEG-2: slices and parameter sets without end in one packet ----

def h264_sps(side):
    """Baseline, no deblocking asked for by the slices."""
    mbs = side // 16
    return nal(b"\x67", Bits().u(8, 66).u(8, 0).u(8, 52).ue(0).ue(0).ue(2).ue(1).u(1, 0).ue(mbs - 1).ue(mbs - 1)
               .u(1, 1).u(1, 1).u(1, 0).u(1, 0).stop().bytes())


H264_PPS = nal(b"\x68", Bits().ue(0).ue(0).u(1, 0).u(1, 0).ue(0).ue(0).ue(0).u(1, 0).u(2, 0).se(0).se(0).se(0)
               .u(1, 1).u(1, 0).u(1, 0).stop().bytes())


def h264_idr(side):
    """Grey: each macroblock 16x16, predicted by its mean, nothing coded."""
    b = Bits().ue(0).ue(7).ue(0).u(4, 0).ue(0).u(1, 0).u(1, 0).se(0).ue(1)
    one = Bits().ue(3).ue(0).se(0).u(1, 1).bits
    b.bits += one * ((side // 16) ** 2)
    return nal(b"\x65", b.stop().bytes())


def h264_skip(side, frame_num, first=0, last=None):
    """A P slice that copies everything from its first macroblock on."""
    n = (side // 16) ** 2 - first if last is None else last - first
    b = Bits().ue(first).ue(5).ue(0).u(4, frame_num % 16).u(1, 0).u(1, 0).u(1, 0).se(0).ue(1).ue(n)
    return nal(b"\x41", b.stop().bytes())


def avc_sample(*nals):
    return b"".join(be32(len(n)) + n for n in nals)


def avc_entry(side, fourcc=b"avc1"):
    sps = h264_sps(side)
    avcc = b"\1\x42\0\x34\xff\xe1" + be16(len(sps)) + sps + b"\1" + be16(len(H264_PPS)) + H264_PPS
    return visual_entry(fourcc, side, side, box(b"avcC", avcc))


@attack("A6_h264_slices", "mp4")
def h264_slices(d):
    """One frame whose slices overlap: each of ten bytes copies nearly all of it once more."""
    side, slices = d.pick("side", SIDES), d.size("slices", 1, 20000)
    frames = d.size("frames", 1, 60)
    again = h264_skip(side, 1, d.pick("first", (1, 0, 2)))
    frame = avc_sample(h264_skip(side, 1), *[again] * slices)
    key = avc_sample(h264_idr(side))
    offsets = [len(FTYP) + 8] + [len(FTYP) + 8 + len(key)] * frames
    track = Track(avc_entry(side), [len(key)] + [len(frame)] * frames, offsets, keys=[1])
    return FTYP + box(b"mdat", key, frame) + moov([track])


@attack("A6_h264_skips", "mp4")
def h264_skips(d):
    """A long film of nothing: frames of ten bytes."""
    side, frames = d.pick("side", SIDES), d.size("frames", 10, 39000)
    key = avc_sample(h264_idr(side))
    rest = [avc_sample(h264_skip(side, i + 1)) for i in range(16)]
    offsets, at = [len(FTYP) + 8], len(FTYP) + 8 + len(key)
    places = []
    for r in rest:
        places.append((at, len(r)))
        at += len(r)
    picked = [places[i % 16] for i in range(frames)]
    track = Track(avc_entry(side), [len(key)] + [s for _, s in picked], offsets + [o for o, _ in picked],
                  keys=[1])
    return FTYP + box(b"mdat", key, *rest) + moov([track])


@attack("A6_h264_parameters", "mp4")
def h264_parameters(d):
    """Parameter sets again and again in one packet; each has its tables built."""
    side, n, frames = d.pick("side", (64, 256)), d.size("sets", 10, 500000), d.size("frames", 1, 60)
    what = d.pick("what", (H264_PPS, h264_sps(side), b"\x06\x05\x01\x00\x80", b"\x09\x10", b"\x0c\xff\x80"))
    sample = avc_sample(h264_idr(side)) + avc_sample(what) * n
    return mp4_of([sample], avc_entry(side), repeat=frames)


def mpeg2_head(side):
    size = Bits().u(12, side & 4095).u(12, side & 4095).u(4, 1).u(4, 3).u(18, 1000).u(1, 1).u(10, 100).u(1, 0).u(2, 0)
    extension = Bits().u(4, 1).u(8, 0x44).u(1, 1).u(2, 1).u(2, side >> 12).u(2, side >> 12).u(12, 0).u(1, 1).u(8, 0).u(8, 0)
    return b"\0\0\1\xb3" + size.bytes() + b"\0\0\1\xb5" + extension.bytes()


def mpeg2_picture(kind, side, slices, rows):
    """kind 1: I, 2: P. The slices copy their row, again and again."""
    head = b"\0\0\1\0" + (Bits().u(10, 0).u(3, kind).u(16, 0xFFFF).u(4, 7 if kind == 2 else 0).bytes())
    extension = b"\0\0\1\xb5" + Bits().u(4, 8).u(16, 0x11FF if kind == 2 else 0xFFFF).u(2, 0).u(2, 3).u(
        10, 0x106).bytes()
    width = side // 16
    out = []
    for row in range(rows):
        b = Bits().u(5, 8).u(1, 0)
        if kind == 2:  # the first and the last macroblock without motion, between them all are skipped
            b.u(1, 1).u(3, 1).u(1, 1).u(1, 1)
            gap = width - 1
            while gap > 33:
                b.u(11, 8)
                gap -= 33
            for code in MB_INCREMENT[gap]:
                b.u(1, int(code))
            b.u(3, 1).u(1, 1).u(1, 1)
        else:
            for _ in range(width):
                b.u(1, 1).u(1, 1)
                for _ in range(4):
                    b.u(3, 4).u(2, 2)
                for _ in range(2):
                    b.u(2, 0).u(2, 2)
        out.append(b"\0\0\1" + bytes([row + 1]) + b.bytes())
    body = out * max(1, slices // len(out))
    return head + extension + b"".join(body)


MB_INCREMENT = {28: "00000011101", 30: "00000011011", 31: "00000011010"}


@attack("A6_mpeg2_slices", "mpg")
def mpeg2_slices(d):
    """The same slices many times in each picture."""
    side = d.pick("side", (2048, 1024, 512))
    slices, frames = d.size("slices", 10, 100000), d.size("frames", 1, 40)
    rows = side // 16
    key = mpeg2_head(side) + mpeg2_picture(1, side, 1, rows)
    inter = mpeg2_picture(2, side, min(slices, 20000000 // frames // 30), rows)
    return key + inter * frames


# ---- pictures that stand still or move by themselves ----

def png_chunk(name, *parts):
    body = b"".join(parts)
    return be32(len(body)) + name + body + be32(zlib.crc32(name + body))


def png_rows(width, height, depth=8, channels=4):
    c = zlib.compressobj(9)
    row = bytes(1 + width * depth * channels // 8)
    return b"".join(c.compress(row) for _ in range(height)) + c.flush()


@attack("A7_png_bomb", "png")
def png_bomb(d):
    """A picture of many pixels in few bytes, plain, interlaced or animated, alone or in a film."""
    width, height = d.pick("shape", ((4096, 4096), (65535, 256), (30000, 30000), (1, 65535), (1024, 1024), (256, 256)))
    rows = png_rows(width, min(height, 60000000 // width + 1))
    head = png_chunk(b"IHDR", be32(width), be32(height), b"\x08\x06\0\0", bytes([d.pick("interlace", (0, 1))]))
    where, n = d.pick("where", ("apng", "png", "mov")), d.size("frames", 1, 300)
    if where == "png":
        return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", rows) + png_chunk(b"IEND")
    if where == "mov":
        picture = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", rows) + png_chunk(b"IEND")
        return mp4_of([picture], visual_entry(b"png ", width, height), repeat=n)
    n = min(n, 20000000 // len(rows) + 1)
    control = be32(width) + be32(height) + bytes(8) + be16(1) + be16(25) + b"\0" + bytes([d.pick("blend", (1, 0))])
    frames = [png_chunk(b"fcTL", be32(0), control), png_chunk(b"IDAT", rows)]
    for i in range(1, n):
        frames += [png_chunk(b"fcTL", be32(2 * i - 1), control), png_chunk(b"fdAT", be32(2 * i), rows)]
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"acTL", be32(n), be32(0)) + b"".join(frames) + png_chunk(b"IEND")


@attack("A7_png_chunks", "png")
def png_chunks(d):
    n = d.size("chunks", 10, 100000)
    kind = d.pick("chunk", (b"zTXt", b"tEXt", b"IDAT", b"PLTE", b"iCCP", b"eXIf", b"fcTL"))
    packed = zlib.compress(bytes(d.size("bytes", 100, 2000000)), 9)
    body = {b"zTXt": b"k\0\0" + packed, b"tEXt": b"k\0v", b"IDAT": b"", b"PLTE": bytes(768), b"iCCP": b"k\0\0" + packed,
            b"eXIf": b"MM\0*" + bytes(20), b"fcTL": bytes(26)}[kind]
    head = png_chunk(b"IHDR", be32(64), be32(64), b"\x08\x06\0\0\0")
    many = png_chunk(kind, body) * min(n, 20000000 // (12 + len(body)))
    return b"\x89PNG\r\n\x1a\n" + head + many + png_chunk(b"IDAT", png_rows(64, 64)) + png_chunk(b"IEND")


def gif_image(width, height, left=0, top=0, codes=b"\x84\x51"):
    return (b"\x21\xf9\x04\x08\x04\0\0\0" + b"\x2c" + le16(left) + le16(top) + le16(width) + le16(height) + b"\0\x02"
            + bytes([len(codes)]) + codes + b"\0")


def gif_fill(pixels):
    """One colour in LZW: words that grow by one pixel each."""
    bits, next_code, width, used, first = [], 6, 3, 0, True

    def put(code):
        bits.extend(code >> i & 1 for i in range(width))

    put(4)
    length = 1
    while used < pixels:
        if first:
            put(0)
            used, first, length = 1, False, 2
            continue
        put(next_code)
        used += length
        length += 1
        if next_code < 4095:
            next_code += 1
            if next_code == 1 << width and width < 12:
                width += 1
        else:
            put(4)
            next_code, width, first = 6, 3, True
    put(5)
    bits += [0] * (-len(bits) % 8)
    data = bytes(sum(b << k for k, b in enumerate(bits[i:i + 8])) for i in range(0, len(bits), 8))
    return b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255))


@attack("A7_gif_frames", "gif")
def gif_frames(d):
    """Tiny frames on a large canvas, or large ones; each is painted whole."""
    side, n = d.pick("side", (4096, 1024, 65535, 256)), d.size("frames", 1, 100000)
    head = b"GIF89a" + le16(side) + le16(side) + b"\x91\0\0" + bytes(range(12))
    if d.pick("whole", (False, True)):
        inside = min(side, 1024)
        one = (b"\x21\xf9\x04\x04\x04\0\0\0\x2c" + bytes(4) + le16(inside) + le16(inside) + b"\0\x02"
               + gif_fill(inside * inside) + b"\0")
        return head + one * min(n, 20000000 // len(one)) + b"\x3b"
    return head + gif_image(1, 1) * n + b"\x3b"


@attack("A7_gif_blocks", "gif")
def gif_blocks(d):
    n = d.size("blocks", 100, 1000000)
    kind = d.pick("block", (b"\x21\xfe\x01x\0", b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0", b"\x21\xf9\x04\0\0\0\0\0", b"\x21\x01\0"))
    return b"GIF89a" + le16(64) + le16(64) + b"\x91\0\0" + bytes(12) + kind * n + gif_image(64, 64) + b"\x3b"


@attack("A7_webp", "webp", ("webp",))
def webp(d):
    """Frames of an animation, again and again, on a canvas that only the header has."""
    path = d.bases.make("still.webp", "-f", "lavfi", "-i", "color=c=gray:s=1024x1024", "-frames:v", 1, "-c:v", "libwebp",
                        "-lossless", 1)
    data = path.read_bytes()
    chunk = data[12:]
    n, side = d.size("frames", 1, 20000), d.pick("canvas", (4096, 1024, 16384))
    size = le32(side - 1)[:3]
    anmf_body = bytes(6) + le32(1023)[:3] * 2 + le32(40)[:3] + b"\0" + chunk[:8 + struct.unpack_from("<I", chunk, 4)[0]]
    anmf = b"ANMF" + le32(len(anmf_body)) + anmf_body + bytes(len(anmf_body) & 1)
    body = (b"WEBPVP8X" + le32(10) + b"\x02\0\0\0" + size * 2 + b"ANIM" + le32(6) + bytes(6)
            + anmf * min(n, 20000000 // len(anmf)))
    return b"RIFF" + le32(len(body)) + body


# ---- many tracks ----

@attack("A8_mp4_tracks", "mp4")
def mp4_tracks(d):
    """More tracks than anyone has; the good one is the last."""
    n = d.pick("tracks", (2000, 9, 12, 100, 1000, 300))
    kind, entry = d.pick("other", ((b"vide", visual_entry(b"mp4v", 64, 64)), (b"soun", visual_entry(b"mp4a", 1, 1)),
                                   (b"text", visual_entry(b"tx3g", 1, 1)), (b"vide", avc_entry(64))))
    samples = d.size("samples", 1, 200)
    key = avc_sample(h264_idr(64))
    at = len(FTYP) + 8
    others = [Track(entry, (4, samples), (at, samples), kind)] * n
    film = Track(avc_entry(64), [len(key)] * 10, [at] * 10)
    return FTYP + box(b"mdat", key) + moov(others + [film])


@attack("A8_ts_pids", "ts")
def ts_pids(d):
    """A packet each of many PIDs, then the film."""
    n = d.pick("pids", (7000, 9, 100, 1000))
    types = d.pick("types", ((0x1B,), (0x0F,), (0x02,), (0x24, 0x1B, 0x0F, 0x81)))
    out = [ts_section(0, 0, 1, be16(1) + be16(0xE020))]
    per = 180
    for s in range(0, n, per):
        body = be16(0xE101) + be16(0xF000) + b"".join(
            bytes([types[i % len(types)]]) + be16(0xE000 | 0x100 + i) + be16(0xF000) for i in range(s, min(s + per, n)))
        out.append(ts_section(0x20, 2, 1, body, s // per % 32, s // per))
    key = b"\0\0\1" + h264_sps(64) + b"\0\0\1" + H264_PPS + b"\0\0\1" + h264_idr(64)
    for i in range(n):
        out.append(ts_pes(0x100 + i, bytes(50), 0xE0, i * 90))
    return b"".join(out) + b"".join(ts_pes(0x101, key, 0xE0, 90000 + i * 3600, i) for i in range(20))


@attack("A8_mkv_tracks", "mkv")
def mkv_tracks(d):
    n = d.pick("tracks", (5000, 9, 12, 100, 1000))
    codec = d.pick("codec", (b"V_MJPEG", b"S_TEXT/UTF8", b"A_PCM/INT/LIT", b"V_VP9"))
    video = (64, 64) if codec.startswith(b"V") else None
    others = [mkv_track(i + 2, codec, video, None if video else (8000.0, 1)) for i in range(n)]
    film = mkv_track(1, b"V_MJPEG", (64, 64))
    return mkv([*others, film], mkv_blocks([baseline_jpeg(64, 64, 1)] * 10))
