/* The negative controls of the kill test, linked into metammfd-faulty by --wrap: the daemon's
 * own code is the same, only the store's one transaction is taken apart. Never installed.
 *
 *   MMF_FAULT=offsets-first   the offsets are committed BEFORE the rows: a kill between the two
 *                             loses events
 *   MMF_FAULT=no-key          the offsets are committed after the rows, and the rows' idempotence
 *                             key (topic, partition, offset) is switched off by a topic name that
 *                             differs from run to run ("videos#4711"): a kill between the two
 *                             stores events twice
 *   MMF_FAULT=gap-memory      no control, but a fault of the machine: no memory for the ledger's
 *                             entry of the first gap; it must be recorded all the same
 *   MMF_FAULT=assign          no control either: librdkafka refuses the first incremental assignment.
 *                             A simulation, since 2.0.2 cannot do these: behind it stands an eager one
 *
 * Between the transactions lie 60 ms, so that a random kill often finds the gap. */

#include "daemon/pipeline/ledger.h"
#include "store/writing.h"

#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GAP_US 60000

int __real_store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                             const struct store_offset *offsets, size_t n_offsets,
                             struct store_batch_result *ret_result, struct err *err);
int __wrap_store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                             const struct store_offset *offsets, size_t n_offsets,
                             struct store_batch_result *ret_result, struct err *err);

/* The op's position with this run's topic name, copied because ops are constant. */
static struct store_position rename_topic(struct store_position pos)
{
    static char names[16][256];
    static size_t n;
    char name[256];
    snprintf(name, sizeof(name), "%.200s#%d", pos.topic, (int)getpid());
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (struct store_position){names[i], pos.partition, pos.offset};
    if (n == sizeof(names) / sizeof(names[0]))
        abort();
    memcpy(names[n], name, sizeof(name));
    return (struct store_position){names[n++], pos.partition, pos.offset};
}

union op_copy {
    struct store_video video;
    struct store_delete del;
    struct store_interaction interaction;
    struct store_dead_letter dead_letter;
};

static void copy_op(const struct store_op *op, struct store_op *ret_op, union op_copy *copy)
{
    *ret_op = *op;
    switch (op->kind) {
    case STORE_OP_VIDEO:
        copy->video = *op->video;
        copy->video.pos = rename_topic(copy->video.pos);
        ret_op->video = &copy->video;
        break;
    case STORE_OP_DELETE:
        copy->del = *op->del;
        copy->del.pos = rename_topic(copy->del.pos);
        ret_op->del = &copy->del;
        break;
    case STORE_OP_INTERACTION:
        copy->interaction = *op->interaction;
        copy->interaction.pos = rename_topic(copy->interaction.pos);
        ret_op->interaction = &copy->interaction;
        break;
    case STORE_OP_DEAD_LETTER:
        copy->dead_letter = *op->dead_letter;
        copy->dead_letter.pos = rename_topic(copy->dead_letter.pos);
        ret_op->dead_letter = &copy->dead_letter;
        break;
    case STORE_OP_GAP:
    case STORE_OP_FORGET:
    case STORE_OP_REEXTRACTION: /* has no position */
        break;
    }
}

static int write_offsets(struct store *st, const struct store_offset *offsets, size_t n_offsets,
                         struct err *err)
{
    struct store_batch_result ignored;
    return __real_store_write_batch(st, NULL, 0, offsets, n_offsets, &ignored, err);
}

static int offsets_first(struct store *st, const struct store_op *ops, size_t n_ops,
                         const struct store_offset *offsets, size_t n_offsets,
                         struct store_batch_result *ret_result, struct err *err)
{
    int status = write_offsets(st, offsets, n_offsets, err);
    usleep(GAP_US);
    return status != ERR_OK
               ? status
               : __real_store_write_batch(st, ops, n_ops, NULL, 0, ret_result, err);
}

static int no_key(struct store *st, const struct store_op *ops, size_t n_ops,
                  const struct store_offset *offsets, size_t n_offsets,
                  struct store_batch_result *ret_result, struct err *err)
{
    struct store_op *renamed = calloc(n_ops + 1, sizeof(*renamed));
    union op_copy *copies = calloc(n_ops + 1, sizeof(*copies));
    if (renamed == NULL || copies == NULL)
        abort();
    for (size_t i = 0; i < n_ops; i++)
        copy_op(&ops[i], &renamed[i], &copies[i]);
    int status = __real_store_write_batch(st, renamed, n_ops, NULL, 0, ret_result, err);
    free(copies);
    free(renamed);
    usleep(GAP_US);
    return status != ERR_OK ? status : write_offsets(st, offsets, n_offsets, err);
}

