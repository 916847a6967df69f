#include "fusion/model/fuse_plan.h"

#include "fusion/model/internal.h"

#include <assert.h>
#include <stdlib.h>

/* The authors' form sums C (R·S, 1) over the rank before the product, so that every rank has the
 * gate c_k = Σ_r C[r·S + k]; repeating that sum in every row of a (R, S) matrix is the same
 * model. The file keeps all R·S values, which training and `metammf model export` need. */
static float *expand_C(const struct model *m, const struct model_tensor *C)
{
    const size_t R = (size_t)m->shape.R, S = (size_t)m->shape.S;
    float *out = gemm_alloc(R * S);

    if (out == NULL)
        return NULL;
    for (size_t k = 0; k < S; k++) {
        double sum = 0.0;

        for (size_t r = 0; r < R; r++)
            sum += (double)C->data[r * S + k];
        for (size_t r = 0; r < R; r++)
            out[r * S + k] = m->shape.cp_collapsed ? (float)sum : C->data[r * S + k];
    }
    return out;
}

static int pack_cp(const struct model *m, int n, struct fuse_layer *l, struct err *err)
{
    const size_t R = (size_t)m->shape.R;
    int status = gemm_new(R, l->out, NULL, &l->B, err);

    if (status != ERR_OK)
        return status;
    gemm_pack(&l->B, 0, model_tensor(m, "layer_%d.B", n)->data, l->out, l->out, 1);
    gemm_pack(&l->W, l->out, model_tensor(m, "layer_%d.A", n)->data, R, R, 1);
    l->C = expand_C(m, model_tensor(m, "layer_%d.C", n));
    return l->C != NULL ? ERR_OK : err_oom(err, "packed weights of the model");
}

static int pack_layer(const struct model *m, int n, struct fuse_plan *p, struct err *err)
{
    struct fuse_layer *l = &p->layers[n - 1];
    const enum fusion_kind kind = m->shape.fusion;
    int status;

    l->in = (size_t)m->shape.width[n - 1];
    l->out = (size_t)m->shape.width[n];
    l->factors = kind == FUSION_CP ? p->R : kind == FUSION_DENSE ? p->S * l->out : 0;
    status = gemm_new(l->in, l->out + l->factors + (n == 1 ? p->H : 0), NULL, &l->W, err);
    if (status != ERR_OK)
        return status;
    if (gemm_padded(&l->W) > p->columns)
        p->columns = gemm_padded(&l->W);
    if (l->out > p->hidden)
        p->hidden = l->out;
    gemm_pack(&l->W, 0, model_tensor(m, "layer_%d.M_1", n)->data, l->out, l->out, 1);
    if (n == 1 && p->H > 0)
        gemm_pack(&l->W, l->out + l->factors, model_tensor(m, "mlp_signal.0.weight")->data,
                  p->H, 1, l->in);
    for (size_t k = 0; kind == FUSION_DENSE && k < p->S; k++)
        gemm_pack(&l->W, l->out * (k + 1),
                  model_tensor(m, "layer_%d.T_1", n)->data + k * l->in * l->out, l->out, l->out,
                  1);
    return kind == FUSION_CP ? pack_cp(m, n, l, err) : ERR_OK;
}

static int pack_content(const struct model *m, struct fuse_plan *p, struct err *err)
{
    const struct model_tensor *P = model_tensor(m, "mmf.content");
    int status = gemm_new(P->shape[0], P->shape[1], NULL, &p->content, err);

    if (status != ERR_OK)
        return status;
    gemm_pack(&p->content, 0, P->data, P->shape[1], P->shape[1], 1);
    if (gemm_padded(&p->content) > p->columns)
        p->columns = gemm_padded(&p->content);
    return ERR_OK;
}

