"""Events that must become dead letters, each with its reason and a word of its sentence, and all of them
mixed with the good ones of eventforms.py."""

from eventforms import PARTITIONS, UNAVAILABLE, Event, Forms, Raw, as_text, dump
from kafka_workload import INTERACTIONS, VIDEOS


class Generator(Forms):
    """broken_NAME: one event that is broken in that way, or None where the run knows no such form."""

    def event(self):
        self.n += 1
        self.notes = set()
        draw = self.rng.random()
        event = (self.broken() if draw < 0.057 else self.video() if draw < 0.40 else
                 self.deletion() if draw < 0.47 else self.interaction())
        event.notes = self.notes
        return event

    def bad_video(self, reason, says, kind="published", **wrong):
        written = {"item_id": f"bad{self.n}", "title": "t"}
        written.update(wrong)
        written = {n: v for n, v in written.items() if v is not Ellipsis}
        row = self.row(VIDEOS, written, noise=False)
        return self.dead(self.write(VIDEOS, self.rng.randrange(PARTITIONS), kind, row), reason,
                         says)

    def bad_click(self, reason, says, **wrong):
        written = {"item_id": "v1", "user_id": f"bad{self.n}", "kind": "watch"}
        written.update(wrong)
        written = {n: v for n, v in written.items() if v is not Ellipsis}
        row = self.row(INTERACTIONS, written, noise=False)
        return self.dead(self.write(INTERACTIONS, self.rng.randrange(PARTITIONS), "interaction",
                                    row), reason, says)

    def raw(self, topic, value, reason, says, key=None, headers=(), form="bare"):
        return self.dead(Event(topic, self.rng.randrange(PARTITIONS), form, value, key, headers),
                         reason, says)

    @staticmethod
    def dead(event, reason, says):
        event.meaning, event.reason, event.says = "dead", reason, says
        return event

    def plain(self, **more):
        return dict(self.row(VIDEOS, {"item_id": f"bad{self.n}", "title": "t"}, noise=False),
                    **more)

    def good_value(self, topic):
        row = self.row(topic, {"item_id": f"bad{self.n}", **(
            {"title": "t"} if topic == VIDEOS else {"user_id": "u"})}, noise=False)
        return dump(row, self.rng)

    def ce(self, **wrong):
        event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "video.published",
                 "data": self.plain(), **wrong}
        return dump({n: v for n, v in event.items() if v is not Ellipsis}, self.rng)

    def ce_headers(self, **wrong):
        headers = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/s",
                   "ce_type": b"video.published", **wrong}
        return [(n.replace("content_type", "content-type"), v) for n, v in headers.items()
                if v is not Ellipsis]

    def broken(self):
        names = sorted(n for n in dir(self) if n.startswith("broken_"))
        name = self.rng.choice(names)
        event = getattr(self, name)()
        if event is None:  # not in this run
            return self.event()
        event.breakage = name.removeprefix("broken_")
        return event

    def any_topic(self):
        return self.rng.choice((VIDEOS, INTERACTIONS))

    def broken_truncated_json(self):
        topic = self.any_topic()
        value = self.good_value(topic)
        return self.raw(topic, value[:self.rng.randrange(1, len(value))], "bad_json", "line 1")

    def broken_duplicate_key(self):
        value = self.good_value(VIDEOS)
        return self.raw(VIDEOS, value[:-1] + b", \"a\": 1, \"a\": 2}", "bad_json", "duplicate")

    def broken_no_json(self):
        return self.raw(self.any_topic(), self.rng.choice((
            b"hello %d" % self.n, b"\xff\xfe%d" % self.n, b"{'item_id': 'v1'}", b"id,title",
            b"\x1f\x8b\x08%d" % self.n, b" ")), "bad_json", "line 1")

    def broken_empty_value(self):
        return self.raw(self.any_topic(), b"", "bad_json", "line 1", key=b"v1")

    def broken_trailing_text(self):
        topic = self.any_topic()
        return self.raw(topic, self.good_value(topic) + b" {}", "bad_json", "line 1")

    def broken_array(self):
        topic = self.any_topic()
        return self.raw(topic, b"[" + self.good_value(topic) + b"]", "bad_schema", "an array")

    def broken_too_deep(self):
        deep = Raw(b"[" * 3000 + b"]" * 3000)
        return self.raw(VIDEOS, dump(self.plain(x=deep)), "bad_json", "depth")

    def broken_number_overflow(self):
        return self.raw(VIDEOS, dump(self.plain(x=Raw(b"1e400"))), "bad_json", "overflow")

    def broken_too_big(self):
        self.n_too_big += 1
        if self.n_too_big > 1 + self.n // 2500:  # what a mock cluster keeps is little
            return None
        return self.bad_video("too_big", "1048576", description="x" * 1048576)

    def broken_avro(self):
        return self.raw(self.any_topic(), b"\0\0\0\0\7\2\4v1\x0atitle%d" % self.n, "bad_json",
                        "schema id 7")

    def broken_id_missing(self):
        return self.bad_video("bad_schema", "item_id", item_id=...)

    def broken_id_empty(self):
        return self.bad_video("bad_schema", "item_id", item_id="")

    def broken_id_fraction(self):
        return self.bad_video("bad_schema", "fraction",
                              item_id=Raw(self.rng.choice((b"7.5", b"1e3", b"7.0"))))

    def broken_id_too_large(self):
        return self.bad_video("bad_schema", "2^63",
                              item_id=Raw(self.rng.choice((b"9223372036854775808",
                                                           b"-9223372036854775809"))))

    def broken_id_control(self):
        return self.bad_video("bad_schema", "control",
                              item_id=self.rng.choice(("a\x01b", "a\x7f", "\x85", "a\nb")))

    def broken_id_too_long(self):
        return self.bad_video("bad_schema", "256", item_id="é" * 128 + "x")

    def broken_id_latin1(self):
        return self.bad_video("bad_schema", "item_id", item_id=Raw(b'"caf\xe9"'))

    def broken_id_half_a_pair(self):
        return self.bad_video("bad_schema", "item_id", item_id=Raw(b'"a\\ud83d"'))

    def broken_id_nul(self):
        return self.bad_video("bad_schema", "item_id", item_id=Raw(b'"a\\u0000b"'))

    def broken_id_of_another_type(self):
        return self.bad_video("bad_schema", "item_id",
                              item_id=self.rng.choice((True, None, [7], {"id": 7})))

    def broken_unknown_type(self):
        row = self.plain(type="video.publish", meta={"event": "video.publish"})
        if self.run in ("debezium", "outbox") and self.rng.random() < 0.5:
            return self.raw(VIDEOS, self.ce(type="io.debezium.datachangeevent"), "bad_schema",
                            "io.debezium.datachangeevent", form="CloudEvents structured")
        return self.raw(VIDEOS, dump(row), "bad_schema", "got \"video.publish\"")

    def broken_type_of_the_other_role(self):
        if self.rng.random() < 0.5:
            row = self.row(VIDEOS, {"item_id": "v1", "title": "t", "user_id": "u"}, noise=False)
            return self.dead(self.write(VIDEOS, 0, "interaction", row,
                                        forms=[self.structured, self.binary]), "bad_schema",
                             "on a topic of videos")
        kind = self.rng.choice(("published", "updated", "deleted"))
        row = self.row(INTERACTIONS, {"item_id": "v1", "user_id": "u"}, noise=False)
        return self.dead(self.write(INTERACTIONS, 0, kind, row,
                                    forms=[self.structured, self.binary]), "bad_schema",
                         "on a topic of interactions")

    def broken_type_no_text(self):
        return self.raw(VIDEOS, dump(self.plain(type=7, meta={"event": 7})), "bad_schema",
                        "type: expected a string")

    def broken_published_without_a_field(self):
        return self.bad_video("bad_schema", "a video without", title=self.rng.choice(
            (..., None, "")), user_id="u")

    def broken_published_of_empty_fields(self):
        return self.bad_video("bad_schema", "a video without", **self.rng.choice((
            {"title": "", "tags": " , "}, {"title": None, "tags": ["", None]},
            {"title": ..., "published_at": 0}, {"title": ..., "lang": "", "tags": ","})))

    def broken_mark_of_deletion(self):
        if self.run != "own":
            return None
        row = self.row(VIDEOS, {"item_id": "v1", "title": "t"}, noise=False)
        self.place(row, ("payload", "after", "gone"), self.rng.choice(
            ("active", "AA==", {"scale": 0, "value": "AA=="}, [0], " ", "NULL", "deleted")))
        return self.raw(VIDEOS, dump(row), "bad_schema", "deleted (/payload/after/gone)")

    def broken_title_no_text(self):
        return self.bad_video("bad_schema", "title", title=self.rng.choice(
            (7, True, ["t"], {"en": "t"})))

    def broken_tags_no_list(self):
        return self.bad_video("bad_schema", "tags", tags=self.rng.choice(
            ({"a": 1}, [7], 7, [["a"]])))

    def broken_time(self):
        return self.bad_video("bad_schema", "published_at", published_at=self.rng.choice(
            ("yesterday", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "1767225600",
             "2026-01-01", 3 * 10**17, True, "", ["2026-01-01T00:00:00Z"])))

    def broken_sha256(self):
        return self.bad_video("bad_schema", "sha256", sha256=self.rng.choice(
            ("abc", "g" * 64, "0" * 63, "0" * 65, 7)))

    def broken_lang(self):
        return self.bad_video("bad_schema", "lang", lang=self.rng.choice(
            ("e n", "en\n", "x" * 65, "été", 7)))

    def broken_media_uri(self):
        return self.bad_video("bad_schema", "media_uri", media_uri=self.rng.choice(
            ("file:///a\nb", "x" * 4097, 7, ["file:///a"])))

    def broken_click_without_user(self):
        return self.bad_click("bad_schema", "user_id", user_id=self.rng.choice(
            (..., None, "", Raw(b"7.5"), "a\x01", True, Raw(b'"caf\xe9"'))))

    def broken_click_without_item(self):
        return self.bad_click("bad_schema", "item_id", item_id=self.rng.choice((..., "", None)))

    def broken_weight(self):
        return self.bad_click("bad_schema", "weight", weight=self.rng.choice(
            (1000001, -2e6, "1", True, [1], Raw(b"1e300"))))

    def broken_kind(self):
        return self.bad_click("bad_schema", "kind", kind=self.rng.choice(
            ("a b", "é", "x" * 65, 7, ["watch"], "a\n")))

    def broken_ts(self):
        return self.bad_click("bad_schema", "ts", ts=self.rng.choice(
            (True, False, "now", "12:00", {}, "2026-01-01T24:00:00Z", -10**18)))

    def broken_click_among_videos(self):
        row = self.row(INTERACTIONS, {"item_id": "v1", "user_id": "u", "kind": "like"},
                       noise=False)
        if self.run == "own":
            row["item_id"] = "v1"
        return self.raw(VIDEOS, dump(row), "bad_schema", "on a topic of videos")

    def broken_video_among_clicks(self):
        row = {"item_id": "v1", "media_uri": "file:///a.mp4", "title": "t"}
        return self.raw(INTERACTIONS, dump(row), "bad_schema", "on a topic of interactions")

    def broken_tombstone_among_clicks(self):
        return self.raw(INTERACTIONS, None, "bad_schema", "a null value", key=b"v1",
                        form="tombstone, raw key")

    def broken_tombstone_key(self):
        key = self.rng.choice((None, b"", b"caf\xe9", b"x" * 257, b"a\0b", b'{"other": 7}',
                               b'{"id": 7.5}', b'{"item_id": true}', b'""', b"{}"))
        return self.raw(VIDEOS, None, "bad_schema", "key of a null value", key=key,
                        form="tombstone, raw key")

    def broken_tombstone_type(self):
        return self.raw(VIDEOS, None, "bad_schema", "only video.deleted", key=b"v1",
                        headers=self.ce_headers(), form="CloudEvents binary without a value")

    def broken_cloudevent_without(self):
        name = self.rng.choice(("id", "source", "type"))
        return self.raw(VIDEOS, self.ce(**{name: self.rng.choice((..., "", 7, None))}),
                        "bad_schema", name, form="CloudEvents structured")

    def broken_cloudevent_specversion(self):
        wrong = self.rng.choice(("0.3", "1", "", "2.0", 1.0))
        return self.raw(VIDEOS, self.ce(specversion=wrong), "bad_schema", "specversion",
                        form="CloudEvents structured")

    def broken_cloudevent_data(self):
        wrong = self.rng.choice(({"data": None}, {"data": [1]}, {"data": "x"},
                                 {"data": ..., "data_base64": "e30="}, {"data": ...}))
        return self.raw(VIDEOS, self.ce(**wrong), "bad_schema", "data",
                        form="CloudEvents structured")

    def broken_cloudevent_time(self):
        return self.raw(VIDEOS, self.ce(time=self.rng.choice((7, "now", "", None))),
                        "bad_schema", "time", form="CloudEvents structured")

    def broken_cloudevent_headers(self):
        name, value = self.rng.choice((("ce_specversion", b"0.3"), ("ce_id", ...),
                                       ("ce_source", b""), ("ce_type", ...), ("ce_type", b"?"),
                                       ("content_type", b"text/plain"), ("ce_time", b"now")))
        says = name.replace("content_type", "content-type").removeprefix("ce_")
        return self.raw(VIDEOS, dump(self.plain()), "bad_schema", says,
                        headers=self.ce_headers(**{name: value}), form="CloudEvents binary")

    def broken_debezium_op(self):
        if self.run != "debezium":
            return None
        op = self.rng.choice(("t", "m", "", "é" * 20, "C"))
        return self.raw(VIDEOS, dump({"before": None, "after": None, "op": op}), "bad_schema",
                        "op", form="Debezium")

    def broken_debezium_row(self):
        if self.run != "debezium":
            return None
        op = self.rng.choice("cru")
        return self.raw(VIDEOS, dump({"before": {"id": 7}, "after": self.rng.choice(
            (None, "x", [1])), "op": op}), "bad_schema", "after", form="Debezium")

    def broken_debezium_unavailable_id(self):
        if self.run != "debezium":
            return None
        row = {"id": UNAVAILABLE, "title": "t"}
        return self.raw(VIDEOS, dump({"after": row, "op": "u"}), "bad_schema", "item_id",
                        form="Debezium")

    def broken_outbox_payload(self):
        if self.run != "outbox":
            return None
        inner, reason = self.rng.choice(((b"{]", "bad_json"), (b"[1]", "bad_schema"),
                                         (b"{\"item_id\": ", "bad_json"), (b"", "bad_json")))
        return self.raw(VIDEOS, dump({"schema": {}, "payload": as_text(inner)}), reason,
                        "payload", form="outbox, payload a text, with schema")

    def broken_outbox_type(self):
        if self.run != "outbox":
            return None
        name, says = self.rng.choice((("eventType", "a string"), ("type", "a string")))
        return self.raw(VIDEOS, dump({"payload": self.plain(), name: self.rng.choice((7, {}))}),
                        "bad_schema", says, form="outbox, payload an object, type beside it")

    def broken_outbox_null(self):
        if self.run != "outbox":
            return None
        return self.raw(VIDEOS, dump({"schema": {}, "payload": None}), "bad_schema", "payload",
                        form="outbox, payload an object, with schema")

    def broken_deletion_among_clicks(self):
        row = {"item_id": "v1", "user_id": "u", "id": 7, "video_id": 7}
        if self.run == "debezium":
            return self.raw(INTERACTIONS, dump({"before": row, "after": None, "op": "d"}),
                            "bad_schema", "a deletion among interactions", form="Debezium")
        if self.run == "own":
            row["payload"] = {"after": {"gone": True}}
            return self.raw(INTERACTIONS, dump(row), "bad_schema",
                            "a deletion among interactions")
        return None


def generate(run, rng, n):
    generator = Generator(run, rng, n)
    return [generator.event() for _ in range(n)]
