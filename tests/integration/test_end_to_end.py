#!/usr/bin/env python3
"""End to end: real videos, real captions, a real broker, and every count has to balance.

    test_end_to_end.py TOOLS [--cluster real|mock] [--uploads 300] [--interactions 3000]

Uploads go over the shared videos in turn (each with an id and a caption of its own), then come
interactions and 5 % poison, shuffled in among them; one poison event is larger than the DLQ topic
admits. Every good event must become a row with a finite, non-zero vector, every poison one a dead
letter with its original bytes, in the store and in the DLQ topic; kafka_offset must be the log's
end, and so must what Kafka was told for lag tools.
"""

import argparse
import csv
import itertools
import pathlib
import random
import sys
import time

import kafkaledger as ledger
import kafkatest as kt

PARTITIONS = 4


def uploads(n, data):
    videos = sorted(p for p in (data / "videos").rglob("*") if p.is_file()
                    and p.suffix in (".mp4", ".mkv", ".mov", ".avi", ".mpg", ".flv", ".3gp"))
    with open(data / "titles" / "MicroLens-50k_titles.csv", newline="") as file:
        captions = [row["title"] for row in itertools.islice(csv.DictReader(file), n)]
    for number, (video, title) in enumerate(zip(itertools.cycle(videos), captions)):
        item_id = f"v{number}"
        yield kt.Message(kt.VIDEOS, item_id.encode(), kt.event(
            item_id=item_id, media_uri=f"file://{video}", title=title), "item",
            item_id=item_id, title=title)


def interactions(n, n_items, rng):
    for number in range(n):
        user = f"u{rng.randrange(400)}"
        yield kt.Message(kt.INTERACTIONS, user.encode(), kt.event(
            user_id=user, item_id=f"v{rng.randrange(n_items)}", kind="watch",
            ts="2026-01-02T03:04:05Z"), "interaction", user=user)


def too_big():
    return kt.Message(kt.VIDEOS, b"big", kt.event(item_id="big", title="x" * (1 << 20)), "dead",
                      reason="too_big")


def make_messages(options, data):
    rng = random.Random(options.seed)
    messages = list(uploads(options.uploads, data))
    messages += interactions(options.interactions, options.uploads, rng)
    n_poison = round(0.05 * len(messages))
    messages += [kt.poison(rng, n, data / "videos") for n in range(n_poison - 1)]
    if options.cluster == "real":
        messages.append(too_big())
    rng.shuffle(messages)
    return messages


def check_told(options, cluster, ends, daemon):
    """Within a few seconds Kafka knows what the store has."""
    def told():
        known = {}
        for topic in (kt.VIDEOS, kt.INTERACTIONS):
            known.update(kt.committed(options.tools, cluster.bootstrap, "kill-test", topic))
        return known == ends
    kt.wait_for("the offsets told to Kafka", told, 120)


def summary(daemon):
    with daemon.database() as db:
        one = lambda sql: db.execute(sql).fetchone()[0]  # noqa: E731
        return (f"{one('SELECT count(*) FROM current_embedding')} embeddings, "
                f"{one('SELECT count(*) FROM interaction')} interactions, "
                f"{one('SELECT count(*) FROM dead_letter')} dead letters, "
                f"{one('SELECT sum(next_offset) FROM kafka_offset')} offsets")


def run(options, folder):
    data = kt.shared_data()
    cluster = kt.open_cluster(options.cluster, options.tools, folder)
    try:
        if options.cluster == "real":
            cluster.create_topic(kt.VIDEOS, PARTITIONS, "max.message.bytes=4194304")
        else:
            cluster.create_topic(kt.VIDEOS, PARTITIONS)
        cluster.create_topic(kt.INTERACTIONS, PARTITIONS)
        cluster.create_topic(kt.DLQ, 1)
        messages = make_messages(options, data)
        daemon = kt.Daemon(options.tools / "metammfd", options.tools, folder,
                           cluster.bootstrap, "group", data / "videos", workers=2)
        daemon.install_audit()
        daemon.start()
        start = time.monotonic()
        kt.Feed(options.tools, cluster.bootstrap, messages, 0, folder).finish()
        ends = {}
        for topic in (kt.VIDEOS, kt.INTERACTIONS):
            ends.update(kt.log_ends(options.tools, cluster.bootstrap, topic))
        kt.wait_for_end(daemon, ends)
        seconds = time.monotonic() - start
        check_told(options, cluster, ends, daemon)
        report = ledger.Report()
        kt.wait_for_outbox(daemon)
        repeated = ledger.compare_dlq_topic(options.tools, cluster.bootstrap, messages, report)
        daemon.stop()
        rows = ledger.compare(daemon, messages, ends)
        rows.faults += report.faults
        kt.say(f"{options.cluster} end to end: {len(messages)} events in {seconds:.0f} s: "
               f"{summary(daemon)}; {rows.n_lost} lost, {rows.n_duplicated} duplicated, "
               f"{repeated} published again")
        for fault in rows.faults[:20]:
            kt.say(f"  {fault}")
        return 0 if rows.good else 1
    finally:
        cluster.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("--cluster", choices=("mock", "real"), default="real")
    parser.add_argument("--uploads", type=int, default=300)
    parser.add_argument("--interactions", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.tools = options.tools.resolve()
    with kt.work_folder() as folder:
        return run(options, pathlib.Path(folder))


if __name__ == "__main__":
    sys.exit(main())
