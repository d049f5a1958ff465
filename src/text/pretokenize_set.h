/* text/pretokenize_set.h - sets of code points, as bits.                         floor 3: text */
#ifndef SONDEP_PRETOKENIZE_SET_H
#define SONDEP_PRETOKENIZE_SET_H

#include "text/unicode.h"

enum { SONDEP_SET_WORDS = SONDEP_UNICODE_POINTS / 64 };

/* One bit for each code point: 136 KiB. Owned by whoever made it: sondep_free. */
typedef uint64_t sondep_set;

sonde_status sondep_set_new(sondep_set **out);
void sondep_set_add(sondep_set *set, uint32_t first, uint32_t last);
void sondep_set_invert(sondep_set *set);
void sondep_set_join(sondep_set *set, const sondep_set *other);
void sondep_set_intersect(sondep_set *set, const sondep_set *other);

/* Adds every code point whose kind has one of the flags, or lies in categories [first, last]. */
void sondep_set_add_kind(sondep_set *set, int flags, int first_category, int last_category);

/* Adds a property by its name (L, Lu, Letter, Han, alpha, ...; case, spaces, '-' and '_' do not count); false: there
 * is none. */
bool sondep_set_add_named(sondep_set *set, const char *name, size_t n);

/* The same for the names of [[:alpha:]]. */
bool sondep_set_add_posix(sondep_set *set, const char *name, size_t n);

/* Adds what differs from a member only in case. */
void sondep_set_fold(sondep_set *set);

static inline bool sondep_set_has(const sondep_set *set, uint32_t c)
{
    return set[c / 64] >> c % 64 & 1;
}

#endif
