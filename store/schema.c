/* The tables, and how an old file becomes a new one.
 *
 * store_migrations[n] brings version n to n + 1. A step and its user_version are one BEGIN
 * IMMEDIATE transaction: a crash leaves the old version or the new one. A step that has shipped
 * is never edited; a change is a new step at the end. The application_id tells our files from
 * others; a file with another one, or with a version from the future, is not touched (exit 78).
 *
 * Times are REAL milliseconds since 1970 with the microseconds as fraction; NULL = unknown.
 * Vectors are BLOBs of little-endian float32 without a header; `checksum` is the first 64 bits
 * of the SHA-256 of the bytes (config/digest.h), since SQLite's pages carry none.
 *
 * seq: counter.seq grows by one with each embedding written or removed and with each flip of
 * the active model, in the same transaction. item.gone_seq is set while an item that had a
 * current embedding has none.
 */

#include "store/internal.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sysexits.h>

static const char version_1[] =
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE counter(one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL) STRICT;"
    "INSERT INTO counter VALUES(1, 0);"
    "CREATE TABLE topic(topic_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"

    "CREATE TABLE item(rid INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE,"
    " media_uri TEXT, sha256 TEXT, title TEXT, description TEXT, lang TEXT, tags TEXT,"
    " flags TEXT,"
    " state TEXT NOT NULL CHECK(state IN ('cold', 'warm', 'no_signal', 'no_features')),"
    " deleted INTEGER NOT NULL DEFAULT 0 CHECK(deleted IN (0, 1)), gone_seq INTEGER,"
    " topic_id INTEGER REFERENCES topic, partition INTEGER, offset INTEGER,"
    " published_ms REAL, received_ms REAL, extracted_ms REAL, extract_ms REAL,"
    " queryable_ms REAL) STRICT;"
    "CREATE INDEX item_state ON item(deleted, state);"
    "CREATE INDEX item_gone ON item(gone_seq) WHERE gone_seq IS NOT NULL;"
    /* Where an item was last written from, per partition other than the one in its row. */
    "CREATE TABLE item_position(rid INTEGER NOT NULL REFERENCES item,"
    " topic_id INTEGER NOT NULL REFERENCES topic, partition INTEGER NOT NULL,"
    " offset INTEGER NOT NULL, PRIMARY KEY(rid, topic_id, partition)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE feature(rid INTEGER NOT NULL REFERENCES item, modality TEXT NOT NULL"
    " CHECK(modality IN ('visual', 'acoustic', 'textual')), encoder_id TEXT NOT NULL,"
    " dim INTEGER NOT NULL CHECK(dim > 0), checksum INTEGER NOT NULL,"
    " vec BLOB NOT NULL CHECK(length(vec) = 4*dim), UNIQUE(rid, modality)) STRICT;"

    "CREATE TABLE model(model_id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " parent_id INTEGER REFERENCES model, created_ms REAL NOT NULL, retired_ms REAL,"
    " origin TEXT NOT NULL CHECK(origin IN ('seeded', 'trained', 'imported')),"
    " state TEXT NOT NULL CHECK(state IN ('candidate', 'active', 'rejected', 'retired')),"
    " backbone TEXT NOT NULL, fusion TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " encoder_ids TEXT, metrics TEXT) STRICT;"
    "CREATE UNIQUE INDEX model_one_active ON model(state) WHERE state = 'active';"
    "CREATE TABLE active_model(one INTEGER PRIMARY KEY CHECK(one = 1),"
    " model_id INTEGER NOT NULL REFERENCES model, seq INTEGER NOT NULL,"
    " activated_ms REAL NOT NULL) STRICT;"

    /* The layouts of this table and of interaction were measured
     * (docs/design/store/312-row-layouts.md); embeddings of more than about 200 floats would speak
     * for a rowid table. */
    "CREATE TABLE embedding(model_id INTEGER NOT NULL REFERENCES model,"
    " rid INTEGER NOT NULL REFERENCES item, dim INTEGER NOT NULL CHECK(dim > 0),"
    " checksum INTEGER NOT NULL, state TEXT NOT NULL CHECK(state IN ('cold', 'warm')),"
    " seq INTEGER NOT NULL, updated_ms REAL NOT NULL,"
    " vec BLOB NOT NULL CHECK(length(vec) = 4*dim),"
    " PRIMARY KEY(model_id, rid)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX embedding_seq ON embedding(model_id, seq);"

    "CREATE TABLE user(uid INTEGER PRIMARY KEY, user_id TEXT NOT NULL UNIQUE) STRICT;"
    "CREATE TABLE user_embedding(model_id INTEGER NOT NULL REFERENCES model,"
    " uid INTEGER NOT NULL REFERENCES user, dim INTEGER NOT NULL CHECK(dim > 0),"
    " checksum INTEGER NOT NULL, seq INTEGER NOT NULL, updated_ms REAL NOT NULL,"
    " vec BLOB NOT NULL CHECK(length(vec) = 4*dim),"
    " PRIMARY KEY(model_id, uid)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE interaction(topic_id INTEGER NOT NULL REFERENCES topic,"
    " partition INTEGER NOT NULL, offset INTEGER NOT NULL,"
    " uid INTEGER NOT NULL REFERENCES user, rid INTEGER NOT NULL REFERENCES item,"
    " kind TEXT NOT NULL, weight REAL NOT NULL, ts_ms REAL NOT NULL,"
    " PRIMARY KEY(topic_id, partition, offset)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX interaction_ts ON interaction(ts_ms);"

    "CREATE TABLE kafka_offset(topic TEXT NOT NULL, partition INTEGER NOT NULL,"
    " next_offset INTEGER NOT NULL, updated_ms REAL NOT NULL,"
    " PRIMARY KEY(topic, partition)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE data_gap(topic TEXT NOT NULL, partition INTEGER NOT NULL,"
    " from_offset INTEGER NOT NULL, to_offset INTEGER NOT NULL, ts_ms REAL NOT NULL,"
    " UNIQUE(topic, partition, from_offset, to_offset)) STRICT;"
    "CREATE TABLE dead_letter(id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL,"
    " partition INTEGER NOT NULL, offset INTEGER NOT NULL, reason TEXT NOT NULL,"
    " error TEXT NOT NULL, stage TEXT NOT NULL, item_id TEXT, ts_ms REAL NOT NULL,"
    " checksum INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB,"
    " UNIQUE(topic, partition, offset)) STRICT;"
    "CREATE INDEX dead_letter_reason ON dead_letter(reason);"
    "CREATE INDEX dead_letter_ts ON dead_letter(ts_ms);"
    "CREATE TABLE dlq_outbox(id INTEGER PRIMARY KEY AUTOINCREMENT, dlq_topic TEXT NOT NULL,"
    " topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,"
    " reason TEXT NOT NULL, error TEXT NOT NULL, stage TEXT NOT NULL, ts_ms REAL NOT NULL,"
    " checksum INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB) STRICT;"
    "CREATE TABLE run_metric(model_id INTEGER REFERENCES model, epoch INTEGER NOT NULL,"
    " name TEXT NOT NULL, value REAL NOT NULL, ts_ms REAL NOT NULL,"
    " UNIQUE(model_id, epoch, name)) STRICT;"

    /* The public views: their columns are frozen. */
    "CREATE VIEW current_embedding(item_id, dim, vec, state, model_id, seq, updated_ms) AS"
    " SELECT i.item_id, e.dim, e.vec, e.state, e.model_id, max(e.seq, a.seq), e.updated_ms"
    " FROM active_model a JOIN embedding e ON e.model_id = a.model_id"
    " JOIN item i ON i.rid = e.rid;"
    "CREATE VIEW current_user_embedding(user_id, dim, vec, model_id, seq, updated_ms) AS"
    " SELECT u.user_id, e.dim, e.vec, e.model_id, max(e.seq, a.seq), e.updated_ms"
    " FROM active_model a JOIN user_embedding e ON e.model_id = a.model_id"
    " JOIN user u ON u.uid = e.uid;"
    /* Three branches, so that `WHERE seq > N` is a range of an index in each. */
    "CREATE VIEW change(seq, item_id, op) AS"
    " SELECT e.seq, i.item_id, 'upsert' FROM active_model a CROSS JOIN embedding e"
    " CROSS JOIN item i WHERE e.model_id = a.model_id AND e.seq > a.seq AND i.rid = e.rid"
    " UNION ALL"
    " SELECT a.seq, i.item_id, 'upsert' FROM active_model a CROSS JOIN embedding e"
    " CROSS JOIN item i WHERE e.model_id = a.model_id AND e.seq <= a.seq AND i.rid = e.rid"
    " UNION ALL"
    " SELECT gone_seq, item_id, 'delete' FROM item WHERE gone_seq IS NOT NULL;"
    "CREATE VIEW interaction_log(topic, partition, offset, user_id, item_id, kind, weight,"
    " ts_ms) AS SELECT t.name, x.partition, x.offset, u.user_id, i.item_id, x.kind, x.weight,"
    " x.ts_ms FROM interaction x JOIN topic t ON t.topic_id = x.topic_id"
    " JOIN user u ON u.uid = x.uid JOIN item i ON i.rid = x.rid;";

