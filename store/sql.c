/* Every statement of the store, except the tables themselves (schema.c). Parameters are
 * numbered in the order in which the callers bind them. */

#include "store/internal.h"

#include <stddef.h>

#define ITEM_VALUES                                                                            \
    "media_uri, sha256, title, description, lang, tags, flags, state, topic_id, partition, "   \
    "offset, published_ms, received_ms, extracted_ms, extract_ms"

#define MODEL_COLUMNS                                                                          \
    "m.model_id, m.parent_id, m.created_ms, m.origin, m.state, m.backbone, m.fusion, m.file, " \
    "m.sha256, m.encoder_ids, m.metrics, m.retired_ms"

#define LETTER_COLUMNS                                                                         \
    "topic, reason, error, stage, partition, offset, ts_ms, key, value, headers"

/* Of item i: features of a modality that could be made anew. */
#define HAS_TEXT "(i.title IS NOT NULL OR i.description IS NOT NULL OR i.tags IS NOT NULL)"

/* Of interaction x, or another row with an item. By the index of deleted items: each item's row would cost a page. All
 * distinct pairs of 1,000,000 interactions take 0.5 s of CPU so, 2.1 s through the rows. */
#define LIVE                                                                                   \
    "NOT EXISTS(SELECT 1 FROM item i INDEXED BY item_deleted WHERE i.rid = x.rid "             \
    "AND i.deleted = 1)"

/* Of a user: what is being erased is nobody's any more, and gets no vector. */
#define STAYS "uid NOT IN (SELECT uid FROM erasing WHERE uid IS NOT NULL)"

/* Interactions of a user, the same ones in two statements. */
#define NEXT_OF_USER "uid = ?1 ORDER BY rid, topic_id, partition, offset LIMIT ?2"

/* What interaction x counts: the factor of its kind times its weight; a factor below 0 counts
 * against the item whatever the sign of the weight, so that no dislike of weight -1 is a like. By a
 * join with the few rows of interaction_kind; kind and weight stand in the indices by user and by
 * item, so that no question leaves its index (docs/design/store/315-strength.md). */
#define KIND "LEFT JOIN interaction_kind k ON k.kind = x.kind"
#define COUNTS_BY(factor)                                                                      \
    "CASE WHEN k." factor " < 0 THEN k." factor " * abs(x.weight) ELSE coalesce(k." factor     \
    ", (SELECT " factor " FROM interaction_kind WHERE kind = ''), 1.0) * x.weight END"
#define COUNTS COUNTS_BY("factor")
/* Of a group of one user's interactions with one item. Sums of tenths are not exact: what lies
 * within a billionth of 0 is 0. */
#define STRENGTH "sum(" COUNTS ")"
#define IS_EDGE  STRENGTH " > 1e-9"

/* Of a model; the list is missing only where the file is damaged. */
#define NEIGHBOUR_ROWS                                                                         \
    "SELECT n.list, n.checksum, x.rid, x.scale, n.unit FROM neighbour_scale x LEFT JOIN "      \
    "neighbour n "                                                                             \
    "ON n.model_id = x.model_id AND n.rid = x.rid WHERE x.model_id = ?1"

/* Interactions, the same ones in two statements. */
#define OLDEST "ts_ms < ?1 ORDER BY ts_ms, topic_id, partition, offset LIMIT ?2"

