#include "film.h"

#include "extract/media/scene.h"

#include <stdio.h>
#include <stdlib.h>

#include <libavutil/frame.h>

#define FILMS_MAX 4
#define APART     16      /* scene numbers between two films */
#define EARLY     0.0175  /* three frames and a half: see film.h */
#define PANNED_US 1000000 /* of a scene, so that it moves slowly */

static struct scene *scenes[FILMS_MAX][FILM_SCENES];

static int part(double at)
{
    int n = (int)(at * FILM_SCENES);
    return n < 0 ? 0 : n < FILM_SCENES ? n : FILM_SCENES - 1;
}

static struct scene *scene_of(unsigned number, int n)
{
    struct scene **scene = &scenes[number % FILMS_MAX][n];
    struct err err;
    if (*scene == NULL && scene_new(number * APART + (unsigned)n, number + 1, FILM_WIDTH,
                                    FILM_HEIGHT, scene, &err) != ERR_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return *scene;
}

void film_draw(unsigned number, double at, AVFrame *ret_frame)
{
    scene_draw(scene_of(number, part(at + EARLY)), (int64_t)(at * PANNED_US), ret_frame->data,
               ret_frame->linesize);
}

float film_sound(unsigned number, double at, int64_t sample, int rate_hz)
{
    return scene_sound(number * APART + (unsigned)part(at), number + 1, sample, rate_hz, -3);
}

void film_end(void)
{
    for (int f = 0; f < FILMS_MAX; f++)
        for (int n = 0; n < FILM_SCENES; n++) {
            scene_free(scenes[f][n]);
            scenes[f][n] = NULL;
        }
}
