"""Containers and bit streams, as far as an attacker needs them: bytes from parts. Standard library
only; nothing here checks that the result makes sense."""

import struct
import zlib


def be16(n):
    return struct.pack(">H", n & 0xFFFF)


def be32(n):
    return struct.pack(">I", n & 0xFFFFFFFF)


def be64(n):
    return struct.pack(">Q", n & (1 << 64) - 1)


def le16(n):
    return struct.pack("<H", n & 0xFFFF)


def le32(n):
    return struct.pack("<I", n & 0xFFFFFFFF)


def le64(n):
    return struct.pack("<Q", n & (1 << 64) - 1)


class Bits:
    """Bits, the most significant first."""

    def __init__(self):
        self.bits = []

    def u(self, n, value):
        self.bits += [value >> (n - 1 - i) & 1 for i in range(n)]
        return self

    def ue(self, value):
        n = (value + 1).bit_length()
        return self.u(n - 1, 0).u(n, value + 1)

    def se(self, value):
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def stop(self):
        """RBSP trailing bits."""
        return self.u(1, 1)

    def bytes(self, fill=0):
        bits = self.bits + [fill] * (-len(self.bits) % 8)
        return bytes(int("".join(map(str, bits[i:i + 8])), 2) for i in range(0, len(bits), 8))


def nal(header, rbsp):
    """An H.264 or HEVC NAL unit with its emulation prevention bytes; header as bytes."""
    out = bytearray(header)
    zeros = 0
    for b in rbsp:
        if zeros >= 2 and b <= 3:
            out.append(3)
            zeros = 0
        out.append(b)
        zeros = zeros + 1 if b == 0 else 0
    return bytes(out)


# ---- MP4 ----

def box(name, *parts):
    body = b"".join(parts)
    return be32(8 + len(body)) + name + body


def full(name, *parts, version=0, flags=0):
    return box(name, bytes([version]), be32(flags)[1:], *parts)


MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
FTYP = box(b"ftyp", b"isom", be32(512), b"isomiso2mp41")


def visual_entry(fourcc, width, height, *boxes, depth=24):
    return box(fourcc, bytes(6), be16(1), bytes(16), be16(width), be16(height), be32(0x480000),
               be32(0x480000), be32(0), be16(1), bytes(32), be16(depth), be16(0xFFFF), *boxes)


def audio_entry(fourcc, channels, rate_hz, *boxes, bits=16):
    return box(fourcc, bytes(6), be16(1), bytes(8), be16(channels), be16(bits), be32(0),
               be32(rate_hz << 16), *boxes)


def descriptor(tag, *parts):
    body = b"".join(parts)
    return bytes([tag, 0x80 | len(body) >> 14 & 127, 0x80 | len(body) >> 7 & 127, len(body) & 127]) + body


def esds(object_type, config):
    dec = descriptor(4, bytes([object_type, 0x15]), bytes(3), be32(0), be32(0), descriptor(5, config))
    return full(b"esds", descriptor(3, be16(1), b"\0", dec, descriptor(6, b"\2")))


class Track:
    """One trak. sizes: a list, or (size, count); offsets: of each chunk of one sample, from the start of the
    file, or (offset, samples) for a single chunk."""

    def __init__(self, entry, sizes, offsets, kind=b"vide", delta=1000, timescale=25000, keys=None,
                 extra=b"", edits=b"", tables=None, trak_extra=b""):
        self.entry, self.sizes, self.offsets, self.kind = entry, sizes, offsets, kind
        self.delta, self.timescale, self.keys = delta, timescale, keys
        self.extra, self.edits, self.tables, self.trak_extra = extra, edits, tables, trak_extra

    def n(self):
        return self.sizes[1] if isinstance(self.sizes, tuple) else len(self.sizes)

    def stbl(self):
        if self.tables is not None:
            return box(b"stbl", self.tables)
        if isinstance(self.sizes, tuple):
            stsz = full(b"stsz", be32(self.sizes[0]), be32(self.sizes[1]))
        else:
            stsz = full(b"stsz", be32(0), be32(len(self.sizes)), *map(be32, self.sizes))
        per_chunk = self.offsets[1] if isinstance(self.offsets, tuple) else 1
        chunks = [self.offsets[0]] if isinstance(self.offsets, tuple) else self.offsets
        if self.n() == 0:  # a film in fragments
            empty = full(b"stts", be32(0)) + full(b"stsc", be32(0)) + stsz + full(b"stco", be32(0))
            return box(b"stbl", full(b"stsd", be32(1), self.entry), empty)
        parts = [full(b"stsd", be32(1), self.entry), full(b"stts", be32(1), be32(self.n()), be32(self.delta)),
                 full(b"stsc", be32(1), be32(1), be32(per_chunk), be32(1)), stsz,
                 full(b"stco", be32(len(chunks)), *map(be32, chunks))]
        if self.keys is not None:
            parts.append(full(b"stss", be32(len(self.keys)), *map(be32, self.keys)))
        return box(b"stbl", *parts, self.extra)

    def trak(self, number):
        duration = self.n() * self.delta
        tkhd = full(b"tkhd", be32(0), be32(0), be32(number), be32(0), be32(duration), bytes(8), be16(0), be16(0),
                    be16(256), be16(0), MATRIX, be32(0), be32(0), flags=3)
        mdhd = full(b"mdhd", be32(0), be32(0), be32(self.timescale), be32(duration), be16(0x55C4), be16(0))
        hdlr = full(b"hdlr", be32(0), self.kind, bytes(12), b"h\0")
        media = full(b"vmhd", bytes(8), flags=1) if self.kind == b"vide" else full(b"smhd", bytes(4))
        dinf = box(b"dinf", full(b"dref", be32(1), full(b"url ", flags=1)))
        return box(b"trak", tkhd, self.edits, box(b"mdia", mdhd, hdlr, box(b"minf", media, dinf, self.stbl())),
                   self.trak_extra)


