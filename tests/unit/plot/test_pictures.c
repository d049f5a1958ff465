/* Pictures as files: colours read back from the pixels, what goes wrong, and that nothing half-written stays. */
#include "base/file.h"
#include "plot/layout.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* fontconfig keeps its patterns by offsets, which LeakSanitizer does not follow. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\nleak:libcairo\nleak:libpango";
}

static char folder[] = "/tmp/sonde-plot-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static uint32_t pixel(cairo_surface_t *picture, double x, double y)
{
    uint32_t p;
    memcpy(&p, cairo_image_surface_get_data(picture) + (int)y * cairo_image_surface_get_stride(picture) + (int)x * 4, 4);
    return p & 0xffffff;
}

static cairo_surface_t *read_png(const char *name)
{
    cairo_surface_t *picture = cairo_image_surface_create_from_png(in_folder(name));
    assert_int_equal(cairo_surface_status(picture), CAIRO_STATUS_SUCCESS);
    return picture;
}

/* The first pixel from the top, then from the left, that has a colour and begins a patch of it of 3 x 3 pixels: smoothed
 * letters have every grey. */
static bool find_colour(int *x, int *y, cairo_surface_t *picture, uint32_t colour)
{
    for (*y = 0; *y + 3 <= cairo_image_surface_get_height(picture); (*y)++) {
        for (*x = 0; *x + 3 <= cairo_image_surface_get_width(picture); (*x)++) {
            int n = 0;
            while (n < 9 && pixel(picture, *x + n % 3, *y + n / 3) == colour)
                n++;
            if (n == 9)
                return true;
        }
    }
    return false;
}

static uint32_t colour_of(double t, sonde_plot_colours map)
{
    unsigned char c[3];
    sonde_plot_colour(c, map, t);
    return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
}

static const uint32_t nan_grey = 0x969696, low_grey = 0xcdcdcd;

/* Cells read back from the PNG are the colour map's colours, at the places and of the size that the layout says. */
static void check_cells(int64_t n_rows, int64_t n_columns, double scale)
{
    float *values = calloc((size_t)(n_rows * n_columns), sizeof *values);
    sondep_cell_size cell = sondep_cell_size_for(n_rows, n_columns, false, n_rows == n_columns, false, 900, 800);
    sonde_plot_opts opts;
    sonde_plot_matrix m = {.values = values, .n_rows = n_rows, .n_columns = n_columns};
    cairo_surface_t *picture;
    int x0, y0;

    sonde_plot_opts_init(&opts);
    opts.scale = scale;
    opts.colours = SONDE_PLOT_COLOURS_DIVERGING;
    opts.low = -1;
    opts.high = 1;
    for (int64_t i = 0; i < n_rows * n_columns; i++)
        values[i] = (float)(sonde_random_uniform(5, 0, (uint64_t)i) * 2 - 1);
    values[0] = NAN; /* the place where cells begin */
    assert_int_equal(sonde_plot_heatmap(in_folder("cells.png"), &m, &opts), SONDE_OK);
    picture = read_png("cells.png");
    assert_true(find_colour(&x0, &y0, picture, nan_grey));
    for (int64_t i = 1; i < n_rows * n_columns; i++) {
        double x = x0 + ((double)(i % n_columns) + 0.5) * cell.width * scale;
        double y = y0 + ((double)(i / n_columns) + 0.5) * cell.height * scale;
        assert_int_equal(pixel(picture, x, y), colour_of(0.5 + (double)values[i] / 2, SONDE_PLOT_COLOURS_DIVERGING));
    }
    cairo_surface_destroy(picture);
    free(values);
}

static void cells_have_the_colours_of_their_values(void **unused)
{
    (void)unused;
    check_cells(6, 17, 2);
    check_cells(17, 17, 2);
    check_cells(5, 288, 2);
    check_cells(1, 2, 1);
    check_cells(3, 700, 4);
}

/* Whether there is a run of 8 pixels of a colour somewhere in column x below y. */
static bool is_patch_below(cairo_surface_t *picture, int x, int y, uint32_t colour)
{
    int n = 0;
    for (; y < cairo_image_surface_get_height(picture) && n < 8; y++)
        n = pixel(picture, x, y) == colour ? n + 1 : 0;
    return n == 8;
}

