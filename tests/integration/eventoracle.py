"""What a log of events must leave in the store, from what eventforms.py knows of each of them."""

from eventbroken import generate  # noqa: F401
from eventforms import CUT, FIELDS, PARTITIONS, SETTINGS  # noqa: F401


class Expected:
    """items: id → {field: stored, published_us, cut, deleted}; only_clicked: ids that no video event
    names; interactions, dead: by where."""

    def __init__(self, events):
        self.items, self.interactions, self.dead = {}, {}, {}
        self.only_clicked = set()
        for event in sorted(events, key=lambda e: e.where):
            self.add(event)
        self.only_clicked -= self.items.keys()

    def add(self, event):
        if event.meaning == "dead":
            self.dead[event.where] = event
        elif event.meaning == "interaction":
            self.interactions[event.where] = (event.user_id, event.item_id, event.fields["kind"],
                                              event.fields["weight"], event.time_us)
            self.only_clicked.add(event.item_id)
        elif event.meaning == "deleted":
            self.items[event.item_id] = {"deleted": True, "where": event.where}
        else:
            self.add_video(event)

    def add_video(self, event):
        row = self.items.get(event.item_id, {"deleted": True})
        if event.meaning == "published" or row["deleted"]:
            row = {"cut": set(), **dict.fromkeys(FIELDS)}
        row = dict(row, deleted=False, where=event.where)
        row.update(event.fields)
        if event.meaning == "published" or "published_at" in event.fields:
            row["published_at"] = event.time_us
        cut = {CUT[w] for w in event.warnings if w in CUT}
        row["cut"] = (row["cut"] - event.fields.keys()) | cut
        self.items[event.item_id] = row
