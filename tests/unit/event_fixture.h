#ifndef MMF_TESTS_EVENT_FIXTURE_H
#define MMF_TESTS_EVENT_FIXTURE_H

/* What tests of events share. */

#include "daemon/event/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* By a settings file's text; event_rules_done. */
static inline struct event_rules rules_of(const char *conf)
{
    struct settings s = {0};
    struct event_rules rules;
    struct err err;

    if (settings_load_text("test.conf", conf, strlen(conf), &s, &err) != ERR_OK)
        fail_msg("%s: %s", conf, err.text);
    assert_int_equal(event_rules_open(&s, &rules, NULL), ERR_OK);
    settings_done(&s);
    return rules;
}

#endif