const char *const store_sql[SQL_ID_COUNT] = {
    [SQL_BEGIN_READ] = "BEGIN",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SEQ_READ] = "SELECT seq FROM counter",
    [SQL_SEQ_WRITE] = "UPDATE counter SET seq = ?1 WHERE seq <> ?1",

    [SQL_TOPIC_FIND] = "SELECT topic_id FROM topic WHERE name = ?1",
    [SQL_TOPIC_INSERT] = "INSERT INTO topic(name) VALUES(?1) RETURNING topic_id",

    [SQL_ITEM_FIND] = "SELECT rid, topic_id, partition, offset FROM item WHERE item_id = ?1",
    [SQL_ITEM_INSERT] = "INSERT INTO item(" ITEM_VALUES ", item_id) "
                        "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16) "
                        "RETURNING rid",
    [SQL_ITEM_UPDATE] = "UPDATE item SET (" ITEM_VALUES ", deleted, gone_seq) = "
                        "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,0,"
                        "CASE ?8 WHEN 'cold' THEN NULL ELSE gone_seq END) WHERE rid = ?16",
    [SQL_ITEM_UNKNOWN] = "INSERT INTO item(item_id, state) VALUES(?1, 'no_features') "
                         "RETURNING rid",
    [SQL_ITEM_TOMBSTONE] = "INSERT INTO item(item_id, topic_id, partition, offset, state, "
                           "deleted) VALUES(?1, ?2, ?3, ?4, 'no_features', 1)",
    [SQL_ITEM_DELETE] = "UPDATE item SET deleted = 1, state = 'no_features', topic_id = ?2, "
                        "partition = ?3, offset = ?4, media_uri = NULL, sha256 = NULL, "
                        "title = NULL, description = NULL, lang = NULL, tags = NULL, "
                        "flags = NULL, published_ms = NULL, received_ms = NULL, "
                        "extracted_ms = NULL, extract_ms = NULL, queryable_ms = NULL "
                        "WHERE rid = ?1",
    [SQL_ITEM_STATE] = "UPDATE item SET state = ?2, gone_seq = NULL WHERE rid = ?1 "
                       "AND (state <> ?2 OR gone_seq IS NOT NULL)",
    [SQL_ITEM_GONE] = "UPDATE item SET gone_seq = ?2 WHERE rid = ?1",
    [SQL_ITEM_QUERYABLE] = "UPDATE item SET queryable_ms = ?2 WHERE rid = ?1",
    [SQL_POSITION_FIND] = "SELECT offset FROM item_position "
                          "WHERE rid = ?1 AND topic_id = ?2 AND partition = ?3",
    [SQL_POSITION_KEEP] = "INSERT INTO item_position(rid, topic_id, partition, offset) "
                          "VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE "
                          "SET offset = max(offset, excluded.offset)",

    [SQL_FEATURE_CLEAR] = "DELETE FROM feature WHERE rid = ?1",
    [SQL_FEATURE_INSERT] = "INSERT INTO feature(rid, modality, encoder_id, dim, checksum, vec) "
                           "VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_EMBEDDING_CLEAR] = "DELETE FROM embedding WHERE rid = ?1 "
                            "AND model_id IN (SELECT model_id FROM model)",
    [SQL_EMBEDDING_INSERT] = "INSERT INTO embedding(model_id, rid, dim, checksum, state, seq, "
                             "updated_ms, vec) VALUES(?1, ?2, ?3, ?4, 'cold', ?5, ?6, ?7)",

    [SQL_USER_FIND] = "SELECT uid FROM user WHERE user_id = ?1",
    [SQL_USER_INSERT] = "INSERT INTO user(uid, user_id) VALUES(1 + max("
                        "coalesce((SELECT max(uid) FROM user), 0), coalesce((SELECT "
                        "CAST(value AS INTEGER) FROM meta WHERE name = 'last_uid'), 0)), ?1) "
                        "RETURNING uid",
    [SQL_INTERACTION_INSERT] = "INSERT INTO interaction(topic_id, partition, offset, uid, rid, "
                               "kind, weight, ts_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
                               "ON CONFLICT DO NOTHING",
    [SQL_DEAD_LETTER_INSERT] = "INSERT INTO dead_letter(" LETTER_COLUMNS ", checksum, item_id, "
                               "role, said_ms) "
                               "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14) "
                               "ON CONFLICT DO NOTHING",
    [SQL_DEAD_LETTER_RENEW] = "UPDATE dead_letter SET said_ms = coalesce(said_ms, ts_ms), "
                              "(reason, error, stage, ts_ms, item_id) = "
                              "(?2, ?3, ?4, ?5, ?6) WHERE id = ?1 "
                              "AND NOT (value IS x'' AND error = '" STORE_LETTER_ERASED "')",
    [SQL_OUTBOX_INSERT] = "INSERT INTO dlq_outbox(" LETTER_COLUMNS ", checksum, dlq_topic) "
                          "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
    [SQL_GAP_INSERT] = "INSERT INTO data_gap(topic, partition, from_offset, to_offset, ts_ms) "
                       "VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",

    [SQL_OFFSET_UPSERT] = "INSERT INTO kafka_offset(topic, partition, next_offset, updated_ms, "
                          "record_offset, record_digest) "
                          "VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE "
                          "SET next_offset = excluded.next_offset, "
                          "updated_ms = excluded.updated_ms, "
                          "record_offset = coalesce(excluded.record_offset, record_offset), "
                          "record_digest = coalesce(excluded.record_digest, record_digest) "
                          "WHERE excluded.next_offset > next_offset",
    [SQL_OFFSET_FIND] = "SELECT next_offset FROM kafka_offset "
                        "WHERE topic = ?1 AND partition = ?2",
    [SQL_OFFSET_RECORD] = "SELECT record_offset, record_digest FROM kafka_offset "
                          "WHERE topic = ?1 AND partition = ?2 AND record_digest IS NOT NULL",
    [SQL_ANEW_GAPS] = "INSERT INTO data_gap(topic, partition, from_offset, to_offset, ts_ms) "
                      "SELECT topic, partition, next_offset, next_offset, ?2 FROM kafka_offset "
                      "WHERE topic = ?1 ON CONFLICT DO NOTHING",
    [SQL_ANEW_TOPIC] = "UPDATE topic SET name = ?2 WHERE name = ?1",
    [SQL_ANEW_LETTERS] = "UPDATE dead_letter SET topic = ?2 WHERE topic = ?1",
    [SQL_ANEW_OFFSETS] = "UPDATE kafka_offset SET next_offset = 0, record_offset = NULL, "
                         "record_digest = NULL, updated_ms = ?2 WHERE topic = ?1",
    [SQL_OFFSET_OF_TOPIC] = "SELECT 1 FROM kafka_offset WHERE topic = ?1 LIMIT 1",
    [SQL_OFFSET_LIST] = "SELECT topic, partition, next_offset, updated_ms FROM kafka_offset "
                        "ORDER BY topic, partition",
    [SQL_META_FIND] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_META_INSERT] = "INSERT INTO meta(name, value) VALUES(?1, ?2)",

    [SQL_OUTBOX_LIST] =
        "SELECT " LETTER_COLUMNS ", checksum, id, NULL, dlq_topic, NULL, NULL FROM dlq_outbox "
        "WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_OUTBOX_DELETE] = "DELETE FROM dlq_outbox WHERE id = ?1",
    [SQL_DEAD_LETTER_LIST] = "SELECT " LETTER_COLUMNS
                             ", checksum, id, item_id, NULL, role, said_ms FROM dead_letter "
                             "WHERE (?1 = 0 OR id = ?1) AND (?2 IS NULL OR reason = ?2) "
                             "ORDER BY id DESC LIMIT ?3",
    [SQL_DEAD_LETTER_PURGE] = "DELETE FROM dead_letter WHERE CASE WHEN ?1 <> 0 THEN id = ?1 "
                              "ELSE (?2 IS NULL OR reason = ?2) AND (?3 IS NULL OR ts_ms < ?3) "
                              "END",
    [SQL_DEAD_LETTER_COUNT] = "SELECT reason, count(*) FROM dead_letter GROUP BY reason "
                              "ORDER BY 2 DESC, 1",

    [SQL_MODEL_INSERT] = "INSERT INTO model(parent_id, created_ms, origin, state, backbone, "
                         "fusion, file, sha256, encoder_ids, metrics) "
                         "VALUES(?1, ?2, ?3, 'candidate', ?4, ?5, ?6, ?7, ?8, ?9) "
                         "RETURNING model_id",
    [SQL_MODEL_GET] = "SELECT " MODEL_COLUMNS " FROM model m WHERE m.model_id = ?1",
    [SQL_MODEL_ACTIVE] = "SELECT " MODEL_COLUMNS " FROM active_model a JOIN model m "
                         "ON m.model_id = a.model_id",
    [SQL_MODEL_LIST] =
        "SELECT " MODEL_COLUMNS " FROM model m ORDER BY m.model_id DESC LIMIT ?1",
    /* The last one is the newest also when the clock went back: retention and rollback go by it. */
    [SQL_MODEL_RETIRE] = "UPDATE model SET state = 'retired', retired_ms = max(?2, "
                         "coalesce((SELECT max(retired_ms) FROM model) + 0.001, 0)) "
                         "WHERE state = 'active' AND model_id <> ?1",
    [SQL_MODEL_SET_ACTIVE] = "UPDATE model SET state = 'active', retired_ms = NULL "
                             "WHERE model_id = ?1",
    [SQL_MODEL_SET_STATE] = "UPDATE model SET state = ?2, metrics = coalesce(?3, metrics) "
                            "WHERE model_id = ?1 AND state IN ('candidate', 'rejected')",
    [SQL_ACTIVE_SET] = "INSERT INTO active_model(one, model_id, seq, activated_ms) "
                       "VALUES(1, ?1, ?2, ?3) ON CONFLICT DO UPDATE SET "
                       "model_id = excluded.model_id, seq = excluded.seq, "
                       "activated_ms = excluded.activated_ms",
    [SQL_FLIP_GONE] = "UPDATE item SET gone_seq = ?3, state = 'no_signal' WHERE rid IN ("
                      "SELECT o.rid FROM embedding o WHERE o.model_id = ?1 AND NOT EXISTS("
                      "SELECT 1 FROM embedding n WHERE n.model_id = ?2 AND n.rid = o.rid))",
    [SQL_FLIP_BACK] = "UPDATE item SET gone_seq = NULL WHERE gone_seq IS NOT NULL AND EXISTS("
                      "SELECT 1 FROM embedding e WHERE e.model_id = ?1 AND e.rid = item.rid)",
    [SQL_FLIP_STATE] = "UPDATE item SET state = e.state FROM embedding e "
                       "WHERE e.model_id = ?1 AND e.rid = item.rid AND item.state <> e.state",

    [SQL_ITEM_GET] = "SELECT i.rid, i.item_id, i.media_uri, i.sha256, i.title, i.description, "
                     "i.lang, i.tags, i.flags, i.state, i.deleted, t.name, i.partition, "
                     "i.offset, i.published_ms, i.received_ms, i.extracted_ms, i.queryable_ms, "
                     "i.extract_ms FROM item i LEFT JOIN topic t ON t.topic_id = i.topic_id "
                     "WHERE i.item_id = ?1",
    [SQL_EMBEDDING_GET] = "SELECT e.dim, e.vec, e.checksum, i.rid, i.item_id, e.state, "
                          "e.model_id, max(e.seq, a.seq), e.updated_ms FROM item i "
                          "CROSS JOIN active_model a CROSS JOIN embedding e "
                          "ON e.model_id = a.model_id AND e.rid = i.rid WHERE i.item_id = ?1",
    [SQL_FEATURE_GET] = "SELECT f.dim, f.vec, f.checksum, i.rid, f.encoder_id FROM item i "
                        "JOIN feature f ON f.rid = i.rid AND f.modality = ?2 "
                        "WHERE i.item_id = ?1",
    [SQL_MATRIX_SIZE] = "SELECT a.model_id, (SELECT count(*) FROM embedding e "
                        "WHERE e.model_id = a.model_id), (SELECT dim FROM embedding e "
                        "WHERE e.model_id = a.model_id LIMIT 1) FROM active_model a",
    [SQL_MATRIX_ROWS] = "SELECT e.dim, e.vec, e.checksum, e.rid, i.item_id, e.state = 'warm' "
                        "FROM embedding e "
                        "CROSS JOIN item i ON i.rid = e.rid WHERE e.model_id = ?1 "
                        "ORDER BY e.rid",
    [SQL_COUNT] = "SELECT (SELECT count(*) FROM item WHERE deleted = 0), "
                  "(SELECT count(*) FROM item WHERE deleted = 1), "
                  "(SELECT count(*) FROM embedding WHERE model_id = "
                  "(SELECT model_id FROM active_model)), "
                  "(SELECT count(*) FROM item WHERE deleted = 0 AND state = 'no_signal'), "
                  "(SELECT count(*) FROM item WHERE deleted = 0 AND state = 'no_features'), "
                  "(SELECT count(*) FROM user), (SELECT count(*) FROM interaction), "
                  "(SELECT count(*) FROM dead_letter), (SELECT count(*) FROM dlq_outbox), "
                  "(SELECT count(*) FROM data_gap), (SELECT count(*) FROM model), "
                  "(SELECT seq FROM counter), "
                  "(SELECT count(*) FROM item WHERE deleted = 0 AND state = 'cold'), "
                  "(SELECT count(*) FROM item WHERE deleted = 0 AND state = 'warm'), "
                  "(SELECT count(*) FROM item WHERE deleted = 0 AND state = 'no_features' "
                  "AND topic_id IS NULL)",

    [SQL_COUNT_LETTERS] = "SELECT (SELECT count(*) FROM dead_letter), "
                          "(SELECT count(*) FROM dlq_outbox), "
                          "(SELECT max(updated_ms) FROM kafka_offset)",

    [SQL_RETAIN_TOUCH] = "INSERT INTO touch(uid, rid, item_changed, ts_ms, edge_gone) "
                         "SELECT uid, rid, 0, ?3, 1 FROM interaction WHERE " OLDEST,
    [SQL_RETAIN_INTERACTION] = "DELETE FROM interaction WHERE (topic_id, partition, offset) IN "
                               "(SELECT topic_id, partition, offset FROM interaction "
                               "WHERE " OLDEST ")",
    [SQL_RETAIN_DEAD_LETTER] =
        "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter "
        "WHERE ts_ms < ?1 ORDER BY ts_ms LIMIT ?2)",
    [SQL_RETAIN_MODELS] =
        "SELECT model_id FROM (SELECT model_id, state, row_number() OVER "
        "(PARTITION BY state ORDER BY retired_ms DESC, model_id DESC) AS nth "
        "FROM model WHERE state IN ('retired', 'rejected')) AS m "
        "WHERE (state = 'rejected' OR nth > ?1) AND model_id <> ?2 AND ("
        "EXISTS(SELECT 1 FROM embedding e WHERE e.model_id = m.model_id) OR "
        "EXISTS(SELECT 1 FROM user_embedding u WHERE u.model_id = m.model_id) OR "
        "EXISTS(SELECT 1 FROM neighbour n WHERE n.model_id = m.model_id) OR "
        "EXISTS(SELECT 1 FROM neighbour_scale s WHERE s.model_id = m.model_id) OR "
        "EXISTS(SELECT 1 FROM model_training t WHERE t.model_id = m.model_id))"
        " ORDER BY model_id LIMIT 1",
    [SQL_RETAIN_EMBEDDING] = "DELETE FROM embedding WHERE model_id = ?1 AND rid IN ("
                             "SELECT rid FROM embedding WHERE model_id = ?1 LIMIT ?2)",
    [SQL_RETAIN_USER_EMBEDDING] =
        "DELETE FROM user_embedding WHERE model_id = ?1 AND uid IN ("
        "SELECT uid FROM user_embedding WHERE model_id = ?1 LIMIT ?2)",
    [SQL_RETAIN_NEIGHBOUR] = "DELETE FROM neighbour WHERE model_id = ?1 AND rid IN ("
                             "SELECT rid FROM neighbour WHERE model_id = ?1 LIMIT ?2)",
    [SQL_RETAIN_NEIGHBOUR_SCALE] =
        "DELETE FROM neighbour_scale WHERE model_id = ?1 AND rid IN ("
        "SELECT rid FROM neighbour_scale WHERE model_id = ?1 LIMIT ?2)",
    [SQL_RETAIN_TRAINING] = "DELETE FROM model_training WHERE model_id = ?1 AND ?2 > 0",
    [SQL_CHECK_FEATURE] = "SELECT dim, vec, checksum, rid FROM feature",
    [SQL_CHECK_EMBEDDING] = "SELECT dim, vec, checksum, rid FROM embedding",
    [SQL_CHECK_USER_EMBEDDING] = "SELECT dim, vec, checksum, uid FROM user_embedding",
    [SQL_CHECK_NEIGHBOUR] = "SELECT list, checksum, 0, rid FROM neighbour",
    [SQL_CHECK_DEAD_LETTER] = "SELECT key, value, headers, checksum, id FROM dead_letter",
    [SQL_CHECK_OUTBOX] = "SELECT key, value, headers, checksum, id FROM dlq_outbox",
    [SQL_SNAPSHOT] = "VACUUM INTO ?1",

    [SQL_DATASET_ITEMS] = "SELECT rid, item_id, topic_id IS NOT NULL FROM item "
                          "WHERE deleted = 0 ORDER BY rid",
    [SQL_DATASET_USERS] = "SELECT uid, user_id FROM user WHERE " STAYS " ORDER BY uid",
    [SQL_DATASET_PAIRS] =
        "SELECT x.uid, x.rid, " STRENGTH " AS strength FROM interaction x " KIND
        " GROUP BY x.uid, x.rid HAVING abs(strength) > 1e-9 "
        "ORDER BY x.uid, x.rid",
    [SQL_TIMED_PAIRS] = "SELECT x.uid, x.rid, min(CASE WHEN " COUNTS " > 0 THEN x.ts_ms END) "
                        "FROM interaction x JOIN item i ON i.rid = x.rid " KIND
                        " WHERE i.deleted = 0 GROUP BY x.uid, x.rid HAVING " IS_EDGE,
    [SQL_FEATURE_NEWEST] = "SELECT encoder_id, dim FROM feature WHERE modality = ?1 "
                           "ORDER BY rowid DESC LIMIT 1",
    [SQL_FEATURE_ROWS] = "SELECT dim, vec, checksum, rid FROM feature "
                         "WHERE modality = ?1 AND encoder_id = ?2 AND dim = ?3",
    [SQL_USER_ROWS] = "SELECT e.dim, e.vec, e.checksum, e.uid, u.user_id, 0 "
                      "FROM user_embedding e CROSS JOIN user u ON u.uid = e.uid WHERE "
                      "e.model_id = ?1 ORDER BY e.uid",
    [SQL_PUBLISH_ITEM] = "INSERT OR REPLACE INTO embedding(model_id, rid, dim, checksum, seq, "
                         "updated_ms, vec, state) SELECT ?1, rid, ?3, ?4, ?5, ?6, ?7, ?8 "
                         "FROM item WHERE rid = ?2 AND deleted = 0 "
                         "AND topic_id IS NOT NULL AND (?9 = 0 OR NOT EXISTS("
                         "SELECT 1 FROM embedding WHERE model_id = ?1 AND rid = ?2))",
    [SQL_PUBLISH_USER] = "INSERT OR REPLACE INTO user_embedding(model_id, uid, dim, checksum, "
                         "seq, updated_ms, vec) SELECT ?1, uid, ?3, ?4, ?5, ?6, ?7 FROM user "
                         "WHERE uid = ?2 AND " STAYS,
    [SQL_TRAINED_PUT] = "INSERT INTO model_training(model_id, checksum, pairs) "
                        "VALUES(?1, ?2, ?3)",
    [SQL_TRAINED_GET] = "SELECT pairs, checksum FROM model_training WHERE model_id = ?1",

    [SQL_REEXTRACT_FIND] = "SELECT rid FROM item WHERE item_id = ?1 AND deleted = 0",
    [SQL_REEXTRACT_FLAGS] = "UPDATE item SET flags = ?2 WHERE rid = ?1",
    [SQL_REEXTRACT_EMBEDDING] =
        "INSERT INTO embedding(model_id, rid, dim, checksum, state, seq, updated_ms, vec) "
        "VALUES(?1, ?2, ?3, ?4, 'cold', ?5, ?6, ?7) ON CONFLICT DO UPDATE SET "
        "dim = excluded.dim, checksum = excluded.checksum, seq = excluded.seq, "
        "updated_ms = excluded.updated_ms, vec = excluded.vec "
        "WHERE state = 'cold' AND (checksum <> excluded.checksum OR dim <> excluded.dim)",
    [SQL_SAMPLE] = "SELECT e.rid, i.item_id FROM (SELECT rid FROM embedding WHERE model_id = "
                   "(SELECT model_id FROM active_model) "
                   "ORDER BY (rid * 2654435761) % 4294967296, rid LIMIT ?1) e "
                   "CROSS JOIN item i ON i.rid = e.rid",
    [SQL_LATENCIES] =
        "SELECT queryable_ms - received_ms FROM item WHERE deleted = 0 "
        "AND queryable_ms >= received_ms AND topic_id NOT IN ("
        "SELECT topic_id FROM topic WHERE name GLOB 'import:*') ORDER BY rid DESC LIMIT ?1",
    [SQL_GAP_LIST] = "SELECT topic, partition, from_offset, to_offset, ts_ms FROM data_gap "
                     "ORDER BY ts_ms DESC, rowid DESC LIMIT ?1",
    [SQL_STALE_COUNT] =
        "SELECT count(*) FROM ("
        "SELECT f.rid FROM feature f CROSS JOIN item i ON i.rid = f.rid "
        "WHERE f.modality = 'visual' AND f.encoder_id <> ?1 AND i.media_uri IS NOT NULL UNION "
        "SELECT f.rid FROM feature f CROSS JOIN item i ON i.rid = f.rid "
        "WHERE f.modality = 'acoustic' AND f.encoder_id <> ?2 AND i.media_uri IS NOT NULL "
        "UNION "
        "SELECT f.rid FROM feature f CROSS JOIN item i ON i.rid = f.rid "
        "WHERE f.modality = 'textual' AND f.encoder_id <> ?3 AND " HAS_TEXT ")",
    [SQL_EXTRACTABLE] =
        "SELECT i.rid, i.item_id FROM item i WHERE i.rid > ?4 AND i.deleted = 0 "
        "AND (i.media_uri IS NOT NULL OR " HAS_TEXT ") AND (?1 IS NULL "
        "OR (i.media_uri IS NOT NULL AND EXISTS(SELECT 1 FROM feature f WHERE f.rid = i.rid "
        "AND ((f.modality = 'visual' AND f.encoder_id <> ?1) "
        "OR (f.modality = 'acoustic' AND f.encoder_id <> ?2)))) "
        "OR (" HAS_TEXT " AND EXISTS(SELECT 1 FROM feature f WHERE f.rid = i.rid "
        "AND f.modality = 'textual' AND f.encoder_id <> ?3))) ORDER BY i.rid LIMIT ?5",
    [SQL_DATASET_STAMPS] = "SELECT rid, checksum FROM feature ORDER BY rid, modality",
    [SQL_STAMP] = "SELECT checksum FROM feature WHERE rid = ?1 ORDER BY modality",
    [SQL_UNFUSED] = "SELECT DISTINCT f.rid FROM feature f WHERE f.rid > ?2 AND NOT EXISTS("
                    "SELECT 1 FROM embedding e WHERE e.model_id = ?1 AND e.rid = f.rid) "
                    "ORDER BY f.rid LIMIT ?3",
    [SQL_ITEM_FEATURES] = "SELECT dim, vec, checksum, modality, encoder_id FROM feature "
                          "WHERE rid = ?1 ORDER BY modality",
    [SQL_USER_VECTOR] = "SELECT e.dim, e.vec, e.checksum, u.uid FROM user u "
                        "CROSS JOIN active_model a CROSS JOIN user_embedding e "
                        "ON e.model_id = a.model_id AND e.uid = u.uid WHERE u.user_id = ?1",
    [SQL_USER_SEEN] = "SELECT DISTINCT x.rid FROM interaction x " KIND " WHERE x.uid = "
                      "(SELECT uid FROM user WHERE user_id = ?1) AND " COUNTS " <> 0 "
                      "ORDER BY x.rid",
    [SQL_USER_AGAINST] = "SELECT x.rid FROM interaction x " KIND " WHERE x.uid = "
                         "(SELECT uid FROM user WHERE user_id = ?1) "
                         "GROUP BY x.rid HAVING " STRENGTH " < -1e-9 ORDER BY x.rid",
    [SQL_CURVE_PUT] = "INSERT OR REPLACE INTO run_metric(model_id, epoch, name, value, ts_ms) "
                      "VALUES(?1, ?2, ?3, ?4, ?5)",
    [SQL_CURVE_GET] = "SELECT epoch, name, value FROM run_metric WHERE model_id = ?1 "
                      "ORDER BY epoch, name",
    [SQL_META_SET] = "INSERT INTO meta(name, value) VALUES(?1, ?2) ON CONFLICT DO UPDATE "
                     "SET value = excluded.value",
    [SQL_COUNT_ITEM_VECTORS] = "SELECT count(*) FROM embedding WHERE model_id = ?1",
    [SQL_MODEL_PREVIOUS] = "SELECT m.model_id FROM model m LEFT JOIN active_model a "
                           "WHERE m.state = 'retired' ORDER BY m.model_id > a.model_id, "
                           "m.retired_ms DESC, m.model_id DESC LIMIT 1",
    [SQL_COUNT_USER_VECTORS] = "SELECT count(*) FROM user_embedding WHERE model_id = ?1",
    [SQL_TOUCH_INSERT] = "INSERT INTO touch(uid, rid, item_changed, ts_ms) "
                         "VALUES(?1, ?2, ?3, ?4)",
    [SQL_TOUCH_COUNTED] =
        "INSERT INTO touch(uid, rid, item_changed, ts_ms) SELECT ?1, ?2, 0, ?3 "
        "FROM (SELECT ?4 AS kind, ?5 AS weight) x " KIND " WHERE " COUNTS " <> 0",
    [SQL_TOUCH_LIST] = "SELECT n, uid, rid, item_changed, ts_ms, edge_gone FROM touch "
                       "WHERE n > ?1 ORDER BY n LIMIT ?2",
    [SQL_TOUCH_BACKLOG] = "SELECT (SELECT n FROM touch ORDER BY n LIMIT 1), "
                          "(SELECT n FROM touch ORDER BY n DESC LIMIT 1), "
                          "(SELECT ts_ms FROM touch ORDER BY n LIMIT 1)",
    [SQL_TOUCH_DELETE] = "DELETE FROM touch WHERE n IN (SELECT n FROM touch WHERE n <= ?1 "
                         "ORDER BY n LIMIT ?2)",
    [SQL_TOUCH_LATER] = "SELECT 1 FROM touch WHERE n > ?1 AND rid = ?2 AND item_changed = 1",
    [SQL_ITEMS_OF_USER] = "SELECT x.rid FROM interaction x " KIND " WHERE x.uid = ?1 AND " LIVE
                          " GROUP BY x.rid HAVING " IS_EDGE " ORDER BY x.rid",
    [SQL_USERS_OF_ITEM] = "SELECT x.uid FROM interaction x " KIND " WHERE x.rid = ?1 "
                          "GROUP BY x.uid HAVING " IS_EDGE " ORDER BY x.uid",
    [SQL_DEGREE_OF_USER] = "SELECT count(*) FROM (SELECT 1 FROM interaction x " KIND
                           " WHERE x.uid = ?1 AND " LIVE " GROUP BY x.rid HAVING " IS_EDGE ")",
    [SQL_DEGREE_OF_ITEM] = "SELECT count(*) FROM (SELECT 1 FROM interaction x " KIND
                           " WHERE x.rid = ?1 GROUP BY x.uid HAVING " IS_EDGE ")",
    [SQL_RECOMPUTED_ITEM] = "SELECT i.deleted OR i.topic_id IS NULL, e.checksum, e.state "
                            "FROM item i "
                            "LEFT JOIN embedding e ON e.model_id = ?1 AND e.rid = i.rid "
                            "WHERE i.rid = ?2",
    [SQL_RECOMPUTED_USER] = "SELECT 0, checksum, NULL FROM user_embedding "
                            "WHERE model_id = ?1 AND uid = ?2",
    [SQL_PAIRS] = "SELECT x.uid, x.rid FROM interaction x " KIND " WHERE " LIVE
                  " GROUP BY x.uid, x.rid HAVING " IS_EDGE " ORDER BY x.uid, x.rid",
    [SQL_PAIRS_AFTER] =
        "SELECT x.uid, x.rid FROM interaction x " KIND " WHERE x.uid > ?1 AND " LIVE
        " GROUP BY x.uid, x.rid HAVING " IS_EDGE " ORDER BY x.uid, x.rid",
    [SQL_COLD_ITEMS] = "SELECT rid FROM embedding WHERE model_id = ?1 AND state = 'cold' "
                       "ORDER BY rid",

    /* forgetting */
    [SQL_FORGOTTEN_LATEST] = "SELECT max(forgotten_ms) FROM forgotten",
    [SQL_FORGOTTEN_FIND] = "SELECT hash, forgotten_ms, in_files, interactions, vectors, pairs, "
                           "letters, dropped, nth FROM forgotten WHERE hash = ?1",
    [SQL_FORGOTTEN_PUT] = "INSERT INTO forgotten(hash, forgotten_ms, nth) VALUES(?1, ?2, "
                          "coalesce((SELECT CAST(value AS INTEGER) FROM meta "
                          "WHERE name = 'forgettings'), 0) + 1) "
                          "ON CONFLICT DO UPDATE SET forgotten_ms = excluded.forgotten_ms, "
                          "nth = excluded.nth, in_files = 1, interactions = 0, vectors = 0, "
                          "pairs = 0, letters = 0",
    [SQL_FORGOTTEN_DROPPED] = "UPDATE forgotten SET dropped = dropped + 1 WHERE hash = ?1",
    [SQL_FORGOTTEN_ADD] = "UPDATE forgotten SET interactions = interactions + ?2, "
                          "vectors = vectors + ?3, pairs = pairs + ?4, letters = letters + ?5 "
                          "WHERE hash = ?1",
    [SQL_FORGOTTEN_LIST] = "SELECT hash, forgotten_ms, in_files, interactions, vectors, pairs, "
                           "letters, dropped FROM forgotten ORDER BY forgotten_ms, hash",
    [SQL_FORGOTTEN_FILES] = "UPDATE forgotten SET in_files = 0 WHERE in_files = 1",
    [SQL_FORGOTTEN_AGAIN] = "UPDATE forgotten SET in_files = 1",
    [SQL_FORGOTTEN_SUMS] = "SELECT count(*), coalesce(sum(dropped), 0), "
                           "(SELECT count(*) FROM erasing) FROM forgotten",
    [SQL_META_COUNT_UP] = "INSERT INTO meta(name, value) VALUES(?1, '1') ON CONFLICT DO UPDATE "
                          "SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
    [SQL_META_DROP] = "DELETE FROM meta WHERE name = ?1",
    [SQL_LAST_UID] = "INSERT INTO meta(name, value) VALUES('last_uid', CAST(?1 AS TEXT)) "
                     "ON CONFLICT DO UPDATE SET value = CAST(max(CAST(value AS INTEGER), "
                     "CAST(excluded.value AS INTEGER)) AS TEXT)",
    [SQL_ERASING_INSERT] = "INSERT INTO erasing(hash, user_id, uid) VALUES(?1, ?2, ?3)",
    [SQL_ERASING_NEXT] =
        "SELECT n, hash, user_id, uid, stage, at FROM erasing ORDER BY n LIMIT 1",
    [SQL_ERASING_OF] = "SELECT 1 FROM erasing WHERE hash = ?1",
    [SQL_ERASING_MOVE] = "UPDATE erasing SET stage = ?2, at = ?3 WHERE n = ?1",
    [SQL_ERASING_DELETE] = "DELETE FROM erasing WHERE n = ?1",
    /* A name that nobody has, until the row can go. */
    [SQL_ERASE_RENAME] = "UPDATE user SET user_id = 'forgotten:' || lower(hex(randomblob(16))) "
                         "WHERE uid = ?1",
    [SQL_ERASE_VECTORS] = "DELETE FROM user_embedding WHERE uid = ?1 "
                          "AND model_id IN (SELECT model_id FROM model)",
    [SQL_ERASE_TOUCH] = "INSERT INTO touch(uid, rid, item_changed, ts_ms, edge_gone) "
                        "SELECT DISTINCT NULL, rid, 0, ?3, 1 FROM (SELECT rid FROM interaction "
                        "WHERE " NEXT_OF_USER ")",
    [SQL_ERASE_INTERACTION] = "DELETE FROM interaction WHERE (topic_id, partition, offset) IN "
                              "(SELECT topic_id, partition, offset FROM interaction "
                              "WHERE " NEXT_OF_USER ")",
    [SQL_ERASE_TOUCHED] = "UPDATE touch SET uid = NULL WHERE uid = ?1",
    [SQL_ERASE_USER] = "DELETE FROM user WHERE uid = ?1",
    [SQL_ERASE_MODEL] = "SELECT model_id FROM model_training WHERE model_id > ?1 "
                        "ORDER BY model_id LIMIT 1",
    [SQL_ERASE_TRAINING] = "DELETE FROM model_training WHERE model_id = ?1",
    [SQL_TRAINED_CHECKSUM] = "UPDATE model_training SET checksum = ?2 WHERE model_id = ?1",
    [SQL_ERASE_LETTERS] =
        "SELECT id, key, value, headers, error, coalesce(role, '') = 'videos' "
        "FROM dead_letter WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_ERASE_OUTBOX] = "SELECT id, key, value, headers, error, 0 FROM dlq_outbox "
                         "WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_ERASED_LETTER] = "UPDATE dead_letter SET key = NULL, value = x'', headers = NULL, "
                          "item_id = NULL, error = ?2, checksum = ?3 WHERE id = ?1",
    [SQL_ERASED_OUTBOX] = "UPDATE dlq_outbox SET key = NULL, value = x'', headers = NULL, "
                          "error = ?2, checksum = ?3 WHERE id = ?1",
    [SQL_USERS_AFTER] = "SELECT uid, user_id FROM user WHERE uid > ?1 ORDER BY uid LIMIT ?2",
    [SQL_PAIRS_AGAINST] =
        "SELECT x.uid, x.rid FROM interaction x " KIND " GROUP BY x.uid, x.rid HAVING " STRENGTH
        " < -1e-9 ORDER BY x.uid, x.rid",
    [SQL_KINDS] = "SELECT kind, n, factor IS NOT NULL, coalesce(factor, "
                  "(SELECT factor FROM interaction_kind WHERE kind = ''), 1.0) "
                  "FROM interaction_kind WHERE kind = '' OR n > 0 OR factor IS NOT NULL "
                  "ORDER BY kind = '', n DESC, kind",
    [SQL_FACTORS_ARE_SET] =
        "SELECT 1 FROM interaction_kind WHERE kind = '' AND factor IS NOT NULL",
    [SQL_FACTORS_CLEAR] = "UPDATE interaction_kind SET was = factor, factor = NULL",
    [SQL_FACTOR_PUT] = "INSERT INTO interaction_kind(kind, n, factor) VALUES(?1, 0, ?2) "
                       "ON CONFLICT DO UPDATE SET factor = excluded.factor",
    [SQL_FACTORS_CHANGED] =
        "SELECT total(factor IS NOT was), total(n > 0 AND "
        "coalesce(factor, (SELECT factor FROM interaction_kind WHERE kind = ''), 1.0) <> "
        "coalesce(was, (SELECT was FROM interaction_kind WHERE kind = ''), 1.0)) "
        "FROM interaction_kind",
    [SQL_FACTORS_TOUCH] =
        "INSERT INTO touch(uid, rid, item_changed, ts_ms) SELECT x.uid, x.rid, 0, ?1 "
        "FROM interaction x " KIND " GROUP BY x.uid, x.rid "
        "HAVING (" IS_EDGE ") <> (sum(" COUNTS_BY("was") ") > 1e-9)",
    [SQL_FACTORS_TOUCH_FIRST] =
        "INSERT INTO touch(uid, rid, item_changed, ts_ms) SELECT x.uid, x.rid, 0, ?1 "
        "FROM interaction x " KIND " GROUP BY x.uid, x.rid HAVING NOT (" IS_EDGE ")",
    [SQL_PAIRS_COUNT] = "SELECT count(*), total(strength > 1e-9), total(strength < -1e-9), "
                        "total(n) FROM (SELECT " STRENGTH " AS strength, count(*) AS n "
                        "FROM interaction x " KIND " WHERE x.uid BETWEEN ?1 AND ?2 "
                        "GROUP BY x.uid, x.rid)",
    [SQL_USER_LAST] = "SELECT coalesce(max(uid), 0) FROM user",
    [SQL_USER_GONE] = "DELETE FROM user_embedding WHERE model_id = ?1 AND uid = ?2",
    [SQL_EMBEDDING_GONE] = "DELETE FROM embedding WHERE model_id = ?1 AND rid = ?2",
    [SQL_ITEM_LOST] = "UPDATE item SET state = 'no_signal', gone_seq = ?2 WHERE rid = ?1",

    /* neighbours and signals; a row that would not change is not written */
    [SQL_NEIGHBOUR_PUT] =
        "INSERT INTO neighbour(model_id, rid, checksum, unit, list) SELECT ?1, rid, ?3, ?6, ?4 "
        "FROM item WHERE rid = ?2 AND deleted = 0 ON CONFLICT DO UPDATE SET "
        "checksum = excluded.checksum, unit = excluded.unit, list = excluded.list "
        "WHERE ?5 = 0 AND (checksum <> excluded.checksum OR unit <> excluded.unit)",
    [SQL_NEIGHBOUR_SCALE_PUT] =
        "INSERT INTO neighbour_scale(model_id, rid, scale) SELECT ?1, rid, ?3 "
        "FROM item WHERE rid = ?2 AND deleted = 0 ON CONFLICT DO UPDATE SET "
        "scale = excluded.scale WHERE ?4 = 0 AND scale <> excluded.scale",
    [SQL_NEIGHBOUR_GONE] = "DELETE FROM neighbour WHERE model_id = ?1 AND rid = ?2",
    [SQL_NEIGHBOUR_SCALE_GONE] = "DELETE FROM neighbour_scale WHERE model_id = ?1 AND rid = ?2",
    [SQL_NEIGHBOUR_OF] = NEIGHBOUR_ROWS " AND x.rid = ?2 AND " LIVE,
    [SQL_NEIGHBOUR_ALL] = NEIGHBOUR_ROWS " AND " LIVE " ORDER BY x.rid",
    [SQL_NEIGHBOUR_SCALES] =
        "SELECT rid, scale FROM neighbour_scale WHERE model_id = ?1 ORDER BY rid",
    [SQL_NEIGHBOUR_COUNT] = "SELECT count(*) FROM neighbour_scale WHERE model_id = ?1",
    [SQL_SIGNAL_PUT] =
        "INSERT OR REPLACE INTO signal(model_id, name, weight) VALUES(?1, ?2, ?3)",
    [SQL_SIGNAL_LIST] = "SELECT name, weight FROM signal WHERE model_id = ?1 ORDER BY name",
};
