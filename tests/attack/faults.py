#!/usr/bin/env python3
"""The shared inputs that once failed ($MMF_SHARED_DATA/faults, by default ../shared/data/faults): a line for each
of what `metammf extract --title` makes of it, and whether that is what it should be.

    faults.py BIN [--markdown] [NAME…]

visual, acoustic: the cosine with the vectors of ref.mp4, from which many of them were made. own: that of the picture
with the file as the ffmpeg tool converts it, where there is one. CPU: of all tries together. Exit 1 when something is
not as it should be, 77 where the files are absent.
"""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SHARED = pathlib.Path(os.environ.get("MMF_SHARED_DATA") or
                      pathlib.Path(__file__).resolve().parents[3] / "shared" / "data") / "faults"
MEDIA = {".mp4", ".flac", ".webm", ".gif", ".wav", ".mts", ".flv", ".avi", ".mov", ".mkv", ".ts"}
FLAGS = "partial", "degraded", "capped", "retimed"
MOTION = slice(738, 754)  # of the visual vector: metammf extract --explain
CPU_MAX_S = 11


class Outcome:
    """What the command made of one file."""

    def __init__(self, tools, config, path):
        self.name = path.name
        self.own = None
        out = tempfile.TemporaryFile()
        err = tempfile.TemporaryFile()
        process = subprocess.Popen([tools / "metammf", "--config", config, "extract", path, "--title", "a cat",
                                    "--json"], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.code = process.returncode
        self.cpu_s = usage.ru_utime + usage.ru_stime
        out.seek(0)
        err.seek(0)
        text = out.read().decode()
        self.error = err.read().decode().strip()
        item = json.loads(text) if text.strip() else {}
        self.flags = item.get("flags", {})
        self.vectors = {k: v["vec"] for k, v in item.get("modalities", {}).items() if v and v.get("vec")}

    def is_row(self):
        return self.code == 0

    def why(self):
        """The reason of a dead letter, which ends the message in brackets; or that of a row."""
        if not self.is_row():
            return self.error.rsplit("(", 1)[-1].rstrip(").")
        return self.flags.get("reason") or ""

    def said(self):
        """The flags that are set, and the notes."""
        flags = [f for f in FLAGS if self.flags.get(f)]
        if "visual" in self.vectors and self.flags.get("coverage", 1) < 1:
            flags.append(f"coverage {self.flags['coverage']:.2f}")
        return flags, list(self.flags.get("notes", []))

    def is_flagged(self):
        return bool(self.said()[0])


def cosine(a, b):
    norm = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b)) / norm if norm else 0.0


def cosine_of(o, ref, modality):
    if modality not in o.vectors or modality not in ref.vectors:
        return None
    return cosine(o.vectors[modality], ref.vectors[modality])


# What is asked of each: (words, function of (outcome, ref)).

def own_or_flagged(o, ref):
    """As the reference, or as the file's own conversion: keys are elsewhere there, so other frames are looked at."""
    cosines = [c for c in (cosine_of(o, other, "visual") for other in (ref, o.own) if other) if c is not None]
    return bool(cosines) and (max(cosines) >= .95 or o.is_flagged())


def no_errors(o, _ref):
    return o.flags.get("n_decode_errors") == 0


def every_target(o, _ref):
    return o.flags.get("n_planned") == 8 and o.flags.get("coverage") == 1


def near(o, ref):
    c = cosine_of(o, ref, "visual")
    return c is not None and c >= .95


def all_eight(o, _ref):
    return o.flags.get("n_frames") == 8


def has_sound(o, ref):
    c = cosine_of(o, ref, "acoustic")
    return c is not None and c >= .95