static void the_legend_explains_what_is_not_finite(void **unused)
{
    float values[6] = {1, 2, 3, 4, -INFINITY, 6};
    sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 3};
    cairo_surface_t *picture;
    int x, y;
    (void)unused;

    assert_int_equal(sonde_plot_heatmap(in_folder("legend.png"), &m, NULL), SONDE_OK);
    picture = read_png("legend.png");
    assert_true(find_colour(&x, &y, picture, low_grey)); /* the cell */
    while (pixel(picture, x, y) == low_grey)
        y++;
    while (x < cairo_image_surface_get_width(picture) && !is_patch_below(picture, x, y, low_grey))
        x++;
    assert_true(x < cairo_image_surface_get_width(picture)); /* the swatch, below and further right */
    assert_false(find_colour(&x, &y, picture, nan_grey));    /* no NaN, so none is explained */
    cairo_surface_destroy(picture);
}

static void one_range_serves_all_panels(void **unused)
{
    float values[2][4] = {{0, 1, 2, 3}, {30, 20, 10, 60}};
    sonde_plot_matrix panels[2] = {{.values = values[0], .n_rows = 2, .n_columns = 2, .title = "a"},
                                   {.values = values[1], .n_rows = 2, .n_columns = 2, .title = "b"}};
    sonde_plot_opts opts;
    cairo_surface_t *picture;
    int x, y;
    (void)unused;

    sonde_plot_opts_init(&opts);
    assert_int_equal(sonde_plot_panels(in_folder("panels.png"), panels, 2, &opts), SONDE_OK);
    picture = read_png("panels.png");
    assert_true(find_colour(&x, &y, picture, colour_of(3 / 60.0, SONDE_PLOT_COLOURS_SEQUENTIAL)));
    cairo_surface_destroy(picture);
    opts.panel_own_ranges = 1;
    assert_int_equal(sonde_plot_panels(in_folder("panels.png"), panels, 2, &opts), SONDE_OK);
    picture = read_png("panels.png");
    assert_false(find_colour(&x, &y, picture, colour_of(3 / 60.0, SONDE_PLOT_COLOURS_SEQUENTIAL)));
    assert_true(find_colour(&x, &y, picture, colour_of(1, SONDE_PLOT_COLOURS_SEQUENTIAL)));
    cairo_surface_destroy(picture);
}

static void every_ending_gives_its_format(void **unused)
{
    static const struct {
        const char *name, *magic;
    } cases[] = {{"a.png", "\x89PNG\r\n"}, {"a.SVG", "<?xml"}, {"a.pdf", "%PDF-"}};
    float value = 1;
    sonde_plot_matrix m = {.values = &value, .n_rows = 1, .n_columns = 1};
    (void)unused;

    for (size_t i = 0; i < 3; i++) {
        sondep_file file;
        assert_int_equal(sonde_plot_heatmap(in_folder(cases[i].name), &m, NULL), SONDE_OK);
        assert_int_equal(sondep_file_read(&file, in_folder(cases[i].name), 1 << 20), SONDE_OK);
        assert_memory_equal(file.data, cases[i].magic, strlen(cases[i].magic));
        sondep_file_release(&file);
    }
    assert_int_equal(sonde_plot_heatmap(in_folder("a.jpg"), &m, NULL), SONDE_E_ARG);
    assert_non_null(strstr(sonde_last_error()->message, ".png, .svg or .pdf"));
    assert_int_equal(sonde_plot_heatmap("png", &m, NULL), SONDE_E_ARG);
    assert_int_equal(access(in_folder("a.jpg"), F_OK), -1);
}

static void the_same_picture_has_the_same_bytes(void **unused)
{
    static const char *const names[] = {"same.png", "same.svg", "same.pdf"};
    float values[4] = {1, -2, 3, -4};
    sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 2};
    (void)unused;
    for (int i = 0; i < 3; i += 2) { /* cairo numbers the glyphs of an SVG over the life of the process */
        sondep_file a, b;
        assert_int_equal(sonde_plot_heatmap(in_folder(names[i]), &m, NULL), SONDE_OK);
        assert_int_equal(sondep_file_read(&a, in_folder(names[i]), 1 << 20), SONDE_OK);
        assert_int_equal(sonde_plot_heatmap(in_folder(names[i]), &m, NULL), SONDE_OK);
        assert_int_equal(sondep_file_read(&b, in_folder(names[i]), 1 << 20), SONDE_OK);
        assert_int_equal(a.bytes, b.bytes);
        assert_memory_equal(a.data, b.data, a.bytes);
        sondep_file_release(&a);
        sondep_file_release(&b);
    }
}

