#ifndef MMF_DAEMON_PIPELINE_UPDATE_H
#define MMF_DAEMON_PIPELINE_UPDATE_H

/* A video.updated names some fields; the others come from the stored row. Media is named by
 * media_uri or sha256: when neither changes what is stored, the stored picture and sound
 * features are kept (item.keeps_media, item.features) and only the text is described again,
 * unless they came from another encoder than the workers' or are damaged; then the whole item is extracted.
 *
 * Call only after the previous event of the item was committed; a second call, for an item that is
 * tried again, costs nothing, for until that is committed the row stays. An item that is not stored, or
 * deleted, becomes one with just the fields that the update names. */

#include "config/err.h"
#include "daemon/event/item.h"
#include "store/store.h"

/* encoders (MODALITY_COUNT): of the workers, by modality. */
int update_complete(struct item *item, struct store *reader,
                    const struct encoder_identity *encoders, struct err *err);

/* The worker's features become the item's; for an update of text only, its text beside the stored
 * rest. media_err: of the result they came with. ERR_RETRY when memory is out. ERR_SKIP for a
 * re-extraction whose media gives nothing any more: what is stored of it must not be lost to that. */
int update_adopt(struct item *item, const struct features *from, const struct err *media_err,
                 struct err *err);

#endif