def moov(tracks, *extra, timescale=25000):
    mvhd = full(b"mvhd", be32(0), be32(0), be32(timescale), be32(0), be32(0x10000), be16(256), bytes(10), MATRIX,
                bytes(24), be32(len(tracks) + 1))
    return box(b"moov", mvhd, *[t.trak(i + 1) for i, t in enumerate(tracks)], *extra)


def cmov(moov_box):
    """The same moov, compressed."""
    packed = zlib.compress(moov_box, 9)
    return box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", be32(len(moov_box)), packed)))


def mp4_of(frames, entry, kind=b"vide", repeat=1, delta=1000, timescale=25000, keys=None, extra=b"",
           more_tracks=(), edits=b"", compress=False):
    """ftyp, mdat, moov: the frames, `repeat` times over the same bytes."""
    offsets, sizes, at = [], [], len(FTYP) + 8
    for f in frames:
        offsets.append(at)
        sizes.append(len(f))
        at += len(f)
    track = Track(entry, sizes * repeat, offsets * repeat, kind, delta, timescale, keys, edits=edits)
    tail = moov([track, *more_tracks], extra)
    return FTYP + box(b"mdat", *frames) + (cmov(tail) if compress else tail)


# ---- Matroska ----

def ebml(element, *parts):
    """element: the id as an integer, its length bits included."""
    body = b"".join(parts)
    return vint_id(element) + be64(1 << 56 | len(body)) + body


