"""Events as sites write them, from a seed, each with what it must become.

Every event begins as what it means (an item's fields, an interaction, a deletion) and is then written in
one of the forms that a preset allows: so what must be stored is known without reading the event.
Python's standard library only; nothing here asks the program.
"""


import datetime
import json
import zlib

from kafka_workload import INTERACTIONS, VIDEOS, b64

PARTITIONS = 4
NEW_YEAR_US = 1767225600 * 1000000  # 2026-01-01T00:00:00Z
BOM = b"\xef\xbb\xbf"
UNAVAILABLE = "__debezium_unavailable_value"
FIELDS = ("title", "description", "tags", "lang", "sha256", "published_at")
CUT = {"title_cut": "title", "description_cut": "description", "tags_cut": "tags"}

TYPES = {"published": "video.published", "updated": "video.updated",
         "deleted": "video.deleted", "interaction": "interaction"}

OWN_TYPES = {"outbox": {"published": "VideoUploaded", "updated": "VideoEdited",
                        "deleted": "VideoRemoved", "interaction": "Watched"},
             "own": {"published": "site.upload", "updated": "edit", "deleted": "site.drop",
                     "interaction": "see"}}

SETTINGS = {
    "none": "",
    "debezium": """events = { preset = "debezium";
    video = { item_id = "/id"; description = "/descr"; published_at = ["/at", "/created_at"]; };
    interaction = { item_id = "/video_id"; kind = "/action"; ts = "/at"; }; };
""",
    "outbox": """events = { preset = "outbox";
    types = { VideoUploaded = "video.published"; VideoEdited = "video.updated";
              VideoRemoved = "video.deleted"; Watched = "interaction"; }; };
""",
    "own": """events = {
    video = { item_id = ["/payload/after/id", "/item_id"];
              title = ["/payload/after/na~0me", "/title"];
              description = ["/payload/after/texts/1", "/description"];
              tags = ["/payload/after/a~1b/tags", "/tags"];
              lang = ["/payload/after/lang", "/lang"];
              published_at = ["/payload/after/times/created", "/published_at"]; };
    interaction = { item_id = ["/clip", "/item_id"]; user_id = ["/viewer/id", "/user_id"];
                    kind = ["/what", "/kind"]; weight = "/how/much"; ts = ["/when", "/ts"]; };
    type = ["/meta/event", "/type"];
    types = ( { type = "site.upload"; meaning = "video.published"; },
              { type = "edit"; meaning = "video.updated"; },
              { type = "site.drop"; meaning = "video.deleted"; },
              { type = "see"; meaning = "interaction"; } );
    deleted = "/payload/after/gone"; };
""",
}

DEBEZIUM_NAMES = {
    VIDEOS: {"item_id": "id", "description": "descr", "published_at": "at"},
    INTERACTIONS: {"item_id": "video_id", "kind": "action", "ts": "at"},
}
OWN_PLACES = {
    VIDEOS: {"item_id": ("payload", "after", "id"), "title": ("payload", "after", "na~me"),
             "description": ("payload", "after", "texts", 1),
             "tags": ("payload", "after", "a/b", "tags"), "lang": ("payload", "after", "lang"),
             "published_at": ("payload", "after", "times", "created")},
    INTERACTIONS: {"item_id": ("clip",), "user_id": ("viewer", "id"), "kind": ("what",),
                   "weight": ("how", "much"), "ts": ("when",)},
}


# ---- JSON that json.dumps would not write ------------------------------------------------------

class Raw(bytes):
    """Bytes that stand in the JSON as they are."""


