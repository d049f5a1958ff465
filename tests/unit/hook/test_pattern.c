/* What a hook pattern names, and what is refused. */
#include <sonde/hook.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 12, PER_LAYER = 9, N = 2 + LAYERS * PER_LAYER + 3 };

static char names[N][64];
static sonde_hook_point points[N];

/* The names that the tests need of a model of 12 layers; hook_result fires only when it is named. */
static int make_points(void **state)
{
    static const char *const in_block[PER_LAYER] = {"hook_resid_pre",   "ln1.hook_scale",        "attn.hook_k",
                                                    "attn.hook_q",      "attn.hook_attn_scores", "attn.hook_pattern",
                                                    "attn.hook_result", "mlp.hook_pre",          "hook_resid_post"};
    int n = 0;
    (void)state;
    snprintf(names[n++], 64, "hook_embed");
    snprintf(names[n++], 64, "hook_pos_embed");
    for (int layer = 0; layer < LAYERS; layer++)
        for (int i = 0; i < PER_LAYER; i++)
            snprintf(names[n++], 64, "blocks.%d.%s", layer, in_block[i]);
    snprintf(names[n++], 64, "ln_final.hook_scale");
    snprintf(names[n++], 64, "ln_final.hook_normalized");
    snprintf(names[n++], 64, "unembed.hook_out");
    for (int i = 0; i < N; i++)
        points[i] = (sonde_hook_point){.name = names[i], .fires_by_default = strstr(names[i], "hook_result") == NULL};
    return n == N ? 0 : -1;
}

/* The names that a pattern matches, joined by spaces; "!" and the message where it is refused. */
static const char *matched(const char *pattern)
{
    static char text[N * 64];
    bool hit[N] = {false};
    size_t used = 0;

    text[0] = '\0';
    if (sonde_hook_match(hit, pattern, points, N) != SONDE_OK) {
        snprintf(text, sizeof text, "!%s", sonde_last_error()->message);
        return text;
    }
    for (int i = 0; i < N; i++)
        if (hit[i])
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", names[i]);
    return text;
}

static int count(const char *pattern)
{
    bool hit[N] = {false};
    int n = 0;
    assert_int_equal(sonde_hook_match(hit, pattern, points, N), SONDE_OK);
    for (int i = 0; i < N; i++)
        n += hit[i];
    return n;
}

static void a_name_matches_itself_alone(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++)
        assert_string_equal(matched(names[i]), names[i]);
}

static void globs_cross_dots(void **state)
{
    (void)state;
    assert_int_equal(count("blocks.*.hook_resid_post"), LAYERS);
    assert_int_equal(count("blocks.1*.hook_resid_post"), 3); /* 1, 10, 11 */
    assert_int_equal(count("blocks.?.hook_resid_post"), 10);
    assert_int_equal(count("*hook_scale"), LAYERS + 1);
    assert_int_equal(count("blocks*pre"), 2 * LAYERS); /* resid_pre and mlp.hook_pre */
}

static void braces_are_alternatives_and_may_hold_dots(void **state)
{
    (void)state;
    assert_string_equal(matched("blocks.{0,5}.attn.hook_q"), "blocks.0.attn.hook_q blocks.5.attn.hook_q");
    assert_string_equal(matched("{hook_embed,blocks.2.attn.hook_k}"), "hook_embed blocks.2.attn.hook_k");
    assert_string_equal(matched("blocks.{1,{2,3}}.attn.hook_{k,q}"),
                        "blocks.1.attn.hook_k blocks.1.attn.hook_q blocks.2.attn.hook_k blocks.2.attn.hook_q "
                        "blocks.3.attn.hook_k blocks.3.attn.hook_q");
    assert_int_equal(count("blocks.{1,2}.{ln1.hook_scale,attn.hook_*}"), 2 * 5);
}

static void what_does_not_fire_by_default_must_be_named(void **state)
{
    (void)state;
    assert_int_equal(count("*"), N - LAYERS);
    assert_int_equal(count("blocks.0.attn.*"), 4);
    assert_int_equal(count("blocks.*.attn.hook_result"), LAYERS);
    assert_int_equal(count("*hook_result"), LAYERS);
    assert_int_equal(count("blocks.3.attn.hook_res*"), 1); /* it matches nothing else */
}

/* Lines of tests/golden/hook_names.txt whose point the model has. */
static void shorthand_is_that_of_transformer_lens(void **state)
{
    FILE *file = fopen("tests/golden/hook_names.txt", "r");
    char line[256], word[64], name[64];
    int n_checked = 0;

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        bool is_there = false;
        if (line[0] == '#' || sscanf(line, "%63s %63s", word, name) != 2)
            continue;
        for (int i = 0; i < N; i++)
            is_there = is_there || strcmp(names[i], name) == 0;
        if (is_there) {
            assert_string_equal(matched(word), name);
            n_checked++;
        }
    }
    fclose(file);
    assert_true(n_checked > 20);
}

static void shorthand_of_our_own(void **state)
{
    (void)state;
    assert_string_equal(matched("resid_post5"), "blocks.5.hook_resid_post");
    assert_string_equal(matched("resid_pre0"), "blocks.0.hook_resid_pre");
    assert_string_equal(matched("attn_scores2"), "blocks.2.attn.hook_attn_scores");
    assert_string_equal(matched("{k1,q2}"), "blocks.1.attn.hook_k blocks.2.attn.hook_q");
}

static void what_matches_nothing_is_an_error_with_the_nearest_name(void **state)
{
    (void)state;
    assert_string_equal(matched("blocks.3.hook_resid_pst"),
                        "!hook pattern 'blocks.3.hook_resid_pst' matches none of the model's 113 hook points");
    assert_non_null(strstr(sonde_last_error()->hint, "'blocks.3.hook_resid_post'"));
    assert_int_equal(matched("blocks.{0,12}.hook_resid_post")[0], '!'); /* one alternative that is not there */
    assert_int_equal(matched("")[0], '!');
    assert_int_equal(matched("k12")[0], '!');
    assert_non_null(strstr(sonde_last_error()->hint, ".attn.hook_k'"));
}

static void malformed_braces_are_named(void **state)
{
    (void)state;
    assert_string_equal(matched("blocks.{0,1.hook_resid_post"),
                        "!'{' without '}' in hook pattern 'blocks.{0,1.hook_resid_post'");
    assert_string_equal(matched("blocks.0}.hook_resid_post"),
                        "!'}' without '{' in hook pattern 'blocks.0}.hook_resid_post'");
}

static void exploding_braces_are_stopped(void **state)
{
    char pattern[512] = "";
    (void)state;
    for (int i = 0; i < 20; i++)
        strcat(pattern, "{a,b}");
    assert_string_equal(matched(pattern), "!a pattern stands for more than 4096 texts");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_matches_itself_alone),
        cmocka_unit_test(globs_cross_dots),
        cmocka_unit_test(braces_are_alternatives_and_may_hold_dots),
        cmocka_unit_test(what_does_not_fire_by_default_must_be_named),
        cmocka_unit_test(shorthand_is_that_of_transformer_lens),
        cmocka_unit_test(shorthand_of_our_own),
        cmocka_unit_test(what_matches_nothing_is_an_error_with_the_nearest_name),
        cmocka_unit_test(malformed_braces_are_named),
        cmocka_unit_test(exploding_braces_are_stopped),
    };
    return cmocka_run_group_tests(tests, make_points, NULL);
}
