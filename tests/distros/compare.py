#!/usr/bin/env python3
"""Whether two builds make the same features of the same clips: `metammf extract FOLDER` of each.

usage: compare.py OWN_FOLDER OWN_NDJSON OTHER_FOLDER OTHER_NDJSON

A clip passes when both give it the same outcome, the same modalities and flags, the same encoders and
vectors of a cosine of at least 0.999. The last line is "N passed, N failed".
"""
import json
import math
import sys

LEAST = 0.999


def read(folder, path):
    """{path below the folder: line}"""
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["path"][len(folder.rstrip("/")) + 1:]: row for row in rows}


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / (math.hypot(*a) * math.hypot(*b))


def differences(own, other, least):
    """What is not the same, in words; least, {modality: lowest cosine}, is kept up."""
    if own is None or other is None:
        return ["it is missing"]
    if own.get("reason") or other.get("reason"):
        reasons = own.get("reason"), other.get("reason")
        return [] if reasons[0] == reasons[1] else ["reason: %s, %s" % reasons]
    keys = {**own["flags"], **other["flags"]} # what one alone says differs as well
    said = [f"{key}: {own['flags'].get(key)}, {other['flags'].get(key)}" for key in keys
            if own["flags"].get(key) != other["flags"].get(key)]
    for modality in own["modalities"].keys() | other["modalities"].keys():
        a, b = own["modalities"].get(modality), other["modalities"].get(modality)
        if not a or not b:
            said.append(f"{modality}: only in one")
            continue
        if a["encoder_id"] != b["encoder_id"] or a["dim"] != b["dim"]:
            said.append(f"{modality}: {a['encoder_id']}, {b['encoder_id']}")
            continue
        same = cosine(a["vec"], b["vec"])
        least[modality] = min(least.get(modality, 1.0), same)
        if same < LEAST:
            said.append(f"{modality}: cosine {same:.6f}")
    return said


def main():
    own, other = read(*sys.argv[1:3]), read(*sys.argv[3:5])
    least, n_failed, n_identical = {}, 0, 0
    for name in sorted(own.keys() | other.keys()):
        said = differences(own.get(name), other.get(name), least)
        n_failed += bool(said)
        n_identical += not said and {**own[name], "path": ""} == {**other[name], "path": ""}
        if said:
            print(f"FAILED  {name}: {'; '.join(said)}")
    n = len(own.keys() | other.keys())
    print(f"{sys.argv[1]}: {n} files, {n_identical} byte for byte; 1 - least cosine: " +
          ", ".join(f"{m} {max(0.0, 1 - c):.1e}" for m, c in sorted(least.items())))
    print(f"{n - n_failed} passed, {n_failed} failed")
    return n_failed > 0 or n == 0


if __name__ == "__main__":
    sys.exit(main())
