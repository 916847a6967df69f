#include "config/text.h"
#include "daemon/cli/report/page.h"
#include "daemon/cli/report/report.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* Colours are variables, light and dark; series differ in dash and marker as well. Text inside
 * drawings is in the drawing's units: on a phone, where drawings shrink, it is made larger. */
static const char sheet[] =
    ":root{color-scheme:light dark;--paper:#f7f6f3;--card:#fff;--ink:#1b1d22;--soft:#5b616d;"
    "--rule:#dedcd6;--grid:#eae8e3;--a:#0b63b0;--b:#b85600;--c:#0b7351;--bad:#b3261e;--on:#"
    "e8f3ea}"
    "@media(prefers-color-scheme:dark){:root{--paper:#121418;--card:#1a1d23;--ink:#e9e7e2;"
    "--soft:#a3a9b5;--rule:#333842;--grid:#272b33;--a:#6db3f2;--b:#f2a65e;--c:#5acb9e;"
    "--bad:#ff8f86;--on:#1f3327}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 "
    "system-ui,-apple-system,"
    "\"Segoe UI\",Roboto,\"Helvetica Neue\",\"Noto Sans\",sans-serif;"
    "font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}"
    "header,main,footer{max-width:76rem;margin:0 auto;padding:0 clamp(1rem,4vw,2.5rem)}"
    "header{padding-top:clamp(1.5rem,5vw,3rem)}"
    "footer{padding-top:1.5rem;padding-bottom:3rem;color:var(--soft);font-size:.875rem}"
    "h1{font-size:clamp(1.5rem,4vw,2rem);line-height:1.2;letter-spacing:-.02em;margin:0}"
    "h2{font-size:1.125rem;line-height:1.3;letter-spacing:-.01em;margin:0}"
    "p{margin:.35rem 0 0;max-width:66ch}.soft{color:var(--soft)}"
    "section>p,figcaption{color:var(--soft);font-size:.9375rem}"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;"
    "margin:1.5rem 0}"
    "dl div{background:var(--card);border:1px solid var(--rule);border-radius:.75rem;"
    "padding:.75rem 1rem;display:flex;flex-direction:column}"
    "dt{order:2;color:var(--soft);font-size:.8125rem;line-height:1.35}"
    "dd{margin:0;font-size:1.375rem;line-height:1.3;font-weight:600;letter-spacing:-.01em}"
    "main{display:grid;gap:1.25rem;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,29rem),1fr))}"
    "section{background:var(--card);border:1px solid var(--rule);border-radius:.75rem;"
    "padding:clamp(1rem,3vw,1.5rem);min-width:0}"
    ".wide{grid-column:1/-1}figure{margin:1rem 0 0}"
    "svg{display:block;width:100%;max-width:42rem;height:auto;overflow:visible}"
    "svg text{font:12px system-ui,-apple-system,\"Segoe "
    "UI\",Roboto,sans-serif;fill:var(--soft)}"
    "svg .strong{fill:var(--ink)}"
    "@media(max-width:36rem){svg text{font-size:16.5px}}"
    ".grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--rule);stroke-width:1}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".a{stroke:var(--a);fill:var(--a)}.b{stroke:var(--b);fill:var(--b);stroke-dasharray:7 4}"
    ".c{stroke:var(--c);fill:var(--c);stroke-dasharray:2 4}.dot{stroke-dasharray:none}"
    ".ring{fill:var(--card);stroke:var(--bad);stroke-width:2;stroke-dasharray:none}"
    ".bar{stroke:none;stroke-dasharray:none}.mark{stroke:var(--soft);stroke-dasharray:3 3}"
    ".warm{fill:var(--a);fill-opacity:.6}"
    ".cold{fill:none;stroke:var(--b);stroke-width:1.4}"
    ".legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;"
    "margin:.75rem 0;font-size:.875rem;color:var(--soft)}"
    ".legend svg{display:inline-block;width:2rem;height:.75rem;margin-right:.4rem;"
    "vertical-align:baseline}"
    "details{margin-top:1rem;font-size:.875rem}summary{cursor:pointer;color:var(--soft)}"
    ".scroll{overflow-x:auto;margin-top:.75rem;max-height:28rem;overflow-y:auto}"
    "table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.4}"
    "th,td{text-align:left;padding:.45rem 1.25rem .45rem 0;border-bottom:1px solid var(--rule);"
    "vertical-align:top}"
    "th{font-weight:600;color:var(--soft);white-space:nowrap}"
    "td.n,th.n{text-align:right;white-space:nowrap}"
    "th.n:last-child,td.n:last-child{padding-right:0}"
    "td.t{white-space:nowrap}td.id{overflow-wrap:anywhere;min-width:10rem}td.why{min-width:"
    "16rem}"
    "tr.on td{background:var(--on)}tr.on td:first-child{box-shadow:inset 3px 0 "
    "var(--c)}.no{color:var(--bad)}"
    ".empty{border:1px dashed var(--rule);border-radius:.5rem;padding:1rem;margin-top:1rem;"
    "color:var(--soft);max-width:none}"
    "code{font:.9em ui-monospace,\"SF Mono\",Menlo,Consolas,monospace}"
    "@media print{body{background:#fff}section{break-inside:avoid}}";

void report_text(FILE *out, const char *text)
{
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        char shown;

        n = text_step(text, left, &shown);
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            if (shown)
                fputc(shown, out);
            else
                fwrite(text, 1, n, out);
        }
    }
}

void report_head(FILE *out, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
          "style-src 'unsafe-inline'\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
          out);
    report_text(out, title);
    fprintf(out, "</title>\n<style>%s</style></head>\n<body>\n", sheet);
}

double report_real(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);

    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

void report_open(FILE *out, const char *heading, bool wide)
{
    fprintf(out, "<section%s><h2>%s</h2>\n", wide ? " class=\"wide\"" : "", heading);
}

void report_empty(FILE *out, const char *sentence)
{
    fprintf(out, "<p class=\"empty\">%s</p>\n", sentence);
}

void report_table_open(FILE *out, bool folded, const char *columns)
{
    fprintf(out,
            "%s<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Numbers\">"
            "<table><thead><tr>%s</tr></thead><tbody>\n",
            folded ? "<details><summary>Numbers</summary>" : "", columns);
}

void report_table_close(FILE *out, bool folded)
{
    fprintf(out, "</tbody></table></div>%s\n", folded ? "</details>" : "");
}

void report_cell(FILE *out, const char *style, const char *text)
{
    fprintf(out, "<td class=\"%s\"><bdi>", style);
    report_text(out, text);
    fputs("</bdi></td>", out);
}

void report_cell_real(FILE *out, const char *format, double v)
{
    char text[32];

    snprintf(text, sizeof(text),
             format[0] == '4'   ? "%.4f"
             : format[0] == '1' ? "%.1f"
                                : "%.0f",
             v);
    fprintf(out, "<td class=\"n\">%s</td>", isfinite(v) ? text : "–");
}
