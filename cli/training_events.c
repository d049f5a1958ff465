/* training_events.c - learning curves as TensorBoard reads them.                 floor 10: cli
 *
 * A file of records: the length of the bytes (8), its check (4), the bytes, their check (4). Checks are CRC-32C, turned and moved so that a check of
 * checks is none. The bytes are messages of protocol buffers, whose fields begin with 8 x number + kind:
 *
 *   Event   { double wall_time = 1;  int64 step = 2;  string file_version = 3;  Summary summary = 5 }
 *   Summary { repeated Value value = 1 }        Value { string tag = 1;  float simple_value = 2 }
 *
 * The wall time is the number of the step: a file does not depend on when it was made, and a resumed run leaves the bytes of one that never stopped.
 *
 * Source: TensorFlow's record_writer.h, crc32c.h, event.proto, summary.proto. Reference: tests/oracle/sae_train_live.py.
 */
#include "training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 4096 }; /* bytes of a message: some thirty numbers with their names */

/* A message that is being put together. */
typedef struct message {
    unsigned char bytes[ROOM];
    size_t n;
} message;

/* CRC-32C (Castagnoli), bit by bit: curves are short. */
static uint32_t check_of(const unsigned char *bytes, size_t n)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* n bytes of a number, the lowest first. */
static void put_fixed(message *m, uint64_t x, int n)
{
    for (int i = 0; i < n && m->n < ROOM; i++)
        m->bytes[m->n++] = (unsigned char)(x >> 8 * i);
}

/* Seven bits a byte, the lowest first. */
static void put_varint(message *m, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        put_fixed(m, (x & 0x7f) | 0x80, 1);
    put_fixed(m, x, 1);
}

/* A field of bytes. */
static void put_bytes(message *m, int field, const void *bytes, size_t n)
{
    put_fixed(m, 8 * (uint64_t)field + 2, 1);
    put_varint(m, n);
    if (m->n + n <= ROOM)
        memcpy(m->bytes + m->n, bytes, n);
    m->n = m->n + n <= ROOM ? m->n + n : ROOM;
}

/* Length, check, bytes, check. */
static void write_record(FILE *to, const message *m)
{
    message length = {{0}, 0}, check = {{0}, 0};

    put_fixed(&length, m->n, 8);
    put_fixed(&check, check_of(length.bytes, 8), 4);
    put_fixed(&check, check_of(m->bytes, m->n), 4);
    fwrite(length.bytes, 1, 8, to);
    fwrite(check.bytes, 1, 4, to);
    fwrite(m->bytes, 1, m->n, to);
    fwrite(check.bytes + 4, 1, 4, to);
}

/* Time and step, with which every event begins. */
static void begin_event(message *m, int64_t step)
{
    double time = (double)step;
    uint64_t bits;

    memcpy(&bits, &time, sizeof bits);
    m->n = 0;
    put_fixed(m, 8 * 1 + 1, 1);
    put_fixed(m, bits, 8);
    put_fixed(m, 8 * 2 + 0, 1);
    put_varint(m, (uint64_t)step);
}

/* A file says first which version of the format it has. */
void training_events_begin(FILE *to)
{
    static const char version[] = "brain.Event:2";
    message m;

    begin_event(&m, 0);
    put_bytes(&m, 3, version, sizeof version - 1);
    write_record(to, &m);
}

/* What was not measured is no number of the step. */
void training_events_add(FILE *to, int64_t step, const char *const *tags, const double *values, int64_t n)
{
    message m, summary = {{0}, 0};

    for (int64_t i = 0; i < n; i++) {
        message value = {{0}, 0};
        float x = (float)values[i];
        uint32_t bits;
        if (!isfinite(values[i]))
            continue;
        memcpy(&bits, &x, sizeof bits);
        put_bytes(&value, 1, tags[i], strlen(tags[i]));
        put_fixed(&value, 8 * 2 + 5, 1);
        put_fixed(&value, bits, 4);
        put_bytes(&summary, 1, value.bytes, value.n);
    }
    begin_event(&m, step);
    put_bytes(&m, 5, summary.bytes, summary.n);
    write_record(to, &m);
}