static void nothing_to_plot_is_an_error_with_numbers(void **unused)
{
    float value = 1;
    double y = 1;
    sonde_plot_matrix m = {.values = &value, .n_rows = 0, .n_columns = 3};
    sonde_plot_series s = {.y = &y, .n = 0};
    sonde_plot_mark outside = {0, 1, 1, 1};
    (void)unused;

    assert_int_equal(sonde_plot_heatmap(in_folder("none.png"), &m, NULL), SONDE_E_SHAPE);
    assert_non_null(strstr(sonde_last_error()->message, "[0, 3]"));
    assert_int_equal(sonde_plot_panels(in_folder("none.png"), &m, 0, NULL), SONDE_E_SHAPE);
    assert_int_equal(sonde_plot_lines(in_folder("none.png"), &s, 1, NULL), SONDE_E_SHAPE);
    assert_int_equal(sonde_plot_bars(in_folder("none.png"), NULL, 2, &s, 1, NULL), SONDE_E_SHAPE);
    assert_int_equal(sonde_plot_histogram(in_folder("none.png"), &value, 0, NULL), SONDE_E_SHAPE);
    value = NAN;
    assert_int_equal(sonde_plot_histogram(in_folder("none.png"), &value, 1, NULL), SONDE_E_SHAPE);
    assert_int_equal(sonde_plot_tokens(in_folder("none.png"), NULL, NULL, 0, NULL), SONDE_E_SHAPE);
    m = (sonde_plot_matrix){.values = &value, .n_rows = 1, .n_columns = 1, .marks = &outside, .n_marks = 1};
    assert_int_equal(sonde_plot_heatmap(in_folder("none.png"), &m, NULL), SONDE_E_ARG);
    m.n_rows = INT64_MAX;
    m.n_columns = INT64_MAX;
    assert_int_equal(sonde_plot_heatmap(in_folder("none.png"), &m, NULL), SONDE_E_RANGE);
    assert_int_equal(access(in_folder("none.png"), F_OK), -1);
}

/* ---- one picture of each kind, for the faults ------------------------------------------------------------------------ */

static const sonde_plot_label labels[4] = {{"Once", -1}, {" upon", -1}, {"日", -1}, {"\n", -1}};

static sonde_status draw_heatmap(const char *path)
{
    static const float values[8] = {1, -2, 3, NAN, 5, 6, -7, 8};
    sonde_plot_matrix m = {.values = values, .n_rows = 2, .n_columns = 4, .column_labels = labels};
    sonde_plot_opts opts;
    sonde_plot_opts_init(&opts);
    opts.title = "title";
    opts.value_name = "value";
    opts.range = SONDE_PLOT_RANGE_QUANTILE;
    opts.quantile = 0.5;
    return sonde_plot_heatmap(path, &m, &opts);
}

static sonde_status draw_panels(const char *path)
{
    static const float values[4] = {1, 2, 3, 4};
    sonde_plot_matrix panels[3];
    for (int i = 0; i < 3; i++)
        panels[i] =
            (sonde_plot_matrix){.values = values, .n_rows = 2, .n_columns = 2, .title = "t", .first_row = i, .is_causal = 1};
    return sonde_plot_panels(path, panels, 3, NULL);
}

static const double ys[4] = {1, 4, NAN, 2};
static const sonde_plot_series series[2] = {{"a", NULL, ys, 4}, {"b", ys, ys, 4}};

static sonde_status draw_lines(const char *path)
{
    return sonde_plot_lines(path, series, 2, NULL);
}

static sonde_status draw_scatter(const char *path)
{
    sonde_plot_opts opts;
    sonde_plot_opts_init(&opts);
    opts.x_log = opts.y_log = 1;
    opts.x_name = "x";
    return sonde_plot_scatter(path, series, 2, &opts);
}

static sonde_status draw_bars(const char *path)
{
    return sonde_plot_bars(path, labels, 4, series, 2, NULL);
}

static sonde_status draw_histogram(const char *path)
{
    static const float values[5] = {1, 2, 2, NAN, 3};
    return sonde_plot_histogram(path, values, 5, NULL);
}

static sonde_status draw_tokens(const char *path)
{
    static const float values[4] = {1, -2, NAN, 3};
    return sonde_plot_tokens(path, labels, values, 4, NULL);
}

typedef sonde_status draw_fn(const char *path);
static draw_fn *const all[] = {draw_heatmap, draw_panels, draw_lines, draw_scatter, draw_bars, draw_histogram, draw_tokens};
static const char *const names[] = {"fault.png", "fault.svg", "fault.pdf"};
enum { N_ALL = sizeof all / sizeof *all };

/* ---- faults ---------------------------------------------------------------------------------------------------------- */

static int64_t n_until_failure, n_live;

static void *counting_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    if (n_until_failure-- == 0)
        return NULL;
    n_live++;
    return malloc(bytes);
}

static void *counting_resize(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    if (n_until_failure-- == 0)
        return NULL;
    n_live += p == NULL;
    return realloc(p, bytes);
}

static void counting_release(void *p, void *ctx)
{
    (void)ctx;
    n_live--;
    free(p);
}