/* Which pairs a model has been trained on: little-endian int64 (uid, rid) after one another, 16
 * bytes a pair. Evaluation masks these pairs and no others. */
static const char version_2[] =
    "CREATE TABLE model_training(model_id INTEGER PRIMARY KEY REFERENCES model,"
    " checksum INTEGER NOT NULL, pairs BLOB NOT NULL CHECK(length(pairs) % 16 = 0)) STRICT;";

/* How many items have features of which encoder: counting stale ones would otherwise read every
 * feature's page (unit_store_reextract holds that). */
static const char version_3[] =
    "CREATE INDEX feature_encoder ON feature(modality, encoder_id, rid);";

/* Incremental refresh: what has been touched and not been recomputed since, and an
 * interaction's way from either end. The two indices hold the primary key as well: about as
 * much room again as the interactions themselves. */
static const char version_4[] =
    "CREATE INDEX interaction_user ON interaction(uid, rid);"
    "CREATE INDEX interaction_item ON interaction(rid, uid);"
    /* AUTOINCREMENT: n never comes again, so \"touched after n\" stays true. */
    "CREATE TABLE touch(n INTEGER PRIMARY KEY AUTOINCREMENT, uid INTEGER, rid INTEGER,"
    " item_changed INTEGER NOT NULL CHECK(item_changed IN (0, 1)), ts_ms REAL NOT NULL)"
    " STRICT;";

