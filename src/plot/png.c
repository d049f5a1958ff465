/* png.c - pixels as a PNG file.                                                floor 2: plot
 *
 * cairo's own writer takes 100 ms for a page, most of it to compress. Plots are flat: rows repeat, so each row is stored as
 * its difference to the row above (filter Up), and deflate's fastest level does the rest in a few ms.
 * The format: PNG specification, second edition (W3C 2003); 8-bit RGB, one IDAT chunk for each buffer that deflate fills.
 */
#include "plot/canvas.h"

#include <math.h>
#include <zlib.h>

enum { IDAT_BYTES = 1 << 16 };

/* Big-endian, as all numbers of the format. */
static void put_u32(unsigned char out[4], uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* Length, type, data, and the checksum of type and data. */
static sonde_status put_chunk(sondep_writer *w, const char type[4], const unsigned char *data, uint32_t n)
{
    unsigned char head[8], sum[4];
    uLong crc = crc32(0, (const Bytef *)type, 4);

    put_u32(head, n);
    memcpy(head + 4, type, 4);
    if (n > 0)
        crc = crc32(crc, data, n);
    put_u32(sum, (uint32_t)crc);
    SONDE_TRY(sondep_writer_put(w, head, sizeof head));
    SONDE_TRY(sondep_writer_put(w, data, n));
    return sondep_writer_put(w, sum, sizeof sum);
}

/* Signature, size and type of pixels, and how many of them make an inch, so that programs show the size that was
 * meant. */
static sonde_status put_header(sondep_writer *w, int width, int height, double pixels_per_inch)
{
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    unsigned char header[13] = {0}, density[9];

    put_u32(header, (uint32_t)width);
    put_u32(header + 4, (uint32_t)height);
    header[8] = 8; /* bits */
    header[9] = 2; /* RGB */
    put_u32(density, (uint32_t)lround(pixels_per_inch / 0.0254));
    memcpy(density + 4, density, 4);
    density[8] = 1; /* per metre */
    SONDE_TRY(sondep_writer_put(w, signature, sizeof signature));
    SONDE_TRY(put_chunk(w, "IHDR", header, sizeof header));
    return put_chunk(w, "pHYs", density, sizeof density);
}

/* out = filter byte, then width RGB pixels as differences to `above` (NULL: the first row). */
static void filter_row(unsigned char *out, const unsigned char *row, const unsigned char *above, int width)
{
    *out++ = 2;
    for (int x = 0; x < width; x++) {
        uint32_t pixel, up = 0;
        memcpy(&pixel, row + 4 * x, 4);
        if (above != NULL)
            memcpy(&up, above + 4 * x, 4);
        *out++ = (unsigned char)((pixel >> 16) - (up >> 16));
        *out++ = (unsigned char)((pixel >> 8) - (up >> 8));
        *out++ = (unsigned char)(pixel - up);
    }
}

/* Feeds what z->next_in holds, writing a chunk whenever the buffer is full; at the end everything. */
static sonde_status deflate_some(sondep_writer *w, z_stream *z, unsigned char *buffer, int flush)
{
    int result;
    do {
        result = deflate(z, flush);
        if (z->avail_out == 0 || result == Z_STREAM_END) {
            SONDE_TRY(put_chunk(w, "IDAT", buffer, IDAT_BYTES - z->avail_out));
            z->next_out = buffer;
            z->avail_out = IDAT_BYTES;
        }
    } while (z->avail_in > 0 || (flush == Z_FINISH && result != Z_STREAM_END));
    return SONDE_OK;
}

/* zlib's memory comes through our door too. */
static voidpf zlib_alloc(voidpf unused, uInt n, uInt size)
{
    (void)unused;
    return sondep_alloc(n, size);
}

/* The counterpart. */
static void zlib_free(voidpf unused, voidpf p)
{
    (void)unused;
    sondep_free(p);
}

/* Row after row: filter, deflate, and a chunk whenever the buffer is full. */
sonde_status sondep_png_write(sondep_writer *w, cairo_surface_t *surface, double pixels_per_inch)
{
    const unsigned char *pixels = cairo_image_surface_get_data(surface);
    int width = cairo_image_surface_get_width(surface), height = cairo_image_surface_get_height(surface);
    int stride = cairo_image_surface_get_stride(surface);
    z_stream z = {.zalloc = zlib_alloc, .zfree = zlib_free};
    unsigned char *row = NULL, *buffer = NULL;
    bool has_stream = false;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(row, 1 + 3 * (int64_t)width));
    SONDE_TRY_DONE(SONDE_NEW(buffer, IDAT_BYTES));
    has_stream = deflateInit(&z, 1) == Z_OK;
    SONDE_TRY_DONE(has_stream ? SONDE_OK : SONDE_E_NOMEM); /* the allocator has recorded it */
    SONDE_TRY_DONE(put_header(w, width, height, pixels_per_inch));
    z.next_out = buffer;
    z.avail_out = IDAT_BYTES;
    for (int y = 0; y < height; y++) {
        filter_row(row, pixels + (size_t)y * stride, y > 0 ? pixels + (size_t)(y - 1) * stride : NULL, width);
        z.next_in = row;
        z.avail_in = 1 + 3 * (uInt)width;
        SONDE_TRY_DONE(deflate_some(w, &z, buffer, Z_NO_FLUSH));
    }
    SONDE_TRY_DONE(deflate_some(w, &z, buffer, Z_FINISH));
    SONDE_TRY_DONE(put_chunk(w, "IEND", NULL, 0));
done:
    if (has_stream)
        deflateEnd(&z);
    sondep_free(row);
    sondep_free(buffer);
    return status;
}
