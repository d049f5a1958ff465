/* toy.c - runs of toy experiments as one page.                                 floor 9: report
 *
 * No script and no network: sections, tables, and pictures as data in the page. Verdicts are words, not colours alone; pictures have their captions
 * as texts for those who do not see them. Colours follow the reader's choice of light or dark; pictures keep a white ground, on which
 * they were drawn.
 *
 *   contents       a link to each experiment
 *   experiment     what it is about, findings (measured beside wanted), pictures, and what was set, so that it can be run again
 *
 * Texts of findings come from the library and are escaped all the same.
 */
#include <sonde/report.h>

#include "base/base.h"
#include "base/file.h"

#include <stdio.h>

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Toy Models of Superposition</title>\n"
    "<style>\n"
    ":root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1b; --soft: #666; --line: #ddd; --pass: #0b6b3a; --fail: "
    "#a51d1d;"
    " --differs: #7a5200 }\n"
    "@media (prefers-color-scheme: dark) { :root { --ground: #16181b; --ink: #e6e6e6; --soft: #a0a4a8; --line: #3a3d41;"
    " --pass: #6fd49b; --fail: #ff8a80; --differs: #e8b64a } }\n"
    "body { background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: "
    "2rem auto;"
    " padding: 0 1rem }\n"
    "h1 { font-size: 1.7rem } h2 { font-size: 1.3rem; margin-top: 3rem; border-top: 1px solid var(--line); padding-top: "
    "1.2rem }\n"
    "p.setup, figcaption, nav { color: var(--soft); font-size: .9rem }\n"
    "table { border-collapse: collapse; width: 100%; font-size: .92rem } td, th { text-align: left; vertical-align: top;"
    " padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line) }\n"
    "td.v { font-weight: 600; white-space: nowrap } .pass { color: var(--pass) } .fail { color: var(--fail) }"
    " .differs { color: var(--differs) }\n"
    "figure { margin: 1.5rem 0 } img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }\n"
    "nav a { color: inherit; margin-right: .9rem; white-space: nowrap }\n"
    "</style></head><body>\n<h1>Toy Models of Superposition</h1>\n"
    "<p>Small models that have more features than dimensions, trained here, beside what Elhage and others found in 2022 "
    "(<i>transformer-circuits.pub/2022/toy_model</i>). PASS and FAIL hold what was measured against a bound; DIFFERS marks "
    "what really is "
    "otherwise than the paper has it, and says why.</p>\n";

/* A text that stays as it is. */
static sonde_status put(sondep_writer *w, const char *text)
{
    return sondep_writer_put(w, text, strlen(text));
}

/* A text between tags. */
static sonde_status put_text(sondep_writer *w, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '<' || *c == '&')
            SONDE_TRY(put(w, *c == '<' ? "&lt;" : "&amp;"));
        else
            SONDE_TRY(sondep_writer_put(w, c, 1));
    }
    return SONDE_OK;
}

/* A text with something before and behind it. */
static sonde_status put_between(sondep_writer *w, const char *before, const char *text, const char *behind)
{
    SONDE_TRY(put(w, before));
    SONDE_TRY(put_text(w, text));
    return put(w, behind);
}

/* Links to all sections, with their worst verdicts. */
static sonde_status put_contents(sondep_writer *w, const sonde_toy_result *const *results, int64_t n_results)
{
    SONDE_TRY(put(w, "<nav>"));
    for (int64_t i = 0; i < n_results; i++) {
        const sonde_toy_experiment *e = sonde_toy_result_experiment(results[i]);
        SONDE_TRY(put_between(w, "<a href=\"#", e->name, "\">"));
        SONDE_TRY(put_between(w, "", e->name, "</a> "));
    }
    return put(w, "</nav>\n");
}

