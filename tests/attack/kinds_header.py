"""A1 and its brothers: headers, tags and indexes that cost more than their bytes."""

import base64
import struct
import zlib

from formats import (ASF_DATA, ASF_EXTENDED, ASF_FILE, ASF_HEADER, ASF_MARKER, FTYP, Bits, Track, amf_string,
                     asf_object, audio_entry, avi, be16, be32, be64, box, chunk, cmov, ebml, ebml_u, flac_frame,
                     flac_head, flv, flv_tag, full, id3, le16, le32, le64, mkv, mkv_blocks, mkv_track, moov,
                     mp3_frame, ogg_pages, riff, ts_pes, ts_section, visual_entry, vorbis_comment, wav)
from kinds import attack

TONE = bytes(b"".join(struct.pack("<h", 9000 * (i % 40 < 20) - 4500) for i in range(8000)))


def sound_track(offset=len(FTYP) + 8, **more):
    return Track(audio_entry(b"sowt", 1, 16000), (2, 8000), (offset, 8000), b"soun", 1, 16000, **more)


def mp4_with(*extra, draw=None, tracks=None, **track):
    """A film of half a second of sound, with more boxes in its moov."""
    m = moov(tracks or [sound_track(**track)], *extra)
    packed = draw is not None and draw.pick("compressed", (True, False))
    return FTYP + box(b"mdat", TONE) + (cmov(m) if packed else m)


def keys_of(d, n, length, distinct):
    """n names of one length: equal (the dictionary compares them whole) or different at the end only."""
    same = d.word(1) * length
    return [same if not distinct else same[:-8] + b"%08d" % i for i in range(n)]


# ---- MP4 ----

@attack("A1_mp4_mdta_keys", "mp4")
def mp4_mdta_keys(d):
    n, length = d.size("keys", 200, 50000), d.size("length", 9, 300)
    names = keys_of(d, n, length, d.pick("distinct", (True, False)))
    keys = full(b"keys", be32(n), *[be32(8 + len(k)) + b"mdta" + k for k in names])
    value = be32(17) + b"data" + be32(1) + be32(0) + b"v"
    ilst = box(b"ilst", *[be32(8 + len(value)) + be32(i + 1) + value for i in range(n)])
    hdlr = full(b"hdlr", be32(0), b"mdta", bytes(13))
    return mp4_with(box(b"meta", hdlr, keys, ilst), draw=d)


@attack("A1_mp4_ilst", "mp4")
def mp4_ilst(d):
    n = d.size("entries", 200, 60000)
    value = be32(17) + b"data" + be32(1) + be32(0) + b"v"
    distinct = d.pick("distinct", (True, False))
    names = [b"\xa9" + struct.pack(">I", i * 7919)[1:] if distinct else b"\xa9nam" for i in range(n)]
    if d.pick("free", (True, False)):
        item = [box(b"----", full(b"mean", b"com"), full(b"name", b"n%06d" % i), value) for i in range(n)]
    else:
        item = [box(name, value) for name in names]
    hdlr = full(b"hdlr", be32(0), b"mdir", bytes(13))
    return mp4_with(box(b"udta", full(b"meta", hdlr, box(b"ilst", *item))), draw=d)


@attack("A1_mp4_udta", "mp4")
def mp4_udta(d):
    n = d.size("entries", 200, 100000)
    names = (b"\xa9" + struct.pack(">I", i % 3 * 7919 + i)[1:] for i in range(n))
    return mp4_with(box(b"udta", *[box(k, be16(1) + be16(0) + b"x") for k in names]), draw=d)


@attack("A1_mp4_pssh", "mp4")
def mp4_pssh(d):
    n, size = d.size("boxes", 20, 20000), d.size("bytes", 1, 200)
    return mp4_with(*[full(b"pssh", bytes(16), be32(size), bytes(size)) for _ in range(n)], draw=d)