static void assert_nothing_stays(const char *name)
{
    char part[600];
    assert_int_equal(access(in_folder(name), F_OK), -1);
    snprintf(part, sizeof part, "%s.%ld.part", in_folder(name), (long)getpid());
    assert_int_equal(access(part, F_OK), -1);
}

static void every_allocation_may_fail(void **unused)
{
    static const sonde_allocator counting = {counting_alloc, counting_resize, counting_release, NULL};
    int64_t n_faults = 0;
    (void)unused;

    assert_int_equal(sonde_set_allocator(&counting), SONDE_OK);
    for (int i = 0; i < N_ALL * 3; i++) {
        sonde_status status;
        for (int64_t nth = 0;; nth++) {
            n_until_failure = nth;
            sonde_clear_error();
            status = all[i / 3](in_folder(names[i % 3]));
            assert_int_equal(n_live, 0);
            if (status == SONDE_OK)
                break;
            assert_int_equal(status, SONDE_E_NOMEM);
            assert_int_equal(sonde_last_error()->status, SONDE_E_NOMEM);
            assert_nothing_stays(names[i % 3]);
            n_faults++;
        }
        unlink(in_folder(names[i % 3]));
    }
    assert_int_equal(sonde_set_allocator(NULL), SONDE_OK);
    print_message("%lld allocations failed\n", (long long)n_faults);
    assert_true(n_faults > 100);
}

static ssize_t full_disk(int fd, const void *bytes, size_t n)
{
    (void)fd;
    (void)bytes;
    (void)n;
    errno = ENOSPC;
    return -1;
}

static void a_full_disk_leaves_nothing(void **unused)
{
    sondep_sys kept = sondep_syscalls;
    (void)unused;
    for (int i = 0; i < N_ALL * 3; i++) {
        sondep_syscalls.write = full_disk;
        assert_int_equal(all[i / 3](in_folder(names[i % 3])), SONDE_E_IO);
        sondep_syscalls = kept;
        assert_non_null(strstr(sonde_last_error()->message, "No space left"));
        assert_nothing_stays(names[i % 3]);
    }
}

static void what_was_there_survives_a_failure(void **unused)
{
    sondep_sys kept = sondep_syscalls;
    sondep_file before, after;
    (void)unused;
    assert_int_equal(draw_heatmap(in_folder("kept.png")), SONDE_OK);
    assert_int_equal(sondep_file_read(&before, in_folder("kept.png"), 1 << 20), SONDE_OK);
    sondep_syscalls.write = full_disk;
    assert_int_equal(draw_lines(in_folder("kept.png")), SONDE_E_IO);
    sondep_syscalls = kept;
    assert_int_equal(sondep_file_read(&after, in_folder("kept.png"), 1 << 20), SONDE_OK);
    assert_int_equal(before.bytes, after.bytes);
    assert_memory_equal(before.data, after.data, before.bytes);
    sondep_file_release(&before);
    sondep_file_release(&after);
}

static void paths_that_cannot_be_written_are_named(void **unused)
{
    (void)unused;
    assert_int_equal(draw_heatmap("/nonexistent/folder/a.png"), SONDE_E_IO);
    assert_non_null(strstr(sonde_last_error()->message, "/nonexistent/folder/a.png"));
    if (symlink("/dev/full", in_folder("full.png")) == 0) {
        assert_int_equal(draw_heatmap(in_folder("full.png")), SONDE_E_IO);
        assert_int_equal(access("/dev/full", F_OK), 0);
    }
}

static void a_picture_too_large_is_an_error(void **unused)
{
    float *values = calloc(20000, sizeof *values);
    sonde_plot_matrix m = {.values = values, .n_rows = 1, .n_columns = 20000};
    sonde_plot_opts opts;
    (void)unused;
    sonde_plot_opts_init(&opts);
    opts.max_width = 20000;
    opts.scale = 8;
    assert_int_equal(sonde_plot_heatmap(in_folder("large.png"), &m, &opts), SONDE_E_RANGE);
    assert_nothing_stays("large.png");
    free(values);
}

static int make_folder(void **unused)
{
    (void)unused;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **unused)
{
    char command[600];
    (void)unused;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_have_the_colours_of_their_values),
        cmocka_unit_test(the_legend_explains_what_is_not_finite),
        cmocka_unit_test(one_range_serves_all_panels),
        cmocka_unit_test(every_ending_gives_its_format),
        cmocka_unit_test(the_same_picture_has_the_same_bytes),
        cmocka_unit_test(nothing_to_plot_is_an_error_with_numbers),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(what_was_there_survives_a_failure),
        cmocka_unit_test(paths_that_cannot_be_written_are_named),
        cmocka_unit_test(a_picture_too_large_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