int __wrap_store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                             const struct store_offset *offsets, size_t n_offsets,
                             struct store_batch_result *ret_result, struct err *err)
{
    const char *fault = getenv("MMF_FAULT");
    if (fault != NULL && strcmp(fault, "offsets-first") == 0)
        return offsets_first(st, ops, n_ops, offsets, n_offsets, ret_result, err);
    if (fault != NULL && strcmp(fault, "no-key") == 0)
        return no_key(st, ops, n_ops, offsets, n_offsets, ret_result, err);
    return __real_store_write_batch(st, ops, n_ops, offsets, n_offsets, ret_result, err);
}

/* ---- the ledger -------------------------------------------------------------------------- */

int __real_ledger_assign(struct ledger *l, const char *topic, int32_t partition,
                         int64_t next_offset, uint32_t *ret_epoch, struct err *err);
int __wrap_ledger_assign(struct ledger *l, const char *topic, int32_t partition,
                         int64_t next_offset, uint32_t *ret_epoch, struct err *err);
bool __real_ledger_begin(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                         uint32_t *ret_epoch);
bool __wrap_ledger_begin(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                         uint32_t *ret_epoch);

/* What each partition was assigned at; the source's thread only. */
static struct {
    char topic[64];
    int32_t partition;
    int64_t next_offset;
} assigned[64];
static size_t n_assigned;

int __wrap_ledger_assign(struct ledger *l, const char *topic, int32_t partition,
                         int64_t next_offset, uint32_t *ret_epoch, struct err *err)
{
    if (n_assigned == sizeof(assigned) / sizeof(assigned[0]))
        abort();
    snprintf(assigned[n_assigned].topic, sizeof(assigned[0].topic), "%s", topic);
    assigned[n_assigned].partition = partition;
    assigned[n_assigned++].next_offset = next_offset;
    return __real_ledger_assign(l, topic, partition, next_offset, ret_epoch, err);
}

/* The first offset of a partition is further on than where it was assigned. */
static bool is_gap(const char *topic, int32_t partition, int64_t offset)
{
    for (size_t i = 0; i < n_assigned; i++)
        if (assigned[i].partition == partition && strcmp(assigned[i].topic, topic) == 0) {
            bool jumps = assigned[i].next_offset >= 0 && offset > assigned[i].next_offset;
            assigned[i].next_offset = -1;
            return jumps;
        }
    return false;
}

bool __wrap_ledger_begin(struct ledger *l, const char *topic, int32_t partition, int64_t offset,
                         uint32_t *ret_epoch)
{
    static bool failed;
    const char *fault = getenv("MMF_FAULT");
    if (fault != NULL && strcmp(fault, "gap-memory") == 0 && !failed &&
        is_gap(topic, partition, offset)) {
        failed = true;
        return false;
    }
    return __real_ledger_begin(l, topic, partition, offset, ret_epoch);
}

/* ---- librdkafka's assignments ------------------------------------------------------------------ */

const char *__real_rd_kafka_rebalance_protocol(rd_kafka_t *rk);
const char *__wrap_rd_kafka_rebalance_protocol(rd_kafka_t *rk);
rd_kafka_error_t *
__wrap_rd_kafka_incremental_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list);
rd_kafka_error_t *
__wrap_rd_kafka_incremental_unassign(rd_kafka_t *rk,
                                     const rd_kafka_topic_partition_list_t *list);

const char *__wrap_rd_kafka_rebalance_protocol(rd_kafka_t *rk)
{
    const char *fault = getenv("MMF_FAULT");
    return fault != NULL && strcmp(fault, "assign") == 0
               ? "COOPERATIVE"
               : __real_rd_kafka_rebalance_protocol(rk);
}

rd_kafka_error_t *
__wrap_rd_kafka_incremental_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list)
{
    static bool refused;
    if (!refused) {
        refused = true;
        return rd_kafka_error_new(RD_KAFKA_RESP_ERR__STATE, "refused by the test");
    }
    (void)rd_kafka_assign(rk, list);
    return NULL;
}

rd_kafka_error_t *
__wrap_rd_kafka_incremental_unassign(rd_kafka_t *rk,
                                     const rd_kafka_topic_partition_list_t *list)
{
    (void)list;
    (void)rd_kafka_assign(rk, NULL);
    return NULL;
}