/* Edges that retention took: what is known of both ends is forgotten, their vectors may wait. And
 * which items are gone, a few pages, so that leaving them out of a user's does not read each of the
 * user's items. */
static const char version_5[] =
    "ALTER TABLE touch ADD COLUMN edge_gone INTEGER NOT NULL DEFAULT 0"
    " CHECK(edge_gone IN (0, 1));"
    "CREATE INDEX item_deleted ON item(rid) WHERE deleted = 1;";

/* What the topic of a dead letter was when it was read: a retry goes by that, not by today's
 * settings. */
static const char version_6[] = "ALTER TABLE dead_letter ADD COLUMN role TEXT"
                                " CHECK(role IN ('videos', 'interactions'));";

/* Other tries of dead letters and re-extractions stood under topics of their own, "retry:12:videos" and
 * "reextract:". They are of the topic that the event came from: so it is called everywhere. */
#define ORIGIN(name)   "substr(" name ", 7 + instr(substr(" name ", 7), ':'))"
#define IS_RETRY(name) name " GLOB 'retry:[0-9]*:*'"
#define OF_OLD_TOPIC   " WHERE topic_id IN (SELECT topic_id FROM old_topic)"
#define MOVE_ROWS(verb, table)                                                                 \
    verb " " table " SET topic_id = (SELECT origin_id FROM old_topic o"                        \
         " WHERE o.topic_id = " table ".topic_id)" OF_OLD_TOPIC ";"