@attack("A1_mp4_pssh_kids", "mp4")
def mp4_pssh_kids(d):
    n, kids = d.size("boxes", 1, 500), d.size("kids", 10, 20000)
    one = full(b"pssh", bytes(16), be32(kids), bytes(16 * kids), be32(0), version=1)
    return mp4_with(*[one] * n, draw=d)


@attack("A1_mp4_edits", "mp4")
def mp4_edits(d):
    n, samples = d.size("edits", 10, 20000), d.size("samples", 100, 20000)
    edits = box(b"edts", full(b"elst", be32(n), *[be32(10) + be32(i % 7) + be32(0x10000) for i in range(n)]))
    track = Track(audio_entry(b"sowt", 1, 16000), (2, samples), [len(FTYP) + 8] * samples,
                  b"soun", 1, 16000, edits=edits)
    if d.pick("picture", (True, False)):
        track = Track(visual_entry(b"mp4v", 64, 64), [4] * samples, [len(FTYP) + 8] * samples, keys=[1],
                      edits=edits)
    return mp4_with(draw=d, tracks=[track])


@attack("A1_mp4_extradata", "mp4")
def mp4_extradata(d):
    """Two descriptions of the samples, in turn, whose extradata travel as side data."""
    size, samples = d.size("extradata", 100, 1000000), d.size("samples", 100, 5000)
    entry = visual_entry(b"mp4v", 64, 64, box(b"glbl", bytes(size)))
    stsc = [be32(i + 1) + be32(1) + be32(1 + (i & 1)) for i in range(samples)]
    tables = (full(b"stsd", be32(2), entry, entry) + full(b"stts", be32(1), be32(samples), be32(1000))
              + full(b"stsc", be32(samples), *stsc) + full(b"stsz", be32(4), be32(samples))
              + full(b"stco", be32(samples), be32(len(FTYP) + 8) * samples))
    return mp4_with(draw=d, tracks=[Track(b"", (4, samples), (0, samples), tables=tables)])


@attack("A1_mp4_counts", "mp4")
def mp4_counts(d):
    """Tables that claim more than they hold."""
    claim = d.size("claim", 1000, 0x7FFFFFFF)
    which = d.pick("table", ("stsz", "stts", "ctts", "stsc", "stco", "stss", "sdtp", "sbgp", "elst", "stsd"))
    n = 8000
    t = {"stts": be32(1) + be32(n) + be32(1), "stsc": be32(1) + be32(1) + be32(n) + be32(1),
         "stsz": be32(2) + be32(n), "stco": be32(1) + be32(len(FTYP) + 8)}
    if which in ("stsz",):
        t["stsz"] = be32(2) + be32(claim)
    elif which == "stts":
        t["stts"] = be32(1) + be32(claim) + be32(1)
    else:
        t[which] = be32(claim) + t.get(which, bytes(8))[4:] + be32(claim) + be32(1)
    tables = full(b"stsd", be32(1), audio_entry(b"sowt", 1, 16000))
    tables += b"".join(full(k.encode(), v) for k, v in t.items() if k not in ("stsd", "elst"))
    return mp4_with(draw=d, tracks=[Track(b"", (2, n), (0, n), b"soun", 1, 16000, tables=tables)])


def fragment(number, time, runs, tail=b"", flags=0x20000):
    tfhd = full(b"tfhd", be32(1), be32(100), be32(4), be32(0), flags=flags | 0x38)
    tfdt = full(b"tfdt", be64(time), version=1)
    return box(b"moof", full(b"mfhd", be32(number)), box(b"traf", tfhd, tfdt, *runs, tail))


