"""CHANGELOG.md as a Debian changelog: one entry a version, on standard output.

usage: changelog.py CHANGELOG.md VERSION MAINTAINER SECONDS
VERSION is that of the package. When it is no heading of the file, it is a build of what stands under
[Unreleased]. SECONDS since the epoch are its date; a release has the date of its heading.
"""
import calendar
import email.utils
import pathlib
import re
import sys
import textwrap
import time

HEADING = re.compile(r"^## \[(Unreleased|\d[^]]*)\](?: - (\d{4}-\d\d-\d\d))?$")


def sections(text):
    """(version, date, its lines) of each heading, as the file has them."""
    found = []
    for line in text.splitlines():
        if match := HEADING.match(line):
            found.append((match[1], match[2], []))
        elif found:
            found[-1][2].append(line)
    return found


def items(lines):
    """Each list item as one text, under the heading that it has."""
    out, group = [], ""
    for line in lines:
        if line.startswith("### "):
            group = line[4:]
        elif line.startswith("- "):
            out.append(f"{group}: {line[2:]}" if group else line[2:])
        elif line.startswith("  ") and out:
            out[-1] += " " + line.strip()
    return out or ["A release without remarks."]


def entry(version, lines, maintainer, seconds):
    # Back-quotes and links are Markdown's; in a changelog they are in the way.
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", t).replace("`", "") for t in items(lines)]
    body = "\n".join(textwrap.fill(t, 78, initial_indent="  * ", subsequent_indent="    ",
                                   break_long_words=False, break_on_hyphens=False) for t in texts)
    return (f"metammfd ({version}) unstable; urgency=medium\n\n{body}\n\n"
            f" -- {maintainer}  {email.utils.formatdate(seconds)}\n")


def main():
    path, version, maintainer, seconds = sys.argv[1:]
    found = sections(pathlib.Path(path).read_text(encoding="utf-8"))
    entries = []
    if version not in [name for name, _, _ in found]:
        entries.append(entry(version, found[0][2], maintainer, int(seconds)))
    for name, date, lines in found[1:]:
        at = calendar.timegm(time.strptime(date, "%Y-%m-%d"))
        entries.append(entry(name, lines, maintainer, at))
    print("\n".join(entries), end="")


if __name__ == "__main__":
    main()
