#!/usr/bin/env python3
"""Training and its models while metammfd has the store: everything goes through its control socket,
and what arrives afterwards is fused with the new model.

    test_training_daemon.py TOOLS

See processtest.py.
"""

import json
import unittest

from processtest import WithSite, wait_for


class TrainingDaemon(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.old, cls.new = cls.site.clips[:-1], cls.site.clips[-1]
        cls.site.start()
        lines = [json.dumps(cls.site.event(c)) for c in cls.old]
        lines += [json.dumps({"user_id": f"u{u}", "item_id": name(c), "ts": f"2026-01-0{k}"
                              "T00:00:00Z"})
                  for u in range(6) for k, c in enumerate(cls.old, 1) if (u + k) % 3]
        cls.site.drop("first.ndjson", lines)
        wait_for("items", lambda: all(get(cls.site, name(c)) for c in cls.old))
        wait_for("interactions", lambda: counts(cls.site)["interactions"] >= 8)

    def test_all_of_it(self):
        seeded = get(self.site, name(self.old[0]))
        trained = self.json("train", "--epochs", 2, "--dim", 16, "--threads", 1)
        self.assertTrue(trained["active"])
        e = get(self.site, name(self.old[0]))
        self.assertEqual((e["model_id"], e["state"], e["dim"]),
                         (trained["model_id"], "warm", trained["options"]["dim"]))

        self.site.drop("second.ndjson", [json.dumps(self.site.event(self.new))])
        late = wait_for("a new item", lambda: get(self.site, name(self.new)))
        self.assertEqual((late["model_id"], late["state"]), (trained["model_id"], "cold"))
        items = [x["item_id"] for x in self.json("recommend", "u0")]
        self.assertIn(name(self.new), items)

        self.verb(0, "model", "rollback")
        back = get(self.site, name(self.old[0]))
        self.assertEqual((back["model_id"], back["vec"]), (seeded["model_id"], seeded["vec"]))
        self.assertEqual(get(self.site, name(self.new))["model_id"], seeded["model_id"])
        self.assertIn("no trained model", self.verb(0, "recommend", "u0").stderr)

        self.verb(0, "model", "promote", trained["model_id"])
        self.assertEqual(get(self.site, name(self.new))["vec"], late["vec"])
        self.verb(0, "model", "pin")
        self.assertTrue(self.json("model", "show")["pinned"])

        file, folder = self.site.dir / "m.safetensors", self.site.dir / "out"
        self.verb(0, "model", "export", file)
        m = self.json("model", "import", file)["model_id"]
        self.assertEqual(self.json("model", "show", m)["state"], "candidate")
        self.verb(0, "train", "--epochs", 1, "--out", folder)
        m = self.json("model", "import", folder, "--promote")["model_id"]
        self.assertEqual(get(self.site, name(self.new))["model_id"], m)
        self.verb(66, "model", "promote", 4711)
        self.assertEqual(list(self.site.dir.glob(".metammf-train-*")), [])


def name(clip):
    return clip["file"].rsplit(".", 1)[0]


def get(site, item):
    r = site.metammf("get", item, "--json")
    return json.loads(r.stdout) if r.returncode == 0 else None


def counts(site):
    return json.loads(site.metammf("status", "--json").stdout)["counts"]


if __name__ == "__main__":
    unittest.main()