/* clang-format off */
static const char version_7[] =
    "INSERT OR IGNORE INTO topic(name) SELECT " ORIGIN("name") " FROM topic"
    " WHERE " IS_RETRY("name") ";"
    "CREATE TABLE old_topic AS SELECT t.topic_id, o.topic_id AS origin_id FROM topic t"
    " JOIN topic o ON o.name = " ORIGIN("t.name") " WHERE " IS_RETRY("t.name") ";"
    /* where both are there, the row of the origin stays */
    MOVE_ROWS("UPDATE OR IGNORE", "item_position")
    "DELETE FROM item_position" OF_OLD_TOPIC ";"
    MOVE_ROWS("UPDATE OR IGNORE", "interaction")
    "DELETE FROM interaction" OF_OLD_TOPIC ";"
    MOVE_ROWS("UPDATE", "item")
    "DELETE FROM topic" OF_OLD_TOPIC ";"
    "DROP TABLE old_topic;"
    "UPDATE OR REPLACE dead_letter SET topic = " ORIGIN("topic") " WHERE " IS_RETRY("topic") ";"
    "UPDATE dlq_outbox SET topic = " ORIGIN("topic") " WHERE " IS_RETRY("topic") ";"
    "DELETE FROM kafka_offset WHERE " IS_RETRY("topic") " OR topic = 'reextract:';";
/* clang-format on */

/* Whom the store was told to forget: a keyed hash of the id (meta.forget_key), until when what is said of
 * them is dropped, whether folders of models may still name them, and what went. And whose rows are
 * going: only here the id is still written, until the last of them has gone. forget_key comes with
 * the store, so that every copy made from now on knows the same hashes. */
static const char version_8[] =
    "CREATE TABLE forgotten(hash BLOB PRIMARY KEY CHECK(length(hash) = 32),"
    " forgotten_ms REAL NOT NULL, in_files INTEGER NOT NULL DEFAULT 1"
    " CHECK(in_files IN (0, 1)),"
    " interactions INTEGER NOT NULL DEFAULT 0, vectors INTEGER NOT NULL DEFAULT 0,"
    " pairs INTEGER NOT NULL DEFAULT 0, letters INTEGER NOT NULL DEFAULT 0,"
    " dropped INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;"
    "CREATE TABLE erasing(n INTEGER PRIMARY KEY, hash BLOB NOT NULL REFERENCES forgotten,"
    " user_id TEXT NOT NULL, uid INTEGER, stage INTEGER NOT NULL DEFAULT 0,"
    " at INTEGER NOT NULL DEFAULT 0) STRICT;";

/* The last record that is stored of a partition: where it was, and a digest of it. Another one there
 * means another log. */
static const char version_9[] = "ALTER TABLE kafka_offset ADD COLUMN record_offset INTEGER;"
                                "ALTER TABLE kafka_offset ADD COLUMN record_digest INTEGER;";

/* What each kind of interaction counts, and how many there are of it. factor NULL: as every kind
 * that has none of its own, which stands in the row ''. was: before the last change. The triggers
 * count whoever writes or deletes. Kind and weight come into the indices, so that the strength of a
 * pair is summed up without a look at the interactions themselves.
 *
 * And the vectors of items that were never published, which trainings had made, go: in the current
 * view they are deleted. */
