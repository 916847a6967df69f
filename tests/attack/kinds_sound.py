"""A2 and its brothers: sound whose parameters change with each frame, or whose time is dear."""

import struct

from formats import (FTYP, Track, aac_frame, adts, audio_entry, be16, be32, box, esds, flac_frame, flac_head, full,
                     le16, le32, mkv, mkv_blocks, mkv_track, moov, mp3_frame, mp4_of, ogg_pages, ts_pes, ts_section,
                     vorbis_comment, wav)
from kinds import attack

RATES = (383990, 383970, 383950, 383930, 383910)  # no two have a small ratio to 16 kHz


@attack("A2_flac_rates", "flac")
def flac_rates(d):
    """Every frame at another rate: the resampler's filters are built anew for each."""
    n, block = d.size("frames", 10, 8000), d.size("block", 16, 400)
    rates = RATES[:d.pick("rates", (2, 3, 5))]
    frames = [flac_frame(i % 60000, rates[i % len(rates)], block, value=5000 * (i % 3)) for i in range(n)]
    container = d.pick("container", ("flac", "mp4", "mkv", "ogg"))
    head = flac_head(rates[0], block=block)
    if container == "flac":
        return head + b"".join(frames)
    if container == "mkv":
        return mkv([mkv_track(1, b"A_FLAC", audio=(48000.0, 1), private=head)], mkv_blocks(frames, 1))
    if container == "ogg":
        return ogg_pages([b"\x7fFLAC\1\0" + be16(1) + head, b"\x84\0\0\x0c" + vorbis_comment([])] + frames, step=192)
    entry = audio_entry(b"fLaC", 1, 48000, full(b"dfLa", b"\x80" + head[5:]))
    return mp4_of(frames, entry, b"soun", delta=192, timescale=48000)


@attack("A2_flac_channels", "flac")
def flac_channels(d):
    n = d.size("frames", 10, 8000)
    most = d.pick("channels", (8, 2, 6))
    return flac_head(383990, channels=most) + b"".join(
        flac_frame(i % 60000, RATES[0] - 20 * (i % 2), 192, 1 + i % most, 4000) for i in range(n))


@attack("A2_flac_long", "flac")
def flac_long(d):
    """A minute and more of eight channels at 384 kHz, in a few bytes a frame."""
    n, channels = d.size("frames", 10, 2000), d.pick("channels", (8, 1, 2))
    frames = (flac_frame(i % 60000, 383990, 65536 - 1, channels, 3000) for i in range(n))
    return flac_head(383990, channels, block=65535) + b"".join(frames)


@attack("A2_adts_flips", "aac")
def adts_flips(d):
    """AAC of another rate or number of channels each frame."""
    n = d.size("frames", 10, 7000)
    rates = d.pick("rates", ((0, 1), (3, 4), tuple(range(13)), (12, 1, 0)))
    channels = d.pick("channels", ((1, 7), (1,), (1, 2, 3, 4, 5, 6, 7), (2,)))
    frames = [adts(rates[i % len(rates)], channels[i % len(channels)], aac_frame(channels[i % len(channels)]))
              for i in range(n)]
    if d.pick("container", ("adts", "ts")) == "adts":
        return b"".join(frames)
    head = ts_section(0, 0, 1, be16(1) + be16(0xE100)) + ts_section(
        0x100, 2, 1, be16(0xE101) + be16(0xF000) + b"\x0f" + be16(0xE101) + be16(0xF000))
    return head + b"".join(ts_pes(0x101, b"".join(frames[i:i + 20]), 0xC0, i * 1920, i) for i in range(0, n, 20))