@attack("A1_mp4_truns", "mp4")
def mp4_truns(d):
    """Fragments whose runs hold samples of no bytes of table, forwards or backwards in time."""
    n, samples, runs = d.size("fragments", 1, 3000), d.size("samples", 1, 200000), d.size("runs", 1, 50)
    backwards = d.pick("backwards", (True, False))
    if d.pick("within memory", (True, False)):
        samples = min(samples, 8000000 // (n * runs) + 1)
    mvex = box(b"mvex", full(b"trex", be32(1), be32(1), be32(100), be32(4), be32(0)))
    track = Track(visual_entry(b"mp4v", 64, 64), [], [])
    run = full(b"trun", be32(samples), be32(8), flags=1)
    out = [FTYP, moov([track], mvex)]
    for i in range(n):
        out.append(fragment(i + 1, 100 * samples * ((n - i) if backwards else i), [run] * runs))
        out.append(box(b"mdat", bytes(16)))
    return b"".join(out)


@attack("A1_mp4_senc", "mp4")
def mp4_senc(d):
    """Encryption of each sample in parts."""
    samples, parts = d.size("samples", 10, 20000), d.size("parts", 1, 1000)
    samples = min(samples, 20000000 // (10 + 6 * parts) + 1)
    senc = full(b"senc", be32(samples), *[bytes(8) + be16(parts) + (be16(1) + be32(1)) * parts] * samples, flags=2)
    sinf = box(b"sinf", box(b"frma", b"mp4v"), full(b"schm", b"cenc", be32(0x10000)),
               box(b"schi", full(b"tenc", bytes(2), b"\1\x08", bytes(16))))
    track = Track(visual_entry(b"encv", 64, 64, sinf), [4] * samples, [len(FTYP) + 8] * samples, extra=senc)
    return mp4_with(draw=d, tracks=[track])


@attack("A1_mp4_sidx", "mp4")
def mp4_sidx(d):
    n, entries = d.size("boxes", 1, 3000), d.size("entries", 1, 20000)
    entries = min(entries, 3000000 // n)
    sidx = full(b"sidx", be32(1), be32(25000), be32(0), be32(0), be16(0), be16(entries),
                *[be32(16) + be32(100) + be32(0x90000000)] * entries)
    mvex = box(b"mvex", full(b"trex", be32(1), be32(1), be32(100), be32(4), be32(0)))
    return FTYP + moov([Track(visual_entry(b"mp4v", 64, 64), [], [])], mvex) + sidx * n


@attack("A1_mp4_chapters", "mp4")
def mp4_chapters(d):
    """A chapter track: its samples are read while the header is."""
    n = d.size("chapters", 100, 200000)
    texts = Track(audio_entry(b"text", 1, 0), (8, n), [len(FTYP) + 8 + i % 1000 * 8 for i in range(n)], b"text", 1,
                  1000)
    main = sound_track(trak_extra=box(b"tref", box(b"chap", be32(2))))
    return mp4_with(draw=d, tracks=[main, texts])


@attack("A1_mp4_bomb", "mp4")
def mp4_bomb(d):
    """A compressed moov of nothing."""
    n = d.size("bytes", 100000, 400000000)
    c = zlib.compressobj(9)
    packed = b"".join(c.compress(bytes(min(1 << 20, n - at))) for at in range(0, n, 1 << 20)) + c.flush()
    body = box(b"dcom", b"zlib") + box(b"cmvd", be32(n), packed)
    return FTYP + box(b"mdat", TONE) + box(b"moov", box(b"cmov", body))


@attack("A1_mp4_boxes", "mp4")
def mp4_boxes(d):
    """Boxes of eight bytes, or nested."""
    n = d.size("boxes", 1000, 2000000)
    name = d.pick("name", (b"free", b"udta", b"moof", b"sidx", b"uuid", b"mdat", b"trak", b"meta", b"wide"))
    return FTYP + (be32(8) + name) * n + mp4_with()[len(FTYP):]


@attack("A1_mp4_items", "mp4")
def mp4_items(d):
    """A picture file (HEIC) of many items and references."""
    n = d.size("items", 10, 60000)
    entries = min(n, 65535)
    infe = [full(b"infe", be16(i), be16(0), b"hvc1" + b"\0", version=2) for i in range(entries)]
    iloc = full(b"iloc", b"\x44\0", be16(entries), *[be16(i) + be16(0) + be16(1) + be32(48) + be32(16)
                                                     for i in range(entries)])
    iref = full(b"iref", *[box(b"dimg", be16(i), be16(1), be16(i)) for i in range(entries)])
    props = box(b"iprp", box(b"ipco", full(b"ispe", be32(64), be32(64))),
                full(b"ipma", be32(entries), *[be16(i) + b"\1\1" for i in range(entries)]))
    meta = full(b"meta", full(b"hdlr", be32(0), b"pict", bytes(13)), full(b"pitm", be16(1)),
                full(b"iinf", be16(entries), *infe), iloc, iref, props)
    brand = d.pick("brand", (b"heic", b"mif1", b"avif"))
    return box(b"ftyp", brand, be32(0), brand, b"mif1") + meta + box(b"mdat", bytes(64))


# ---- tags in front of sound ----

MP3 = b"".join(mp3_frame(3, 1) for _ in range(40))


@attack("A1_id3_text", "mp3")
def id3_text(d):
    n, length = d.size("frames", 200, 80000), d.size("length", 4, 200)
    names = keys_of(d, n, max(length, 9), d.pick("distinct", (True, False)))
    return id3([(b"TXXX", b"\0" + k + b"\0v") for k in names]) + MP3


@attack("A1_id3_private", "mp3")
def id3_private(d):
    n = d.size("frames", 200, 80000)
    kind = d.pick("frame", (b"PRIV", b"GEOB", b"CHAP", b"COMM", b"USLT", b"APIC"))
    bodies = {b"PRIV": lambda i: b"o%07d\0v" % i, b"GEOB": lambda i: b"\0m\0f\0d%d\0x" % i,
              b"CHAP": lambda i: b"c%d\0" % i + be32(n - i) + be32(n - i + 1) + be32(0) * 2,
              b"COMM": lambda i: b"\0eng%07d\0v" % i, b"USLT": lambda i: b"\0eng%07d\0v" % i,
              b"APIC": lambda i: b"\0image/png\0\3d%d\0\x89PNG" % i}
    return id3([(kind, bodies[kind](i)) for i in range(n)]) + MP3


@attack("A1_id3_compressed", "mp3")
def id3_compressed(d):
    """Frames that are compressed a thousand times."""
    n, size = d.size("frames", 1, 400), d.size("bytes", 10000, 8000000)
    packed = zlib.compress(bytes(size), 9)
    frame = (b"TXXX", syncsafe_of(size) + packed, 0x0009)
    return id3([frame] * n) + MP3


def syncsafe_of(n):
    return bytes([n >> 21 & 127, n >> 14 & 127, n >> 7 & 127, n & 127])


@attack("A1_id3_tags", "mp3")
def id3_tags(d):
    """Many tags one after the other, at the beginning or between the frames."""
    n = d.size("tags", 10, 20000)
    tag = id3([(b"TIT2", b"\0x")])
    return tag * n + MP3 if d.pick("before", (True, False)) else (tag + mp3_frame(3, 1)) * n


@attack("A1_id3_other", "flac")
def id3_other(d):
    """An ID3 tag before a file of another kind."""
    n = d.size("frames", 200, 60000)
    rest = {"flac": flac_head() + b"".join(flac_frame(i, 48000) for i in range(100)), "wav": wav(TONE),
            "mp4": mp4_with(), "aac": b""}[d.pick("rest", ("flac", "wav", "mp4", "aac"))]
    return id3([(b"TXXX", b"\0k%07d\0v" % i) for i in range(n)]) + rest


def comments_of(d, most=200000):
    n, length = d.size("comments", 200, most), d.size("length", 1, 60)
    names = keys_of(d, n, length + 8, d.pick("distinct", (True, False)))
    return [k + b"=v" for k in names]


@attack("A1_flac_comments", "flac")
def flac_comments(d):
    block = vorbis_comment(comments_of(d))[:(1 << 24) - 1]
    return flac_head(blocks=[(4, block)]) + b"".join(flac_frame(i, 48000) for i in range(100))


@attack("A1_flac_blocks", "flac")
def flac_blocks(d):
    """Pictures, cue sheets, seek tables, paddings, and comments again and again."""
    n = d.size("blocks", 10, 20000)
    kind = d.pick("block", (6, 4, 3, 5, 1, 2))
    picture = be32(3) + be32(9) + b"image/png" + be32(0) + be32(8) * 4 + be32(8) + b"\x89PNG\r\n\x1a\n"
    cue = bytes(128) + be64(0) + bytes(259) + b"\x63" + b"".join(
        be64(i) + bytes([i]) + bytes(12) + bytes(14) + b"\1" + be64(0) + b"\1" + bytes(3) for i in range(99))
    body = {6: picture, 4: vorbis_comment([b"a%d=b" % i for i in range(20)]), 3: bytes(18) * 10, 5: cue, 1: bytes(8),
            2: b"test" + bytes(8)}[kind]
    return flac_head(blocks=[(kind, body)] * n) + b"".join(flac_frame(i, 48000) for i in range(100))


OPUS_HEAD = b"OpusHead\1\1" + le16(312) + le32(48000) + le16(0) + b"\0"


@attack("A1_ogg_comments", "ogg")
def ogg_comments(d):
    """Comments, chapters, pictures in Opus, Vorbis-like or FLAC-in-Ogg headers."""
    what = d.pick("what", ("names", "chapters", "pictures"))
    if what == "names":
        comments = comments_of(d, 150000)
    elif what == "chapters":
        n = d.size("chapters", 10, 1000)
        comments = [c for i in reversed(range(n)) for c in (b"CHAPTER%03d=00:00:00.000" % i,
                                                            b"CHAPTER%03dNAME=x" % i)]
    else:
        picture = base64.b64encode(be32(3) + be32(9) + b"image/png" + be32(0) + bytes(16) + be32(8) + b"\x89PNG" * 2)
        comments = [b"METADATA_BLOCK_PICTURE=" + picture] * d.size("pictures", 10, 20000)
    return ogg_pages([OPUS_HEAD, b"OpusTags" + vorbis_comment(comments)] + [b"\xfc\xff\xfe"] * 50)


@attack("A1_ogg_links", "ogg")
def ogg_links(d):
    """Many streams one after the other, or side by side."""
    n, apart = d.size("links", 10, 5000), d.pick("apart", (True, False))
    head = [OPUS_HEAD, b"OpusTags" + vorbis_comment([])]
    if apart:
        return b"".join(ogg_pages(head + [b"\xfc\xff\xfe"] * 2, serial=i + 1) for i in range(n))
    begin = b"".join(ogg_pages(head[:1], serial=i + 1) for i in range(n))
    rest = b"".join(ogg_pages([head[1], b"\xfc\xff\xfe"], serial=i + 1, first_flags=0, sequence=1) for i in range(n))
    return begin + rest


# ---- Matroska ----

PCM_TRACK = mkv_track(1, b"A_PCM/INT/LIT", audio=(16000.0, 1), extra=b"")
PCM_BLOCKS = mkv_blocks([TONE[i:i + 1280] for i in range(0, len(TONE), 1280)])


@attack("A1_mkv_tags", "mkv")
def mkv_tags(d):
    n, length = d.size("tags", 200, 80000), d.size("length", 1, 200)
    names = keys_of(d, n, length + 8, d.pick("distinct", (True, False)))
    simple = [ebml(0x67C8, ebml(0x45A3, k), ebml(0x4487, b"v")) for k in names]
    if d.pick("apart", (True, False)):
        tags = [ebml(0x7373, ebml(0x63C0), s) for s in simple]
    else:
        tags = [ebml(0x7373, ebml(0x63C0), *simple)]
    return mkv([PCM_TRACK], PCM_BLOCKS, ebml(0x1254C367, *tags))


@attack("A1_mkv_chapters", "mkv")
def mkv_chapters(d):
    n = d.size("chapters", 200, 150000)
    order = d.pick("order", ("descending", "ascending", "equal"))
    times = {"descending": lambda i: n - i, "ascending": lambda i: i, "equal": lambda i: 1}[order]
    atoms = [ebml(0xB6, ebml_u(0x73C4, times(i) + 1), ebml_u(0x91, times(i) * 1000), ebml(0x80, ebml(0x85, b"c")))
             for i in range(n)]
    return mkv([PCM_TRACK], PCM_BLOCKS, ebml(0x1043A770, ebml(0x45B9, *atoms)))


@attack("A1_mkv_cues", "mkv")
def mkv_cues(d):
    n = d.size("cues", 200, 300000)
    order = d.pick("order", ("descending", "ascending", "equal"))
    times = {"descending": lambda i: n - i, "ascending": lambda i: i, "equal": lambda i: 1}[order]
    points = [ebml(0xBB, ebml_u(0xB3, times(i)), ebml(0xB7, ebml_u(0xF7, 1), ebml_u(0xF1, 100))) for i in range(n)]
    return mkv([PCM_TRACK], PCM_BLOCKS, ebml(0x1C53BB6B, *points))


@attack("A1_mkv_elements", "mkv")
def mkv_elements(d):
    """Small elements without end: attachments, seek heads, voids, encodings, laces."""
    n = d.size("elements", 200, 300000)
    what = d.pick("what", ("attachments", "seeks", "voids", "encodings", "laces", "groups"))
    head, body, track = b"", PCM_BLOCKS, PCM_TRACK
    if what == "attachments":
        head = ebml(0x1941A469, *[ebml(0x61A7, ebml(0x466E, b"f"), ebml(0x4660, b"image/png"), ebml(0x465C, b"x"),
                                       ebml_u(0x46AE, i + 1)) for i in range(min(n, 30000))])
    elif what == "seeks":
        head = ebml(0x114D9B74, *[ebml(0x4DBB, ebml(0x53AB, b"\x1c\x53\xbb\x6b"), ebml_u(0x53AC, 60 + i % 100))
                                  for i in range(n)])
    elif what == "voids":
        head = b"\xec\x80" * n
    elif what == "encodings":
        encoding = ebml(0x6240, ebml_u(0x5031, 0), ebml_u(0x5033, 0), ebml(0x5034, ebml_u(0x4254, 0)))
        track = mkv_track(1, b"A_PCM/INT/LIT", audio=(16000.0, 1), extra=ebml(0x6D80, encoding * min(n, 50000)))
    elif what == "laces":
        one = ebml(0xA3, b"\x81", be16(0), b"\x84\xff" + bytes(256))
        body = ebml(0x1F43B675, ebml_u(0xE7, 0), one * min(n, 20000))
    else:
        one = ebml(0xA0, ebml(0xA1, b"\x81", be16(0), b"\0x"), ebml(0x75A1, *[
            ebml(0xA6, ebml_u(0xEE, 1), ebml(0xA5, b"y")) for _ in range(20)]))
        body = ebml(0x1F43B675, ebml_u(0xE7, 0), one * min(n, 30000))
    return mkv([track], body, head)


@attack("A1_mkv_compressed", "mkv")
def mkv_compressed(d):
    """Blocks that the container inflates, a thousand times."""
    n, size = d.size("blocks", 10, 3000), d.size("bytes", 10000, 4000000)
    packed = zlib.compress(bytes(size), 9)
    encoding = ebml(0x6D80, ebml(0x6240, ebml_u(0x5031, 0), ebml_u(0x5032, 1), ebml_u(0x5033, 0),
                                 ebml(0x5034, ebml_u(0x4254, 0))))
    track = mkv_track(1, b"A_PCM/INT/LIT", audio=(16000.0, 1), extra=encoding)
    return mkv([track], mkv_blocks([packed] * n))


# ---- AVI, WAV, FLV, ASF, TS ----

def jpeg_less_avi(extra, head_extra=b""):
    return avi([bytes(64 * 64 * 3)] * 4, b"DIB ", 64, 64, extra, head_extra=head_extra)


@attack("A1_riff_info", "avi")
def riff_info(d):
    n = d.size("entries", 200, 150000)
    names = [bytes([65 + i % 26, 65 + i // 26 % 26, 65 + i // 676 % 26, 65 + i // 17576 % 26]) for i in range(n)]
    info = chunk(b"LIST", b"INFO", *[chunk(k, b"v\0") for k in names])
    if d.pick("container", ("avi", "wav")) == "wav":
        return wav(TONE, extra=info)
    return jpeg_less_avi(info)


@attack("A1_avi_index", "avi")
def avi_index(d):
    """An index of entries that are not there, or of indexes."""
    n = d.size("entries", 1000, 500000)
    if d.pick("super", (True, False)):
        indx = chunk(b"indx", le16(4) + b"\0\0" + le32(n) + b"00dc" + bytes(12),
                     *[le64(1000) + le32(100) + le32(1)] * n)
        return jpeg_less_avi(b"", indx)
    whole = jpeg_less_avi(b"")
    at = whole.rindex(b"idx1")
    entries = [b"00dc" + le32(16) + le32((n - i) % 1000) + le32(4) for i in range(n)]
    return whole[:at] + chunk(b"idx1", *entries)


@attack("A1_wav_chunks", "wav")
def wav_chunks(d):
    n = d.size("chunks", 100, 300000)
    kind = d.pick("chunk", (b"cue ", b"LIST", b"bext", b"id3 ", b"fact", b"SMV0", b"junk"))
    body = {b"LIST": b"adtl" + chunk(b"labl", be32(1) + b"x\0"), b"bext": bytes(602),
            b"id3 ": id3([(b"TXXX", b"\0k\0v")]), b"fact": be32(5)}.get(kind, bytes(8))
    return wav(TONE, extra=chunk(kind, body) * min(n, 30000000 // (8 + len(body))))


@attack("A1_flv_meta", "flv")
def flv_meta(d):
    n = d.size("names", 200, 150000)
    what = d.pick("what", ("names", "times", "nested", "tags"))
    number = b"\0" + struct.pack(">d", 1.0)
    if what == "names":
        body = b"\x08" + be32(n) + b"".join(amf_string(b"k%07d" % i) + number for i in range(n)) + b"\0\0\x09"
    elif what == "times":
        one = b"\x0a" + be32(n) + number * n
        body = (b"\x08" + be32(1) + amf_string(b"keyframes") + b"\x03" + amf_string(b"times") + one
                + amf_string(b"filepositions") + one + b"\0\0\x09\0\0\x09")
    elif what == "nested":
        body = b"\x08" + be32(1) + (amf_string(b"a") + b"\x03") * min(n, 20000) + b"\0\0\x09" * min(n, 20000)
    else:
        body = b"\x08" + be32(1) + amf_string(b"k") + number + b"\0\0\x09"
    tag = flv_tag(18, 0, b"\x02" + amf_string(b"onMetaData") + body[:(1 << 24) - 100])
    picture = flv_tag(9, 0, b"\x12" + bytes(20))
    return flv(*[tag] * (n if what == "tags" else 1), picture)


@attack("A1_asf_header", "asf")
def asf_header(d):
    """Attributes and markers of Windows Media."""
    n = d.size("entries", 100, 65000)
    file_object = asf_object(ASF_FILE, bytes(16), le64(0) * 6, le32(2), le32(3200) * 2, le32(10000))
    name = "k".encode("utf-16-le")
    if d.pick("markers", (False, True)):
        body = asf_object(ASF_MARKER, bytes(16), le32(n), le16(0), le16(0),
                          *[le64(0) + le64((n - i) * 10000) + le16(12) + le32(0) + le32(0) + le32(1) + name
                            for i in range(n)])
    else:
        body = asf_object(ASF_EXTENDED, le16(n), *[
            le16(12) + f"{i:06d}".encode("utf-16-le") + le16(0) + le16(2) + name for i in range(n)])
    head = asf_object(ASF_HEADER, le32(2), b"\1\2", file_object, body)
    return head + ASF_DATA + le64(50) + bytes(26)


@attack("A1_ts_tables", "ts")
def ts_tables(d):
    """Programmes without end, tables that change with each repetition."""
    n = d.size("tables", 10, 60000)
    what = d.pick("what", ("programmes", "versions", "streams", "services"))
    out = []
    if what == "programmes":
        for s in range(n // 200 + 1):
            body = b"".join(be16(1 + s * 200 + i) + be16(0xE100 + (s + i) % 4000) for i in range(200))
            out.append(ts_section(0, 0, 1, body, s % 32, number=s % 256, last=255))
    elif what == "versions":
        pat = ts_section(0, 0, 1, be16(1) + be16(0xE100))
        for i in range(n):
            body = be16(0xE101) + be16(0xF000) + bytes([(2, 15, 27, 36)[i % 4]]) + be16(0xE101) + be16(0xF000)
            out.append((pat if i % 50 == 0 else b"") + ts_section(0x100, 2, 1, body, i % 32, i))
    elif what == "streams":
        out.append(ts_section(0, 0, 1, be16(1) + be16(0xE020)))
        for s in range(n // 180 + 1):
            body = be16(0xE101) + be16(0xF000) + b"".join(
                b"\x1b" + be16(0xE000 | (0x101 + s * 180 + i) % 0x1FFE) + be16(0xF000) for i in range(180))
            out.append(ts_section(0x20, 2, 1, body, s % 32, s))
    else:
        for s in range(n // 40 + 1):
            body = be16(1) + b"\xff" + b"".join(be16(s * 40 + i) + b"\xfc" + be16(0x8000 | 10) + b"\x48\x08\x01\x02pp\x03nnn"
                                                for i in range(40))
            out.append(ts_section(0x11, 0x42, 1, body, s % 32, s))
    return b"".join(out) + ts_pes(0x101, bytes(150)) * 20


@attack("A1_bits_flood", "ts")
def bits_flood(d):
    """Start codes and sync words without anything behind them."""
    n = d.size("bytes", 10000, 8000000)
    unit = d.pick("unit", (b"\0\0\1\x09", b"\0\0\1\xe0\0\0", b"\0\0\1\xb3", b"\xff\xf1\x50\x80\x01\x1f\xfc", b"\xff\xfb\x10\xc0",
                           b"\x47\x1f\xff\x10", b"\0\0\1\xba" + bytes(10), b"\0\0\1\x67", b"OggS", b"fLaC\0\0\0\x22",
                           b"\x0b\x77", b"\x3c\x5c\x60\x06", b"#!AMR\n<"))
    return unit * (n // len(unit))


@attack("A9_time_then_memory", "mp4")
def time_then_memory(d):
    """Seconds of header, and then more memory than a worker has: whoever tries twice pays twice."""
    n, samples = d.size("keys", 100, 14000), d.size("samples", 100, 5000)
    names = keys_of(d, n, 250, True)
    keys = full(b"keys", be32(n), *[be32(8 + len(k)) + b"mdta" + k for k in names])
    value = be32(17) + b"data" + be32(1) + be32(0) + b"v"
    ilst = box(b"ilst", *[be32(8 + len(value)) + be32(i + 1) + value for i in range(n)])
    meta = box(b"meta", full(b"hdlr", be32(0), b"mdta", bytes(13)), keys, ilst)
    entry = visual_entry(b"mp4v", 64, 64, box(b"glbl", bytes(1000000)))
    stsc = [be32(i + 1) + be32(1) + be32(1 + (i & 1)) for i in range(samples)]
    tables = (full(b"stsd", be32(2), entry, entry) + full(b"stts", be32(1), be32(samples), be32(1000))
              + full(b"stsc", be32(samples), *stsc) + full(b"stsz", be32(4), be32(samples))
              + full(b"stco", be32(samples), be32(len(FTYP) + 8) * samples))
    return mp4_with(meta, draw=d, tracks=[Track(b"", (4, samples), (0, samples), tables=tables)])