static const char version_10[] =
    "CREATE TABLE interaction_kind(kind TEXT PRIMARY KEY, n INTEGER NOT NULL, factor REAL,"
    " was REAL) STRICT, WITHOUT ROWID;"
    "INSERT INTO interaction_kind(kind, n) SELECT kind, count(*) FROM interaction GROUP BY "
    "kind;"
    "INSERT INTO interaction_kind(kind, n) VALUES('', 0) ON CONFLICT DO NOTHING;"
    "CREATE TRIGGER interaction_came AFTER INSERT ON interaction BEGIN"
    " INSERT INTO interaction_kind(kind, n) VALUES(new.kind, 1)"
    " ON CONFLICT DO UPDATE SET n = n + 1; END;"
    "CREATE TRIGGER interaction_went AFTER DELETE ON interaction BEGIN"
    " UPDATE interaction_kind SET n = n - 1 WHERE kind = old.kind; END;"
    "DROP INDEX interaction_user;"
    "DROP INDEX interaction_item;"
    "CREATE INDEX interaction_user ON interaction(uid, rid, kind, weight);"
    "CREATE INDEX interaction_item ON interaction(rid, uid, kind, weight);"
    "UPDATE counter SET seq = seq + 1 WHERE EXISTS(SELECT 1 FROM active_model a"
    " CROSS JOIN embedding e ON e.model_id = a.model_id"
    " CROSS JOIN item i ON i.rid = e.rid WHERE i.topic_id IS NULL);"
    "UPDATE item SET gone_seq = (SELECT seq FROM counter) WHERE topic_id IS NULL"
    " AND EXISTS(SELECT 1 FROM active_model a CROSS JOIN embedding e"
    " WHERE e.model_id = a.model_id AND e.rid = item.rid);"
    "UPDATE item SET state = 'no_features' WHERE topic_id IS NULL;"
    "DELETE FROM embedding WHERE rid IN (SELECT rid FROM item WHERE topic_id IS NULL);";

/* When what a dead letter holds was said at the latest: another try goes by that, whenever it failed.
 * NULL = unknown; ts_ms, when it became one, stands in. */
static const char version_11[] = "ALTER TABLE dead_letter ADD COLUMN said_ms REAL;";

/* Which store this is: a copy gets another one (copy.c). Readers who keep what they have seen look at the view. */
static const char version_12[] =
    "INSERT INTO meta(name, value) VALUES('generation', lower(hex(randomblob(16))));"
    "INSERT INTO meta(name, value) VALUES('generation_ms',"
    " CAST((julianday('now') - 2440587.5) * 86400000.0 AS TEXT));"
    "CREATE VIEW store_generation(generation, since_ms) AS SELECT g.value, CAST(t.value AS "
    "REAL)"
    " FROM meta g, meta t WHERE g.name = 'generation' AND t.name = 'generation_ms';";

/* Which forgetting of this store it was (meta.forgettings): what was read of the store before the nth
 * may still name that user. 0 = an earlier schema's. */
static const char version_13[] =
    "ALTER TABLE forgotten ADD COLUMN nth INTEGER NOT NULL DEFAULT 0;";

/* Neighbours of items and weights of signals, by model (signal.c; layouts: docs/design/store/326-neighbours.md). list:
 * {"rid": value, …} in units of unit. What an item adds to another's score is value times the other's scale. The view begins
 * at the item, so that one item's neighbours are a look-up; who is deleted or was never published is
 * nobody's neighbour. */