@attack("A2_mp3_flips", "mp3")
def mp3_flips(d):
    n = d.size("frames", 10, 9000)
    kinds = [(3, 0), (3, 1), (3, 2), (2, 0), (2, 1), (2, 2), (0, 0), (0, 1), (0, 2)][:d.pick("rates", (2, 9, 3, 6))]
    frames = [mp3_frame(*kinds[i % len(kinds)], mono=i // len(kinds) % 2 == 0) for i in range(n)]
    if d.pick("container", ("mp3", "mkv")) == "mp3":
        return b"".join(frames)
    return mkv([mkv_track(1, b"A_MPEG/L3", audio=(48000.0, 1))], mkv_blocks(frames, 20))


def opus_packet(streams, size, byte):
    """One 20 ms CELT frame a stream; all but the last say how long they are."""
    frame = bytes([byte]) * size
    return b"".join(b"\xfc" + bytes([size]) + frame for _ in range(streams - 1)) + b"\xfc" + frame


@attack("A2_opus_channels", "mkv")
def opus_channels(d):
    """Many channels of Opus, of two bytes each: every one is decoded before their number is judged."""
    streams = d.size("streams", 2, 255)
    n, size, byte = d.size("packets", 10, 4000), d.pick("size", (8, 2, 40)), d.pick("byte", (0x35, 0xFF, 0xA1))
    head = b"OpusHead\1" + bytes([streams]) + le16(0) + le32(48000) + le16(0) + b"\xff" + bytes([streams, 0]) + bytes(
        range(streams))
    packets = [opus_packet(streams, size, (byte + i) % 256) for i in range(4)]
    track = mkv_track(1, b"A_OPUS", audio=(48000.0, streams), private=head)
    return mkv([track], mkv_blocks([packets[i % 4] for i in range(n)], 20))


@attack("A2_opus_long", "mkv")
def opus_long(d):
    """Frames of 2.5 ms, 48 to a packet."""
    n = d.size("packets", 10, 3000)
    packet = b"\xe3" + bytes([48]) + b"\x5a\x31" * 48
    head = b"OpusHead\1\1" + le16(0) + le32(48000) + le16(0) + b"\0"
    return mkv([mkv_track(1, b"A_OPUS", audio=(48000.0, 1), private=head)], mkv_blocks([packet] * n, 120))


@attack("A2_pcm_shapes", "wav")
def pcm_shapes(d):
    """Rates and channels of PCM nobody has."""
    channels = d.pick("channels", (64, 1, 9, 16, 24, 65535, 0, 255))
    rate = d.pick("rate", (384000, 1, 999, 1000, 8000, 44100, 2000000000, 383990))
    bits, tag = d.pick("bits", ((16, 1), (8, 1), (24, 1), (32, 3), (64, 3), (32, 1), (8, 6), (8, 7), (4, 2), (4, 17)))
    n = d.size("bytes", 1000, 60000000)
    return wav((b"\x12\x34\x56\x38" * (n // 4 + 1))[:n], channels, rate, bits, tag)


@attack("A2_pcm_parts", "mp4")
def pcm_parts(d):
    """PCM in samples of a few bytes, or all samples the same megabytes."""
    n, size = d.size("samples", 10, 40000), d.size("size", 2, 4000000)
    if n * size > 1 << 28:
        n = (1 << 28) // size
    channels = d.pick("channels", (64, 2, 1, 16))
    entry = audio_entry(b"sowt", channels, d.pick("rate", (65535, 8000, 1, 48000)))
    data = b"\x12\x34\x56\x38" * (size // 4 + 1)
    track = Track(entry, [size] * n, [len(FTYP) + 8] * n, b"soun", max(1, size // (2 * channels)), 65535)
    return FTYP + box(b"mdat", data) + moov([track])


@attack("A2_aac_config", "mp4")
def aac_config(d):
    """AAC whose extradata change with every sample: the decoder is set up anew."""
    samples = d.size("samples", 10, 6000)
    raw = aac_frame(1)
    entries = [audio_entry(b"mp4a", 1, 48000, esds(0x40, be16(2 << 11 | rate << 7 | 1 << 3))) for rate in (0, 1)]
    stsc = [be32(i + 1) + be32(1) + be32(1 + (i & 1)) for i in range(samples)]
    tables = (full(b"stsd", be32(2), *entries) + full(b"stts", be32(1), be32(samples), be32(1024))
              + full(b"stsc", be32(samples), *stsc) + full(b"stsz", be32(len(raw)), be32(samples))
              + full(b"stco", be32(samples), be32(len(FTYP) + 8) * samples))
    return FTYP + box(b"mdat", raw) + moov([Track(b"", (1, samples), (0, 0), b"soun", tables=tables,
                                                  timescale=48000)])


@attack("A2_amr_parts", "3gp")
def amr_parts(d):
    """Many frames in each sample, and samples that share their bytes."""
    n, per = d.size("samples", 10, 3000), d.size("frames", 1, 3000)
    entry = audio_entry(b"samr", 1, 8000, box(b"damr", b"test\0" + be16(0x81FF) + bytes([0, min(per, 255)])))
    frame = bytes([0x3C]) + struct.pack(">31B", *range(7, 224, 7))
    return mp4_of([frame * per], entry, b"soun", repeat=n, delta=160 * min(per, 300), timescale=8000)


@attack("A2_encoded_flips", "mkv", ("sound",))
def encoded_flips(d):
    """Whole files of a codec, at other rates and channels, one after the other in parts."""
    codec, extension = d.pick("codec", (("ac3", "ac3"), ("eac3", "eac3"), ("dca", "dts"), ("mp2", "mp2"),
                                        ("truehd", "thd")))
    rates = {"dca": (48000, 44100, 32000), "truehd": (48000, 96000)}.get(codec, (48000, 44100, 32000))
    parts = [d.bases.sound(codec, extension, rate, channels) for rate in rates
             for channels in ((2, 6) if codec == "truehd" else (1, 2))]
    n = d.size("parts", 2, 3000)
    data = b"".join(parts[i % len(parts)] for i in range(n))[:40000000]
    stream, pes = {"ac3": (0x81, 0xBD), "eac3": (0x87, 0xBD), "dca": (0x82, 0xBD), "truehd": (0x83, 0xBD)}.get(
        codec, (3, 0xC0))
    head = ts_section(0, 0, 1, be16(1) + be16(0xE100)) + ts_section(
        0x100, 2, 1, be16(0xE101) + be16(0xF000) + bytes([stream]) + be16(0xE101) + be16(0xF000))
    return head + b"".join(ts_pes(0x101, data[at:at + 8000], pes, at // 100, at // 8000)
                           for at in range(0, min(len(data), 8000000), 8000))