static int pack_columns(const struct model *m, struct fuse_plan *p, struct err *err)
{
    struct columns columns;

    signals_columns(m, &columns);
    int status = columns_plan_new(&columns, &p->columns_plan, err);
    if (status != ERR_OK)
        return status;
    if (columns_plan_parts(p->columns_plan) > p->columns)
        p->columns = columns_plan_parts(p->columns_plan);
    if (columns_plan_width(p->columns_plan) > p->hidden)
        p->hidden = columns_plan_width(p->columns_plan);
    return ERR_OK;
}

static int pack_mapping(const struct model *m, struct fuse_plan *p, struct err *err)
{
    struct mapping mapping;

    signals_mapping(m, &mapping);
    int status = mapping_plan_new(&mapping, &p->mapping_plan, err);
    if (status != ERR_OK)
        return status;
    if (mapping_plan_width(p->mapping_plan) > p->columns)
        p->columns = mapping_plan_width(p->mapping_plan);
    return ERR_OK;
}

static int pack_rest(const struct model *m, struct fuse_plan *p, struct err *err)
{
    const struct backbone *b = backbone_of(m->shape.backbone);
    int status = ERR_OK;

    if (p->H > 0) {
        p->b0 = model_tensor(m, "mlp_signal.0.bias")->data;
        p->b2 = model_tensor(m, "mlp_signal.2.bias")->data;
        status = gemm_new_rows(model_tensor(m, "mlp_signal.2.weight")->data, p->S, p->H, p->H,
                               &p->W2, err);
    }
    if (status == ERR_OK && b->pack != NULL)
        status = b->pack(m, p, err);
    if (m->shape.has_statistics) {
        p->mean = model_tensor(m, "mmf.mean")->data;
        p->std = model_tensor(m, "mmf.std")->data;
    }
    if (status == ERR_OK && m->shape.content_dim > 0)
        status = pack_content(m, p, err);
    if (status == ERR_OK && m->shape.column_dim > 0)
        status = pack_columns(m, p, err);
    if (status == ERR_OK && m->shape.mapped_dim > 0)
        status = pack_mapping(m, p, err);
    /* h rows are written in whole panels, and hold the item embedding before the backbone and the
     * published one after it. */
    if (p->n_layers > 0)
        p->hidden +=
            (size_t)(m->shape.content_dim + m->shape.id_dim) + gemm_kernel_best()->width;
    if (model_has_features(&m->shape) && (size_t)m->shape.D > p->hidden)
        p->hidden = (size_t)m->shape.D;
    return status;
}

int model_prepare(struct model *m, struct err *err)
{
    const struct model_tensor *w0 = model_tensor(m, "mlp_signal.0.weight");
    struct fuse_plan *p = calloc(1, sizeof(*p));
    int status = ERR_OK;

    assert(m->plan == NULL);
    if (p == NULL)
        return err_oom(err, "packed weights of the model");
    p->S = (size_t)m->shape.S;
    p->R = (size_t)m->shape.R;
    p->H = w0 != NULL ? w0->shape[0] : 0;
    p->n_layers = (size_t)m->shape.L;
    for (int n = 1; n <= m->shape.L && status == ERR_OK; n++)
        status = pack_layer(m, n, p, err);
    if (status == ERR_OK)
        status = pack_rest(m, p, err);
    if (status == ERR_OK)
        status = similar_new(m, &p->similar, err);
    if (status != ERR_OK) {
        fuse_plan_free(p);
        return status;
    }
    m->plan = p;
    return ERR_OK;
}

void fuse_plan_free(struct fuse_plan *plan)
{
    if (plan == NULL)
        return;
    for (size_t i = 0; i < plan->n_layers; i++) {
        gemm_done(&plan->layers[i].W);
        gemm_done(&plan->layers[i].B);
        free(plan->layers[i].C);
    }
    similar_free(plan->similar);
    gemm_done(&plan->W2);
    gemm_done(&plan->content);
    columns_plan_free(plan->columns_plan);
    mapping_plan_free(plan->mapping_plan);
    for (int i = 0; i < FUSE_OWN_MAX; i++)
        gemm_done(&plan->own[i].W);
    free(plan);
}