/* What was found, a row each. */
static sonde_status put_findings(sondep_writer *w, const sonde_toy_result *result)
{
    static const char *const cells[] = {"<td class=\"v pass\">PASS</td>", "<td class=\"v fail\">FAIL</td>",
                                        "<td class=\"v differs\">DIFFERS</td>"};
    int64_t n;
    const sonde_toy_finding *f = sonde_toy_result_findings(result, &n);

    SONDE_TRY(put(w, "<table><tr><th></th><th>what</th><th>measured</th><th>wanted</th></tr>\n"));
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(put(w, "<tr>"));
        /* a word, in a colour of its own */
        SONDE_TRY(put(w, cells[f[i].verdict]));
        SONDE_TRY(put_between(w, "<td>", f[i].name, ""));
        if (f[i].note[0] != '\0')
            SONDE_TRY(put_between(w, "<br><small>", f[i].note, "</small>"));
        SONDE_TRY(put_between(w, "</td><td>", f[i].measured, "</td>"));
        SONDE_TRY(put_between(w, "<td>", f[i].wanted, "</td></tr>\n"));
    }
    return put(w, "</table>\n");
}

/* A picture of the folder, as data; what it is, its ending says. */
static sonde_status put_picture(sondep_writer *w, const char *folder, const sonde_toy_picture *picture)
{
    const char *ending = strrchr(picture->file, '.');
    bool is_svg = ending != NULL && strcmp(ending, ".svg") == 0, is_pdf = ending != NULL && strcmp(ending, ".pdf") == 0;
    sondep_file file;
    char *path;
    sonde_status status;

    SONDE_TRY(put(w, "<figure>"));
    /* a browser shows no PDF in a page: it is linked to */
    if (is_pdf) {
        SONDE_TRY(put_between(w, "<a href=\"", picture->file, "\">"));
        SONDE_TRY(put_between(w, "", picture->file, "</a>"));
    } else {
        SONDE_TRY(put_between(w, "<img alt=\"", picture->caption,
                              is_svg ? "\" src=\"data:image/svg+xml;base64," : "\" src=\"data:image/png;base64,"));
        SONDE_TRY(sondep_path_join(&path, folder, picture->file));
        status = sondep_file_map(&file, path);
        sondep_free(path);
        SONDE_TRY(status);
        status = sondep_writer_put_base64(w, (const unsigned char *)file.data, file.bytes);
        sondep_file_release(&file);
        SONDE_TRY(status);
        SONDE_TRY(put(w, "\">"));
    }
    return put_between(w, "<figcaption>", picture->caption, "</figcaption></figure>\n");
}

/* One experiment. */
static sonde_status put_result(sondep_writer *w, const char *folder, const sonde_toy_result *result)
{
    const sonde_toy_experiment *e = sonde_toy_result_experiment(result);
    int64_t n;
    const sonde_toy_picture *pictures = sonde_toy_result_pictures(result, &n);

    SONDE_TRY(put_between(w, "<h2 id=\"", e->name, "\">"));
    SONDE_TRY(put_between(w, "", e->title, "</h2>\n"));
    SONDE_TRY(put_between(w, "<p>", e->about, "</p>\n"));
    SONDE_TRY(put_findings(w, result));
    for (int64_t i = 0; i < n; i++)
        SONDE_TRY(put_picture(w, folder, &pictures[i]));
    SONDE_TRY(put_between(w, "<p class=\"setup\"><code>sonde toy ", e->name, "</code>: "));
    return put_between(w, "", sonde_toy_result_setup(result), "</p>\n");
}

/* Written beside and renamed, as everything. */
sonde_status sonde_toy_report_write(const char *path, const char *folder, const sonde_toy_result *const *results,
                                    int64_t n_results)
{
    sondep_writer w = {.fd = -1};
    sonde_status status;

    SONDE_TRY_DONE(sondep_writer_open(&w, path));
    SONDE_TRY_DONE(put(&w, head));
    SONDE_TRY_DONE(put_contents(&w, results, n_results));
    for (int64_t i = 0; i < n_results; i++)
        SONDE_TRY_DONE(put_result(&w, folder, results[i]));
    SONDE_TRY_DONE(put(&w, "</body></html>\n"));
    status = sondep_writer_commit(&w);
done:
    sondep_writer_abort(&w);
    return status;
}