static const char version_14[] =
    "CREATE TABLE neighbour(model_id INTEGER NOT NULL REFERENCES model,"
    " rid INTEGER NOT NULL REFERENCES item, checksum INTEGER NOT NULL, unit REAL NOT NULL,"
    " list TEXT NOT NULL, UNIQUE(model_id, rid)) STRICT;"
    "CREATE TABLE neighbour_scale(model_id INTEGER NOT NULL REFERENCES model,"
    " rid INTEGER NOT NULL REFERENCES item, scale REAL NOT NULL,"
    " PRIMARY KEY(model_id, rid)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE signal(model_id INTEGER NOT NULL REFERENCES model, name TEXT NOT NULL,"
    " weight REAL NOT NULL, PRIMARY KEY(model_id, name)) STRICT, WITHOUT ROWID;"
    "CREATE VIEW current_neighbour(item_id, neighbour_id, weight) AS"
    " SELECT i.item_id, o.item_id, e.value * n.unit * s.scale FROM active_model a CROSS JOIN "
    "item i"
    " CROSS JOIN neighbour n CROSS JOIN json_each(n.list) e CROSS JOIN item o"
    " CROSS JOIN neighbour_scale s WHERE i.deleted = 0 AND n.model_id = a.model_id"
    " AND n.rid = i.rid AND o.rid = CAST(e.key AS INTEGER) AND o.deleted = 0"
    " AND o.topic_id IS NOT NULL AND s.model_id = a.model_id AND s.rid = o.rid;"
    "CREATE VIEW current_signal(name, weight) AS SELECT s.name, s.weight"
    " FROM active_model a CROSS JOIN signal s ON s.model_id = a.model_id;";

const char *const store_migrations[] = {
    version_1, version_2, version_3,  version_4,  version_5,  version_6,  version_7,
    version_8, version_9, version_10, version_11, version_12, version_13, version_14};
const int store_n_migrations = sizeof(store_migrations) / sizeof(store_migrations[0]);

static int first_int(struct store *st, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(st->db, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? ERR_OK : store_fail(st, err, sql);
}

/* Whose file it is and how old: *ret_version is 0 for an empty one. */
int store_schema_check(struct store *st, int n, int *ret_version, struct err *err)
{
    int64_t application_id = 0;
    int64_t version = 0;
    int64_t n_objects = 0;
    int status = first_int(st, "PRAGMA application_id", &application_id, err);

    if (status == ERR_OK)
        status = first_int(st, "PRAGMA user_version", &version, err);
    if (status == ERR_OK)
        status = first_int(st, "SELECT count(*) FROM sqlite_schema", &n_objects, err);
    if (status != ERR_OK)
        return status;
    bool empty = application_id == 0 && version == 0 && n_objects == 0;
    if (!empty && application_id != STORE_APPLICATION_ID)
        return err_fatal(err, EX_CONFIG,
                         "store %s: belongs to another program (application_id %lld, ours is "
                         "%d); give another path",
                         st->path, (long long)application_id, STORE_APPLICATION_ID);
    if (version < 0 || version > n)
        return err_fatal(err, EX_CONFIG,
                         "store %s: schema version %lld is newer than this program's %d; "
                         "upgrade metammfd or give another path",
                         st->path, (long long)version, n);
    *ret_version = (int)version;
    return ERR_OK;
}

static int migrate_step(struct store *st, const char *sql, int version, struct err *err)
{
    char mark[128];
    char what[64];

    (void)snprintf(mark, sizeof mark, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
                   STORE_APPLICATION_ID, version);
    (void)snprintf(what, sizeof what, "migrate the schema to version %d", version);
    int status = store_exec(st, "BEGIN IMMEDIATE", what, err);
    if (status != ERR_OK)
        return status;
    status = store_exec(st, sql, what, err);
    if (status == ERR_OK)
        status = store_exec(st, mark, what, err);
    if (status == ERR_OK)
        status = store_exec(st, "COMMIT", what, err);
    if (status != ERR_OK)
        store_rollback(st);
    return status;
}

int store_migrate(struct store *st, const char *const *migrations, int n, struct err *err)
{
    int version = 0;
    int status = store_schema_check(st, n, &version, err);

    for (int v = version; status == ERR_OK && v < n; v++)
        status = migrate_step(st, migrations[v], v + 1, err);
    return status;
}
