/* text/pretokenize_syntax.h - an expression of Oniguruma's, read for PCRE2.      floor 3: text
 *
 * What comes out is the expression in PCRE2's syntax with places where sets of characters belong, and the sets.
 */
#ifndef SONDEP_PRETOKENIZE_SYNTAX_H
#define SONDEP_PRETOKENIZE_SYNTAX_H

#include "text/pretokenize_set.h"

enum { SONDEP_SYNTAX_SETS = 1024 };

/* A place in the output where a set belongs. */
typedef struct sondep_use {
    size_t at;
    int set;
} sondep_use;

typedef struct sondep_syntax {
    const char *text; /* NUL behind its n bytes */
    size_t n, at;
    sondep_string out; /* the expression for PCRE2, without its sets */
    sondep_use *uses;
    int64_t n_uses, uses_capacity;
    sondep_set *sets[SONDEP_SYNTAX_SETS];
    uint32_t literals[SONDEP_SYNTAX_SETS]; /* the character of a set of one letter, so that it is made once; UINT32_MAX */
    int n_sets, depth;
    bool ignore_case, dot_all, extended;
    uint32_t last_literal; /* the character before, under (?i), for letters that fold into two */
} sondep_syntax;

/* Reads n bytes at p->text, a NUL behind them. Owns: p's sets, uses and out, also on failure: sondep_syntax_release.
 * Errors: SONDE_E_UNSUPPORTED names what PCRE2 does otherwise or not at all; SONDE_E_FORMAT; SONDE_E_NOMEM. */
sonde_status sondep_syntax_read(sondep_syntax *p);
void sondep_syntax_release(sondep_syntax *p);

/* SONDE_E_UNSUPPORTED naming `what` and the byte of the expression. */
sonde_status sondep_syntax_unsupported(const sondep_syntax *p, const char *what);

#endif
