"""The messages of the Kafka tests: uploads, deletes, interactions, duplicates and poison, from a
seed, each with what must become of it."""

import base64
import json
import random

VIDEOS, INTERACTIONS = "videos", "interactions"


def b64(data):
    return None if data is None else base64.b64encode(data).decode()


class Message:
    """One message and what must become of it."""

    def __init__(self, topic, key, value, becomes, headers=(), **details):
        self.topic, self.key, self.value = topic, key, value
        self.becomes = becomes  # "item", "delete", "interaction" or "dead"
        self.headers = list(headers)
        self.details = details
        self.partition = self.offset = None

    def line(self):
        return json.dumps({"topic": self.topic, "key_b64": b64(self.key),
                           "value_b64": b64(self.value),
                           "headers": [[n, b64(v)] for n, v in self.headers]})


def event(**fields):
    return json.dumps(fields, ensure_ascii=False).encode()


def poison(rng, number, media_root):
    """A message that cannot be processed, of one of several kinds."""
    kinds = [
        ("bad_json", VIDEOS, b'{"item_id": "p%d", "title": ' % number),
        ("bad_json", INTERACTIONS, b"\xff\xfe not json %d" % number),
        ("bad_schema", VIDEOS, event(title=f"no id {number}")),
        ("bad_schema", VIDEOS, event(item_id=f"p{number}", title=7)),
        ("bad_schema", INTERACTIONS, event(user_id=f"u{number}", item_id="i1", weight="x")),
        ("bad_schema", INTERACTIONS, event(item_id=f"i{number % 50}", kind="watch")),
        ("bad_schema", VIDEOS, event(user_id=f"u{number}", item_id=f"i{number % 50}")),
        ("media", VIDEOS, event(item_id=f"p{number}",
                                media_uri=f"file://{media_root}/absent-{number}.mp4")),
    ]
    reason, topic, value = rng.choice(kinds)
    return Message(topic, f"p{number}".encode(), value, "dead", reason=reason,
                   headers=[("trace", f"t{number}".encode())])


def workload(seed, n, clips, media_root, media_share=0.02):
    """n messages: uploads, re-uploads, tombstones, interactions, duplicates, 5 % poison."""
    rng = random.Random(seed)
    messages, item_ids = [], []
    for number in range(n):
        draw = rng.random()
        if draw < 0.05:
            messages.append(poison(rng, number, media_root))
        elif draw < 0.35 or not item_ids:
            item_id = f"i{number}"
            if item_ids and draw < 0.12:
                item_id = rng.choice(item_ids)  # uploaded again
            else:
                item_ids.append(item_id)
            fields = {"item_id": item_id, "title": f"clip {number} of the harbour #sea"}
            if number % 2:
                fields["user_id"] = f"uploader{number % 9}"
            if clips and rng.random() < media_share / 0.3:
                fields["media_uri"] = f"file://{rng.choice(clips)}"
            messages.append(Message(VIDEOS, item_id.encode(), event(**fields), "item",
                                    item_id=item_id, title=fields["title"],
                                    media="media_uri" in fields))
        elif draw < 0.38:
            item_id = rng.choice(item_ids)
            messages.append(Message(VIDEOS, item_id.encode(), None, "delete", item_id=item_id))
        elif draw < 0.43 and messages:
            again = rng.choice(messages)
            messages.append(Message(again.topic, again.key, again.value, again.becomes,
                                    again.headers, **again.details))
        else:
            user = f"u{rng.randrange(500)}"
            messages.append(Message(
                INTERACTIONS, user.encode(),
                event(user_id=user, item_id=rng.choice(item_ids), kind="watch",
                      weight=round(rng.random(), 3), ts="2026-01-02T03:04:05Z"),
                "interaction", user=user))
    return messages