def vint_id(element):
    return element.to_bytes((element.bit_length() + 7) // 8, "big")


def ebml_u(element, value):
    return ebml(element, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def mkv_track(number, codec, video=None, audio=None, private=b"", extra=b""):
    parts = [ebml_u(0xD7, number), ebml_u(0x73C5, number), ebml_u(0x83, 1 if video else 2), ebml(0x86, codec)]
    if private:
        parts.append(ebml(0x63A2, private))
    if video:
        parts.append(ebml(0xE0, ebml_u(0xB0, video[0]), ebml_u(0xBA, video[1])))
    if audio:
        parts.append(ebml(0xE1, ebml(0xB5, struct.pack(">d", audio[0])), ebml_u(0x9F, audio[1])))
    return ebml(0xAE, *parts, extra)


def mkv_blocks(packets, step_ms=40, key_every=1, track=1):
    """Clusters of one block each, so that times never overflow."""
    out = []
    for i, p in enumerate(packets):
        flags = 0x80 if i % key_every == 0 else 0
        out.append(ebml(0x1F43B675, ebml_u(0xE7, i * step_ms),
                        ebml(0xA3, bytes([0x80 | track]), be16(0), bytes([flags]), p)))
    return b"".join(out)


def mkv(tracks, body, head=b"", doctype=b"matroska"):
    """head: elements of the segment before the clusters."""
    ebml_head = ebml(0x1A45DFA3, ebml_u(0x4286, 1), ebml_u(0x42F7, 1), ebml_u(0x42F2, 4), ebml_u(0x42F3, 8),
                     ebml(0x4282, doctype), ebml_u(0x4287, 4), ebml_u(0x4285, 2))
    info = ebml(0x1549A966, ebml_u(0x2AD7B1, 1000000))
    return ebml_head + ebml(0x18538067, info, ebml(0x1654AE6B, *tracks), head, body)


# ---- Ogg ----

def ogg_crc(data):
    crc = 0
    for b in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ OGG_TABLE[crc >> 24 ^ b]
    return crc


def _ogg_table():
    table = []
    for i in range(256):
        r = i << 24
        for _ in range(8):
            r = (r << 1 ^ (0x04C11DB7 if r & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(r)
    return table


OGG_TABLE = _ogg_table()


def ogg_pages(packets, serial=1, granule=0, step=960, first_flags=2, sequence=0):
    """Each packet on pages of its own."""
    out = []
    flags = first_flags
    for i, p in enumerate(packets):
        granule += step if i > 1 else 0
        for at in range(0, len(p) + 1, 255 * 255):
            part = p[at:at + 255 * 255]
            last = at + len(part) == len(p) and len(part) < 255 * 255
            lacing = bytes([255] * (len(part) // 255)) + (bytes([len(part) % 255]) if last else b"")
            head = (b"OggS\0" + bytes([flags | (1 if at else 0)]) + le64(granule) + le32(serial) + le32(sequence)
                    + bytes(4) + bytes([len(lacing)]) + lacing)
            page = head + part
            out.append(page[:22] + le32(ogg_crc(page)) + page[26:])
            sequence += 1
            flags = 0
    return b"".join(out)


def vorbis_comment(comments, vendor=b"x"):
    return le32(len(vendor)) + vendor + le32(len(comments)) + b"".join(le32(len(c)) + c for c in comments)


# ---- RIFF, FLV, TS, ASF, ID3 ----

def chunk(name, *parts):
    body = b"".join(parts)
    return name + le32(len(body)) + body + bytes(len(body) & 1)


def riff(form, *parts):
    return chunk(b"RIFF", form, *parts)


def wav(pcm, channels=1, rate_hz=16000, bits=16, tag=1, extra=b""):
    align = channels * bits // 8
    fmt = le16(tag) + le16(channels) + le32(rate_hz) + le32(rate_hz * align) + le16(align) + le16(bits)
    return riff(b"WAVE", chunk(b"fmt ", fmt), extra, chunk(b"data", pcm))


def avi(frames, fourcc, width, height, extra=b"", rate=25, head_extra=b""):
    avih = le32(40000) + bytes(12) + le32(len(frames)) + le32(0) + le32(1) + le32(0) + le32(width) + le32(height)
    strh = (b"vids" + fourcc + bytes(12) + le32(1) + le32(rate) + le32(0) + le32(len(frames)) + le32(0)
            + le32(0xFFFFFFFF) + le32(0) + bytes(8))
    strf = (le32(40) + le32(width) + le32(height) + le16(1) + le16(24) + fourcc + le32(width * height * 3)
            + bytes(16))
    hdrl = chunk(b"LIST", b"hdrl", chunk(b"avih", avih, bytes(16)),
                 chunk(b"LIST", b"strl", chunk(b"strh", strh), chunk(b"strf", strf), head_extra))
    movi = chunk(b"LIST", b"movi", *[chunk(b"00dc", f) for f in frames])
    at, index = 4, []
    for f in frames:
        index.append(b"00dc" + le32(16) + le32(at) + le32(len(f)))
        at += 8 + len(f) + (len(f) & 1)
    return riff(b"AVI ", hdrl, extra, movi, chunk(b"idx1", *index))


def flv_tag(kind, ms, body):
    n = len(body)
    return (bytes([kind]) + be32(n)[1:] + be32(ms)[1:] + bytes([ms >> 24 & 255]) + bytes(3) + body
            + be32(n + 11))


def flv(*tags, flags=1):
    return b"FLV\x01" + bytes([flags]) + be32(9) + be32(0) + b"".join(tags)


def amf_string(s):
    return be16(len(s)) + s


def crc32_mpeg(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ OGG_TABLE[crc >> 24 ^ b]
    return crc


def ts_packet(pid, payload, start=False, counter=0, adaptation=b""):
    """At most 184 bytes of payload, filled up by an adaptation field."""
    room = 184 - len(payload)
    control = 0x10
    field = b""
    if room > 0:
        control = 0x30
        field = bytes([room - 1]) + (b"\0" + b"\xff" * (room - 2) if room > 1 else b"")
    return (b"\x47" + be16((0x4000 if start else 0) | pid) + bytes([control | counter & 15]) + field + payload)


def ts_section(pid, table, extension, body, version=0, counter=0, number=0, last=0):
    """A whole section in one or more packets."""
    n = len(body) + 9
    s = (bytes([table]) + be16(0xB000 | n) + be16(extension) + bytes([0xC1 | version << 1, number, last]) + body)
    s = b"\0" + s + be32(crc32_mpeg(s))
    return b"".join(ts_packet(pid, s[at:at + 184], at == 0, counter + at // 184) for at in range(0, len(s), 184))


def ts_pes(pid, data, stream=0xE0, pts=0, counter=0):
    stamp = bytes([0x21 | pts >> 29 & 14]) + be16(pts >> 14 & 0xFFFE | 1) + be16(pts << 1 & 0xFFFE | 1)
    pes = b"\0\0\1" + bytes([stream]) + be16(0) + b"\x80\x80\x05" + stamp + data
    return b"".join(ts_packet(pid, pes[at:at + 184], at == 0, counter + at // 184)
                    for at in range(0, len(pes), 184))


def syncsafe(n):
    return bytes([n >> 21 & 127, n >> 14 & 127, n >> 7 & 127, n & 127])


def id3(frames, version=4, flags=0):
    """frames: (name, body) or (name, body, flags)."""
    out = []
    for name, body, *rest in frames:
        size = syncsafe(len(body)) if version == 4 else be32(len(body))
        out.append(name + size + be16(rest[0] if rest else 0) + body)
    body = b"".join(out)
    return b"ID3" + bytes([version, 0, flags]) + syncsafe(len(body)) + body


ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_EXTENDED = bytes.fromhex("40a4d0d207e3d21197f000a0c95ea850")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_MARKER = bytes.fromhex("01cd87f451a9cf118ee600c00c205365")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")


def asf_object(guid, *parts):
    body = b"".join(parts)
    return guid + le64(24 + len(body)) + body


# ---- frames of sound that need no encoder ----

def _crc_table(bits, poly):
    table = []
    for i in range(256):
        r = i << (bits - 8)
        for _ in range(8):
            r = (r << 1 ^ (poly if r >> (bits - 1) & 1 else 0)) & ((1 << bits) - 1)
        table.append(r)
    return table


CRC8, CRC16 = _crc_table(8, 0x07), _crc_table(16, 0x8005)


def crc8(data):
    r = 0
    for b in data:
        r = CRC8[r ^ b]
    return r


def crc16(data):
    r = 0
    for b in data:
        r = (r << 8 & 0xFFFF) ^ CRC16[r >> 8 ^ b]
    return r


def utf8_number(n):
    return chr(n).encode("utf-8", "surrogatepass")


def flac_frame(number, rate_hz, n_samples=192, channels=1, value=0):
    """One constant value a channel, of 16 bits."""
    if rate_hz % 10 == 0 and rate_hz > 65535:
        rate_code, rate = 14, be16(rate_hz // 10)
    else:
        rate_code, rate = 13, be16(rate_hz)
    head = (be16(0xFFF8) + bytes([7 << 4 | rate_code, (channels - 1) << 4 | 4 << 1]) + utf8_number(number)
            + be16(n_samples - 1) + rate)
    body = head + bytes([crc8(head)]) + (b"\0" + be16(value)) * channels
    return body + be16(crc16(body))


def flac_head(rate_hz=48000, channels=1, blocks=(), block=192):
    """fLaC and STREAMINFO, and further metadata blocks as (type, body)."""
    out = [b"fLaC"]
    info = (be16(block) + be16(block) + bytes(6)
            + be64(rate_hz << 44 | (channels - 1) << 41 | 15 << 36) + bytes(16))
    all_blocks = [(0, info), *blocks]
    for i, (kind, body) in enumerate(all_blocks):
        out.append(bytes([kind | (128 if i + 1 == len(all_blocks) else 0)]) + be32(len(body))[1:] + body)
    return b"".join(out)


ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_ELEMENTS = {1: "S", 2: "P", 3: "SP", 4: "SPS", 5: "SPP", 6: "SPPL", 7: "SPPPL"}


def aac_frame(channels_code, gain=100):
    """Silence, in the elements of a channel configuration."""
    b = Bits()
    tags = {"S": 0, "P": 0, "L": 0}
    for e in AAC_ELEMENTS[channels_code]:
        b.u(3, {"S": 0, "P": 1, "L": 3}[e]).u(4, tags[e])
        tags[e] += 1
        if e == "P":
            b.u(1, 0)
        for _ in range(2 if e == "P" else 1):
            b.u(8, gain).u(1, 0).u(2, 0).u(1, 0).u(6, 0).u(1, 0).u(3, 0)
    return b.u(3, 7).bytes()


def adts(rate_index, channels_code, raw):
    n = len(raw) + 7
    b = Bits().u(12, 0xFFF).u(4, 1).u(2, 1).u(4, rate_index).u(1, 0).u(3, channels_code).u(4, 0)
    return b.u(13, n).u(11, 0x7FF).u(2, 0).bytes() + raw


MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def mp3_frame(version, rate_index, bitrate_index=1, mono=True):
    """Silence: a header and zeros. version as in the header: 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5."""
    kbit = ((32, 40, 48, 56, 64) if version == 3 else (8, 16, 24, 32, 40))[bitrate_index - 1]
    n = (144000 if version == 3 else 72000) * kbit // MP3_RATES[version][rate_index]
    head = bytes([0xFF, 0xE3 | version << 3, bitrate_index << 4 | rate_index << 2, 0xC0 if mono else 0])
    return head + bytes(n - 4)