EXPECTED = {
    "D1": [("cosine .95 or a flag", own_or_flagged)],
    "D2": [("a picture: cosine .95 or a flag", own_or_flagged)],
    "D3": [("8 targets with a frame", every_target), ("cosine .95 or a flag", own_or_flagged),
           ("8 s", lambda o, _: 7000 <= o.flags.get("duration_ms", 0) <= 9000)],
    "D4_two": [("8 frames", all_eight), ("both parts, without errors", no_errors),
               ("cosine .95 or a flag", own_or_flagged)],
    "D4_flv": [("both parts: 7 frames or more", lambda o, _: o.flags.get("n_frames", 0) >= 7),
               ("without errors", no_errors), ("cosine .95 or a flag", own_or_flagged)],
    "D5": [("a picture, and a flag", lambda o, _: "visual" in o.vectors and o.is_flagged())],
    "D6": [("the film: cosine .95", near)],
    "D7": [("no breaker of the protocol", lambda o, _: o.why() != "worker_reply")],
    "D8": [("sound: cosine .95", has_sound)],
    "D9": [("sound: cosine .95", has_sound)],
    "D10": [("a picture: cosine .95 or a flag", own_or_flagged)],
    "D11": [("picture and sound", lambda o, _: {"visual", "acoustic"} <= set(o.vectors))],
    "D12": [("silence: no sound", lambda o, _: "acoustic" not in o.vectors)],
    "D13": [("sound that decodes, or a flag", lambda o, _: o.flags.get("audio_ms", 0) > 0 or o.is_flagged())],
    "D14": [("cosine .95 or a flag", own_or_flagged),
            ("motion", lambda o, _: any(o.vectors.get("visual", [0.0] * 772)[MOTION]))],
    "D15": [("not retimed", lambda o, _: not o.flags.get("retimed", True)),
            ("cosine .95 or a flag", own_or_flagged),
            ("58 s", lambda o, _: 56000 <= o.flags.get("duration_ms", 0) <= 60000)],
}


def complaints(o, ref):
    bad = []
    if not o.is_row():
        bad.append("a row with its title")
    if o.cpu_s > CPU_MAX_S:
        bad.append(f"at most {CPU_MAX_S} s of CPU")
    for prefix, checks in EXPECTED.items():
        if o.name.startswith(prefix + "_"):
            bad += [words for words, holds in checks if not holds(o, ref)]
    return bad


def convert(path, folder):
    """The film by the ffmpeg tool; None where it cannot, or where it would take long."""
    out = folder / "own.mkv"
    if shutil.which("ffmpeg") is None or path.name.startswith("A"):
        return None
    r = subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", path, "-map", "0:v", "-c:v", "libx264", "-pix_fmt",
                        "yuv420p", "-crf", "12", "-g", "12", "-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2", "-vsync",
                        "passthrough", out], stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    return out if r.returncode == 0 else None


def line(o, ref, bad):
    cosines = [cosine_of(o, ref, m) for m in ("visual", "acoustic")]
    cosines.append(o.own and cosine_of(o, o.own, "visual"))
    flags, notes = o.said()
    frames = f"{o.flags['n_frames']} of {o.flags['n_planned']}" if o.flags else "–"
    outcome = ("row " if o.is_row() else "dead letter ") + (f"`{o.why()}`" if o.why() else "")
    return (o.name, outcome.strip(), frames, *("–" if c is None else f"{c:.3f}" for c in cosines),
            ", ".join(flags + notes) or "–", f"{o.cpu_s:.2f}", "; ".join(bad) or "as it should")


def main():
    arguments = sys.argv[1:]
    markdown = "--markdown" in arguments
    arguments = [a for a in arguments if a != "--markdown"]
    tools = pathlib.Path(arguments[0]).resolve()
    if not (SHARED / "ref.mp4").exists():
        print(f"skipped: no shared media at {SHARED}")
        return 77
    with tempfile.TemporaryDirectory(prefix="mmf-faults-") as where:
        config = pathlib.Path(where) / "conf"
        config.write_text(f'source = "spool"; store = {{ path = "{where}/s.db"; }}; media = {{ roots = ["{where}"]; }}; '
                          f'spool = {{ directory = "{where}"; }}; extract = {{ deadline_ms = 600000; }};\n')
        ref = Outcome(tools, config, SHARED / "ref.mp4")
        paths = sorted(p for p in SHARED.iterdir() if p.suffix in MEDIA and p.name != "ref.mp4")
        paths = [p for p in paths if not arguments[1:] or any(p.name.startswith(a) for a in arguments[1:])]
        print_head(markdown)
        n_bad = 0
        for path in paths:
            o = Outcome(tools, config, path)
            own = convert(path, pathlib.Path(where))
            o.own = own and Outcome(tools, config, own)
            bad = complaints(o, ref)
            n_bad += bool(bad)
            cells = line(o, ref, bad)
            print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells), flush=True)
    print(f"{len(paths)} files, {n_bad} not as they should be")
    return 1 if n_bad else 0


def print_head(markdown):
    if markdown:
        head = "file", "outcome", "frames", "visual", "acoustic", "own", "flags and notes", "CPU s", "what is missing"
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))


if __name__ == "__main__":
    sys.exit(main())
