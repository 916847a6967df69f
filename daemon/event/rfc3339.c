#include "daemon/event/rfc3339.h"

#include <time.h>

/* Exactly n digits at *text, which moves past them; -1 when there are fewer. */
static int digits(const char **text, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return -1;
        value = 10 * value + (**text - '0');
    }
    return value;
}

static bool one_of(const char **text, const char *allowed)
{
    for (; *allowed; allowed++) {
        if (**text == *allowed) {
            (*text)++;
            return true;
        }
    }
    return false;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static bool parse_date(const char **text, struct tm *tm)
{
    int year = digits(text, 4);
    if (year < 1 || !one_of(text, "-"))
        return false;
    int month = digits(text, 2);
    if (month < 1 || month > 12 || !one_of(text, "-"))
        return false;
    int day = digits(text, 2);
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    tm->tm_mday = day;
    return day >= 1 && day <= days_in_month(year, month);
}

static bool parse_clock(const char **text, struct tm *tm)
{
    tm->tm_hour = digits(text, 2);
    if (tm->tm_hour < 0 || tm->tm_hour > 23 || !one_of(text, ":"))
        return false;
    tm->tm_min = digits(text, 2);
    if (tm->tm_min < 0 || tm->tm_min > 59 || !one_of(text, ":"))
        return false;
    tm->tm_sec = digits(text, 2);
    return tm->tm_sec >= 0 && tm->tm_sec <= 60;
}

/* ".25" → 250000; nothing → 0. */
static bool parse_fraction(const char **text, int *ret_us)
{
    *ret_us = 0;
    if (!one_of(text, "."))
        return true;
    int digit = digits(text, 1);
    if (digit < 0)
        return false;
    for (int unit = 100000; digit >= 0; unit /= 10) {
        *ret_us += digit * unit;
        if (**text < '0' || **text > '9')
            break;
        digit = digits(text, 1);
    }
    return true;
}

/* "Z", "+01:00", "+0100", "+01"; nothing. */
static bool parse_zone(const char **text, int *ret_minutes, bool *ret_has_zone)
{
    *ret_minutes = 0;
    *ret_has_zone = **text != '\0';
    if (!*ret_has_zone || one_of(text, "Zz"))
        return true;
    int sign = **text == '-' ? -1 : 1;
    if (!one_of(text, "+-"))
        return false;
    int hours = digits(text, 2), minutes = 0;
    if (hours < 0 || hours > 23)
        return false;
    if (one_of(text, ":") || **text != '\0')
        minutes = digits(text, 2);
    *ret_minutes = sign * (60 * hours + minutes);
    return minutes >= 0 && minutes <= 59;
}

bool rfc3339_parse(const char *text, int64_t *ret_us, bool *ret_has_zone)
{
    struct tm tm = {0};
    int fraction_us, zone_minutes;
    if (!parse_date(&text, &tm) || !one_of(&text, "Tt ") || !parse_clock(&text, &tm) ||
        !parse_fraction(&text, &fraction_us) ||
        !parse_zone(&text, &zone_minutes, ret_has_zone) || *text != '\0')
        return false;
    int64_t seconds = (int64_t)timegm(&tm) - 60 * (int64_t)zone_minutes;
    *ret_us = seconds * 1000000 + fraction_us;
    return true;
}
