/* fonts.c - which fonts pictures can draw with.                                floor 2: plot */
#include <sonde/plot.h>

#include <pango/pangocairo.h>
#include <string.h>

void sonde_plot_fonts(int64_t *n_families, int64_t *n_noto)
{
    PangoFontMap *map = pango_cairo_font_map_new();
    PangoFontFamily **families = NULL;
    int n = 0;

    pango_font_map_list_families(map, &families, &n);
    *n_families = n;
    *n_noto = 0;
    for (int i = 0; i < n; i++)
        *n_noto += strstr(pango_font_family_get_name(families[i]), "Noto") != NULL;
    g_free(families); /* the array; the families are the map's */
    g_object_unref(map);
}
