"""What needs a real encoder, made once by the ffmpeg tool, and taken apart into packets. Where the tool or an
encoder is absent the kinds that need it are left out, and it is said."""

import os
import pathlib
import shutil
import struct
import subprocess
import zlib

ENCODERS = {"vp9": ("libvpx-vp9",), "vp8": ("libvpx",), "av1": ("libaom-av1",), "mpeg4": ("mpeg4",), "h264": ("libx264",),
            "hevc": ("libx265",), "sound": ("ac3", "eac3", "dca", "mp2", "truehd"), "gif": ("gif",),
            "webp": ("libwebp_anim",), "vorbis": ("libvorbis",), "theora": ("libtheora",)}

# Whole clips to be mutated: name, and how the second of picture and sound is coded.
CLIPS = (("h264.mp4", "libx264", "aac", ()), ("fragments.mp4", "libx264", "aac", (
             "-movflags", "frag_keyframe+empty_moov", "-g", "5")),
         ("h264.ts", "libx264", "mp2", ("-g", "12")), ("hevc.mp4", "libx265", "ac3", ("-x265-params", "log-level=0")),
         ("vp9.webm", "libvpx-vp9", "libopus", ("-g", "12", "-cpu-used", "8")),
         ("vp8.mkv", "libvpx", "libvorbis", ("-g", "12", "-cpu-used", "8")),
         ("av1.mp4", "libaom-av1", "libopus", ("-cpu-used", "8", "-g", "12")), ("mpeg4.avi", "mpeg4", "libmp3lame", ()),
         ("mpeg2.mpg", "mpeg2video", "mp2", ()), ("mjpeg.mov", "mjpeg", "pcm_s16be", ()),
         ("flv1.flv", "flv", "libmp3lame", ("-ar", "44100")), ("wmv2.asf", "wmv2", "wmav2", ()),
         ("theora.ogg", "libtheora", "libvorbis", ()), ("prores.mov", "prores", "alac", ()),
         ("anim.gif", "gif", None, ()), ("anim.webp", "libwebp_anim", None, ()), ("anim.apng", "apng", None, ()),
         ("sound.flac", None, "flac", ()), ("sound.mp3", None, "libmp3lame", ()), ("sound.aac", None, "aac", ()),
         ("sound.wav", None, "adpcm_ima_wav", ()), ("sound.m4a", None, "aac", ()))


class Bases:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.encoders = self._encoders() if shutil.which("ffmpeg") else ""

    @staticmethod
    def _encoders():
        r = subprocess.run(["ffmpeg", "-v", "error", "-encoders"], capture_output=True, text=True)
        return {words[1] for words in map(str.split, r.stdout.splitlines()) if len(words) > 1}

    def has(self, need):
        return all(e in self.encoders for e in ENCODERS[need])

    def make(self, name, *arguments):
        """The path of a file that the tool makes, unless it is there from the same command."""
        arguments = list(map(str, arguments))
        path = self.folder / f"{zlib.crc32(' '.join(arguments).encode()):08x}-{name}"
        if not path.exists():
            part = path.with_name(f"part-{os.getpid()}-{path.name}")
            subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, part], check=True,
                           stdin=subprocess.DEVNULL)
            part.rename(path)
        return path

    def sound(self, codec, extension, rate, channels):
        """A tenth of a second."""
        return self.make(f"{codec}-{rate}-{channels}.{extension}", "-f", "lavfi", "-i",
                         f"sine=frequency=440:sample_rate={rate}:duration=0.1", "-ac", channels, "-c:a", codec,
                         "-strict", "-2").read_bytes()

    def ivf(self, name, encoder, side, frames, *more, pattern="testsrc2="):
        """Packets of a square film."""
        path = self.make(f"{name}-{side}-{frames}.ivf", "-f", "lavfi", "-i", f"{pattern}s={side}x{side}:r=25",
                         "-frames:v", frames, "-pix_fmt", "yuv420p", "-c:v", encoder, "-threads", 2, *more)
        data = path.read_bytes()
        at, packets = 32, []
        while at + 12 <= len(data):
            (size,) = struct.unpack_from("<I", data, at)
            packets.append(data[at + 12:at + 12 + size])
            at += 12 + size
        return packets

    def annexb(self, name, encoder, side, frames, *more):
        """NAL units, without their start codes."""
        path = self.make(f"{name}-{side}-{frames}.{'hevc' if '265' in encoder else 'h264'}", "-f", "lavfi", "-i",
                         f"testsrc2=s={side}x{side}:r=25", "-frames:v", frames, "-pix_fmt", "yuv420p", "-c:v", encoder,
                         *more)
        parts = path.read_bytes().split(b"\0\0\1")[1:]
        return [p[:-1] if p.endswith(b"\0") and i + 1 < len(parts) else p for i, p in enumerate(parts)]

    def clips(self):
        """The whole clips that this machine can make."""
        paths = []
        for name, video, audio, more in CLIPS:
            if any(c and c not in self.encoders for c in (video, audio)):
                continue
            inputs = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=15"] if video else []
            inputs += ["-f", "lavfi", "-i", "anoisesrc=r=16000:a=0.3"] if audio else []
            codecs = (["-c:v", video] if video else []) + (["-c:a", audio] if audio else [])
            paths.append(self.make(name, *inputs, "-t", "1.6", *codecs, *more))
        return paths