def dump(value, rng=None):
    """value as JSON text; rng shuffles members, spaces and escapes."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        members = list(value.items())
        if rng:
            rng.shuffle(members)
        colon = b" : " if rng and rng.random() < 0.1 else b": "
        return b"{" + b", ".join(json.dumps(k).encode() + colon + dump(v, rng)
                                 for k, v in members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(dump(v, rng) for v in value) + b"]"
    ascii_only = not rng or rng.random() < 0.5
    return json.dumps(value, ensure_ascii=ascii_only).encode()


def as_text(inner):
    """JSON bytes as one JSON string."""
    return Raw(b'"' + inner.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"')


class Token:
    """A field as written, as stored, and which warnings that gives."""

    def __init__(self, written, stored, *warnings):
        self.written, self.stored, self.warnings = written, stored, set(warnings)


# ---- what an event is, and what it becomes -----------------------------------------------------

class Event:
    def __init__(self, topic, partition, form, value, key=None, headers=(), breakage=None):
        self.topic, self.partition, self.form = topic, partition, form
        self.value, self.key, self.headers = value, key, list(headers)
        self.breakage = breakage
        self.offset = None
        self.meaning = None  # published, updated, deleted, interaction or dead
        self.item_id = self.user_id = None
        self.fields = {}     # named → stored
        self.time_us = None  # published_at or ts, the envelope's own where it stands in
        self.warnings, self.notes = set(), set()
        self.reason = self.says = None

    def line(self):
        return json.dumps({"topic": self.topic, "partition": self.partition,
                           "key_b64": b64(self.key), "value_b64": b64(self.value),
                           "headers": [[n, b64(v)] for n, v in self.headers]})

    @property
    def is_plain(self):
        """What `event explain` can be asked: a line of its own, without headers or a key."""
        return bool(self.value) and bool(self.value.strip()) and not self.headers and \
            b"\n" not in self.value and self.form != "debezium key only"

    @property
    def where(self):
        return (self.topic, self.partition, self.offset)


def partition_of(item_id):
    return zlib.crc32(item_id.encode()) % PARTITIONS


class Forms:
    def __init__(self, run, rng, n):
        self.run, self.rng = run, rng
        self.n = self.n_too_big = 0
        self.items = self.make_ids("v", max(20, n // 12))
        self.users = self.make_ids("u", max(10, n // 20))

    def make_ids(self, letter, n):
        ids = [f"{letter}{k}" for k in range(n // 3)]
        ids += [str(1000 + k) for k in range(n // 3)]
        ids += [f"{letter}/{k}.é \"{k}\" ~1%/..{{x}}" for k in range(n // 6)]
        ids += [f"日本-{letter}-{k}" for k in range(n // 6)]
        ids += [letter * 256, "0", "-7", "9223372036854775807", "-9223372036854775808",
                "9007199254740993", "null", "é" * 128, " "]
        return ids

    # -- tokens

    def id_token(self, text):
        digits = text.lstrip("-")
        if digits.isdigit() and str(int(text)) == text and self.rng.random() < 0.7:
            self.notes.add("id a whole number")
            return int(text)
        return text

    def words(self):
        rng = self.rng
        return " ".join(rng.choice(("harbour", "sea", "cat", "Straße", "音楽", "goal", "#sport",
                                    "night", "😀", "river", "it's", "a\\b", "\"q\"", "a/b"))
                        for _ in range(rng.randrange(1, 7)))

    def title(self):
        draw, text = self.rng.random(), f"clip {self.n} {self.words()}"
        quoted = dump(text)[1:-1]
        if draw < 0.02:
            long = text + " " + self.rng.choice(("é", "x", "日", "😀")) * 5000
            return Token(long, long.encode()[:4096].decode(errors="ignore"), "title_cut")
        broken = {0.02: b"caf\xe9 ", 0.03: b"\\ud83d", 0.04: b"\\u0000", 0.05: b"\\udc00 x",
                  0.06: b"\xff"}
        for low, piece in broken.items():
            if low <= draw < low + 0.01:
                stored = {b"caf\xe9 ": "caf\ufffd ", b"\\udc00 x": "\ufffd x"}
                return Token(Raw(b'"' + piece + quoted + b'"'),
                             stored.get(piece, "\ufffd") + text, "replaced_characters")
        if draw < 0.08:
            return Token(Raw(b'"\\ud83d\\ude00' + quoted + b'"'), "😀" + text)
        return Token(text, text)

    def description(self):
        draw, text = self.rng.random(), self.words()
        if draw < 0.003:
            long = "日" * 30000
            return Token(long, long.encode()[:65536].decode(errors="ignore"), "description_cut")
        if draw < 0.1:
            return Token(self.rng.choice((None, "")), None)
        return Token(text, text)

    def tags(self):
        rng, draw = self.rng, self.rng.random()
        tags = [rng.choice(("cat", "sea", "été", "a b", "日本", "#x")) + str(rng.randrange(9))
                for _ in range(rng.randrange(1, 6))]
        if draw < 0.3:
            self.notes.add("tags as a text")
            return Token(rng.choice((",", ", ", " ,\t")).join(tags), tags)
        if draw < 0.34:
            return Token(tags + [rng.choice(("", None))], tags, "tag_empty")
        if draw < 0.38:
            return Token(",".join(tags) + ",", tags, "tag_empty")
        if draw < 0.41:
            many = [f"t{k}" for k in range(70)]
            return Token(many, many[:64], "tags_cut")
        if draw < 0.44:
            return Token(["é" * 200] + tags, ["é" * 128] + tags, "tags_cut")
        if draw < 0.5:
            return Token(rng.choice((None, [], "")), None)
        return Token(tags, tags)

    def lang(self):
        text = self.rng.choice(("en", "pt-BR", "zh_Hans", "x.y", "9"))
        return Token(text, text)

    def sha256(self):
        text = f"{self.rng.getrandbits(256):064x}"
        return Token(self.rng.choice((text, text.upper())), text)

    def time(self):
        """A time of 1971 to 2040 in one of the ways that times are written."""
        rng = self.rng
        us = rng.randrange(10**9, 2 * 10**9) * 1000000 + rng.randrange(1000000)
        s = us // 1000000
        at = datetime.datetime.fromtimestamp(s, datetime.timezone.utc)
        text = at.strftime("%Y-%m-%dT%H:%M:%S")
        way = rng.randrange(12)
        if way > 7:
            self.notes.add(("time in s", "time in ms", "time in us", "time in s, a fraction")[way - 8])
        if way == 0:
            return Token(text + "Z", s * 1000000)
        if way == 1:
            return Token(f"{text}.{us % 1000000:06}Z", us)
        if way == 2:
            return Token(f"{text}.{us % 1000000 // 1000:03}+00:00", us // 1000 * 1000)
        if way == 3:  # the digits behind the microsecond go
            return Token(f"{text}.{us % 1000000:06}987+02:00", us - 7200 * 1000000)
        if way == 4:
            return Token(f"{text}-03:30", (s + 12600) * 1000000)
        if way == 5:
            return Token(text, s * 1000000, "zone_missing")
        if way == 6:
            return Token(text.replace("T", " "), s * 1000000, "zone_missing")
        if way == 7:
            return Token(f"{text.replace('T', ' ')}.5+01", s * 1000000 + 500000 - 3600 * 1000000)
        if way == 8:
            return Token(s, s * 1000000)
        if way == 9:
            return Token(us // 1000, us // 1000 * 1000)
        if way == 10:
            return Token(us, us)
        return Token(Raw(f"{s}.5".encode()), s * 1000000 + 500000)

    def fields(self, all_may_be_absent=False):
        rng, chosen = self.rng, {}
        if rng.random() < 0.85:
            chosen["title"] = self.title()
        for name, share in (("description", 0.4), ("tags", 0.4), ("lang", 0.3), ("sha256", 0.1),
                            ("published_at", 0.4)):
            if rng.random() < share:
                chosen[name] = self.time() if name == "published_at" else getattr(self, name)()
        if all_may_be_absent and rng.random() < 0.1:
            name = rng.choice(("title", "lang", "published_at"))
            chosen[name] = Token(None, None)
        if not all_may_be_absent and not any(t.stored is not None for t in chosen.values()):
            chosen["lang"] = self.lang()
        return chosen

    def noise(self):
        rng, noise = self.rng, {}
        if rng.random() < 0.2:
            noise["views"] = rng.randrange(10**6)
        if rng.random() < 0.05:
            noise["trace"] = Raw(b"99999999999999999999")  # more than an int64: harms nobody
        if rng.random() < 0.1:
            noise["more"] = {"title": 7, "item_id": ["x"], "type": None}
        return noise

    # -- rows in the site's own names

    def place(self, row, path, value):
        *path, last = path
        at = row
        for step, following in zip(path, path[1:] + [last]):
            at = at.setdefault(step, ["pad", "pad", "pad"] if isinstance(following, int) else {})
        at[last] = value

    def row(self, topic, written, noise=True):
        """written: name → JSON value, in the names of the documentation."""
        row = self.noise() if noise else {}
        if self.run == "debezium":
            names = DEBEZIUM_NAMES[topic]
            row.update({names.get(n, n): v for n, v in written.items()})
            if topic == VIDEOS and "at" in row and self.rng.random() < 0.3:
                row["created_at"] = row.pop("at")
        elif self.run == "own":
            nested = self.rng.random() < 0.7
            for name, value in written.items():
                path = OWN_PLACES[topic].get(name)
                if path and (nested or name == "weight"):
                    self.place(row, path, value)
                    if self.rng.random() < 0.05 and name in ("title", "lang", "kind", "ts"):
                        row[name] = {"decoy": 1}  # the first that is present wins
                else:
                    row[name] = value
            texts = row.get("payload", {}).get("after", {}).get("texts")
            if topic == VIDEOS and nested and "description" not in written and not texts and \
                    self.rng.random() < 0.1:
                self.place(row, ("payload", "after", "texts"), ["only one"])
        else:
            row.update(written)
        return row

    # -- forms: the value, key and headers of a row

    def type_names(self, kind):
        names = [TYPES[kind], "com.site." + TYPES[kind], "v1." + TYPES[kind]]
        own = OWN_TYPES.get(self.run)
        return names + ([own[kind]] * 3 if own else [])

    def envelope_time(self):
        rng = self.rng
        if rng.random() < 0.4:
            return None, None
        s = rng.randrange(10**9, 2 * 10**9)
        at = datetime.datetime.fromtimestamp(s, datetime.timezone.utc)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ"), s * 1000000

    def bare(self, kind, row):
        implied = kind in ("published", "interaction")
        typed = not implied or self.rng.random() < 0.4
        if typed:
            name = self.rng.choice(self.type_names(kind))
            if self.run == "own" and self.rng.random() < 0.7:
                row = dict(row, meta={"event": name})
                if self.rng.random() < 0.1:
                    row["type"] = "decoy"
            else:
                row = dict(row, type=name)
        return ("bare with type" if typed else "bare"), row, [], None

    def structured(self, kind, row):
        name = self.rng.choice(self.type_names(kind))
        time, us = self.envelope_time()
        event = {"specversion": "1.0", "id": f"e{self.n}", "source": "/site/é", "type": name,
                 "data": row}
        if time:
            event["time"] = time
        if self.rng.random() < 0.3:
            event["datacontenttype"] = self.rng.choice(("application/json", "text/json",
                                                        "application/vnd.site+json; a=b"))
        return self.ce_form("structured", name), event, [], us

    def binary(self, kind, row):
        name = self.rng.choice(self.type_names(kind))
        time, us = self.envelope_time()
        headers = [("ce_specversion", b"1.0"), ("ce_id", b"e%d" % self.n),
                   ("ce_source", b"/site"), ("ce_type", name.encode())]
        if time:
            headers.append(("ce_time", time.encode()))
        if self.rng.random() < 0.3:
            headers.append(("content-type", b"application/json; charset=utf-8"))
        if self.rng.random() < 0.2:
            headers = [(n.upper(), v) for n, v in headers]
        return self.ce_form("binary", name), row, headers, us

    def ce_form(self, mode, name):
        prefixed = name not in TYPES.values() and name.endswith(tuple(TYPES.values()))
        return f"CloudEvents {mode}" + (", prefixed type" if prefixed else "")

    def debezium(self, kind, row):
        rng = self.rng
        op = {"published": rng.choice("cr"), "updated": "u", "deleted": "d",
              "interaction": rng.choice("cru")}[kind]
        payload = {"before": None, "after": row, "op": op}
        if op == "u" and rng.random() < 0.5:
            payload["before"] = {"id": 1, "video_id": 2, "title": "as it was"}
        if op == "d":
            payload["before"], payload["after"] = row, None
        us = None
        if rng.random() < 0.8:
            ms = rng.randrange(10**12, 2 * 10**12)
            payload["ts_ms"], us = ms, ms * 1000
        if rng.random() < 0.8:
            ms = rng.choice((0, rng.randrange(10**12, 2 * 10**12)))
            payload["source"] = {"ts_ms": ms, "db": "site", "table": "videos"}
            us = ms * 1000 if ms else us
        form = "Debezium"
        if rng.random() < 0.4:
            form = "Debezium with schema"
            payload = {"schema": {"type": "struct", "fields": [{"field": "id"}]},
                       "payload": payload}
        return form, payload, [], us

    def outbox(self, kind, row):
        rng, headers, form = self.rng, [], "outbox, payload an object"
        name = rng.choice(self.type_names(kind))
        inside = rng.random() < 0.2
        payload = row = dict(row, type=name) if inside else row
        if rng.random() < 0.5:
            form, payload = "outbox, payload a text", as_text(dump(row, rng))
        implied = kind in ("published", "interaction")
        way = 4 if inside else rng.randrange(4 if implied else 3)
        if inside:
            form += ", type inside"
        if way == 0:
            headers = [("eventType", name.encode()), ("id", b"%d" % self.n)]
        elif way == 1:
            payload = {"payload": payload, rng.choice(("eventType", "type")): name}
            form += ", type beside it"
        elif way == 2:
            payload = {"payload": payload, "eventType": name, "aggregateId": "x"}
            payload = {"schema": {"type": "struct"}, "payload": payload}
            form += ", type beside it, with schema"
            return form, payload, headers, None
        if way != 1 and rng.random() < 0.4:
            payload = {"schema": {"type": "string"}, "payload": payload}
            form += ", with schema"
        elif way > 2 and isinstance(payload, dict):
            form = "bare with type" if inside else "bare"
        return form, payload, headers, None

    def forms(self):
        common = [self.bare, self.structured, self.binary]
        return {"none": common, "own": [self.bare] + common,
                "debezium": [self.debezium] * 4 + common,
                "outbox": [self.outbox] * 4 + common}[self.run]

    def write(self, topic, partition, kind, row, key=None, breakage=None, forms=None):
        """An Event of the row in one of the run's forms, without its expectation but the time of
        its envelope."""
        form, value, headers, us = self.rng.choice(forms or self.forms())(kind, row)
        event = Event(topic, partition, form, dump(value, self.rng), key, headers, breakage)
        event.time_us = us
        if not headers and self.rng.random() < 0.01:
            event.value = BOM + event.value
            event.warnings.add("bom")
        elif not headers and self.rng.random() < 0.01:
            event.value = b"\0\0\0\1\x2a" + event.value
            event.form += ", Confluent frame"
        return event

    # -- good events

    def video(self):
        rng = self.rng
        item_id = rng.choice(self.items)
        kind = rng.choice(("published",) * 6 + ("updated",) * 4)
        fields = self.fields(all_may_be_absent=kind == "updated")
        written = {"item_id": self.id_token(item_id),
                   **{n: t.written for n, t in fields.items()}}
        if rng.random() < 0.3:
            written["user_id"] = rng.choice(self.users)  # the uploader
        unavailable = self.run == "debezium" and kind == "updated" and rng.random() < 0.3
        if unavailable:
            for name in rng.sample(("title", "description", "tags"), 2):
                written[name] = [UNAVAILABLE] if name == "tags" else UNAVAILABLE
                fields.pop(name, None)
        row = self.row(VIDEOS, written)
        if self.run == "own" and rng.random() < 0.1:
            self.place(row, ("payload", "after", "gone"),
                       rng.choice((False, 0, None, "", "false", "0", "No", "0.0", "FALSE", [],
                                   "0000-00-00 00:00:00", "1970-01-01T00:00:00Z")))
        event = self.write(VIDEOS, partition_of(item_id), kind, row,
                           key=rng.choice((None, item_id.encode())))
        event.meaning, event.item_id = kind, item_id
        event.fields = {n: t.stored for n, t in fields.items()}
        if unavailable:
            event.form += ", unavailable values"
        for t in fields.values():
            event.warnings |= t.warnings
        if kind == "updated":
            event.time_us = event.fields.get("published_at")
        else:
            event.time_us = event.fields.get("published_at") or event.time_us
        return event

    def deletion(self):
        rng = self.rng
        item_id = rng.choice(self.items)
        ways = {"none": ["event", "tombstone", "binary"],
                "own": ["event", "mark", "mark", "tombstone"],
                "debezium": ["event", "tombstone", "tombstone", "key only"],
                "outbox": ["event", "tombstone"]}[self.run]
        way = rng.choice(ways)
        if way in ("tombstone", "binary", "key only"):
            event = self.tombstone(item_id, way)
        else:
            row = self.row(VIDEOS, {"item_id": self.id_token(item_id),
                                    **({"title": "as it was"} if rng.random() < 0.5 else {})})
            if way == "mark":
                self.place(row, ("payload", "after", "gone"),
                           rng.choice((True, 1, "true", "Y", "2026-01-02", 1767225600000,
                                       "2026-01-02T03:04:05Z", "1")))
                event = self.write(VIDEOS, partition_of(item_id), "published", row,
                                   forms=[self.bare, self.structured])
                event.form += ", mark of deletion"
            else:
                event = self.write(VIDEOS, partition_of(item_id), "deleted", row)
        event.meaning, event.item_id = "deleted", item_id
        return event

    def tombstone(self, item_id, way):
        rng, token = self.rng, self.id_token(item_id)
        name = {"debezium": "id", "own": "id"}.get(self.run, "item_id")
        keys = [("tombstone, raw key", item_id.encode()),
                ("tombstone, JSON key", dump({name: token}, rng)),
                ("tombstone, JSON key", dump({"schema": {"type": "struct"},
                                              "payload": {name: token}}, rng)),
                ("tombstone, JSON text as key", dump(item_id, rng))]
        if self.run == "debezium":
            keys += keys[1:3] * 3
        form, key = rng.choice(keys)
        value, headers = None, []
        if way == "binary":
            form = "CloudEvents binary without a value"
            headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"),
                       ("ce_type", rng.choice((b"video.deleted", b"com.site.video.deleted")))]
        if way == "key only":
            form = "debezium key only"
            value = dump({"before": None, "after": None, "op": "d", "ts_ms": 1767225600000})
        return Event(VIDEOS, partition_of(item_id), form, value, key, headers)

    def interaction(self):
        rng = self.rng
        item_id, user_id = rng.choice(self.items), rng.choice(self.users)
        written = {"item_id": self.id_token(item_id), "user_id": self.id_token(user_id)}
        kind = rng.choice(("watch", "like", "dislike", "video.share", "x_1", None))
        weight, ts = 1.0, None
        if kind:
            written["kind"] = kind
        elif rng.random() < 0.3:
            written["kind"] = rng.choice((None, ""))
        if rng.random() < 0.6:
            weight = rng.choice((0, 1, -1, 5, 0.25, -0.5, 1e6, -1e6, 1e-3, None))
            written["weight"] = weight
            weight = 1.0 if weight is None else float(weight)
        if rng.random() < 0.6:
            ts = self.time()
            written["ts"] = ts.written
        if rng.random() < 0.1 and self.run in ("none", "outbox"):
            written["title"] = "of the item, as the page showed it"
        event = self.write(INTERACTIONS, rng.randrange(PARTITIONS), "interaction",
                           self.row(INTERACTIONS, written),
                           key=rng.choice((None, user_id.encode())))
        event.meaning, event.item_id, event.user_id = "interaction", item_id, user_id
        event.fields = {"kind": kind or "watch", "weight": weight}
        event.time_us = ts.stored if ts else event.time_us
        event.warnings |= ts.warnings if ts else set()
        return event
