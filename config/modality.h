#ifndef MMF_CONFIG_MODALITY_H
#define MMF_CONFIG_MODALITY_H

/* The three modalities, in the order of the model's input columns: x = [visual ‖ acoustic ‖
 * textual]. The order is part of every model file and store. */

enum modality { MODALITY_VISUAL, MODALITY_ACOUSTIC, MODALITY_TEXTUAL };
#define MODALITY_COUNT 3

/* "visual", "acoustic", "textual" */
const char *modality_name(enum modality m);

/* A presence mask has bit (1u << enum modality) set for each modality that an item has. */
#define MODALITY_BIT(m) (1u << (m))
#define MODALITY_ALL    ((1u << MODALITY_COUNT) - 1u)

#endif
