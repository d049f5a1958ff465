/* tokenizer.json: what is accepted encodes its own bytes and decodes what it made; every byte of a span is of the text. */
#include "text/tokenizer.h"

#include "fuzz.h"

enum { TEXT_MOST = 4096 };

/* The input itself as a text, as far as it is UTF-8: hostile files make hostile strings. */
static void encode(const sonde_tokenizer *t, const char *text, size_t n)
{
    sonde_tokens tokens = {0};
    char *back = NULL;
    size_t n_back;
    sonde_status status = sonde_tokenizer_encode(&tokens, t, text, n, SONDE_SPECIALS_AS_FILE);

    fuzz_check(status);
    for (int64_t i = 0; i < tokens.n; i++) {
        FUZZ_REQUIRE(tokens.ids[i] >= 0 && tokens.ids[i] < sonde_tokenizer_n_vocab(t));
        FUZZ_REQUIRE(tokens.start[i] >= 0 && tokens.start[i] <= tokens.end[i] && tokens.end[i] <= (int64_t)n);
    }
    if (status == SONDE_OK) {
        status = sonde_tokenizer_decode(&back, &n_back, t, tokens.ids, tokens.n, true);
        fuzz_check(status);
    }
    sonde_text_free(back);
    sonde_tokens_release(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sonde_tokenizer *t;
    sonde_status status;
    size_t bytes;

    sonde_clear_error();
    status = sondep_tokenizer_parse(&t, (const char *)data, n, "tokenizer.json");
    fuzz_check(status);
    FUZZ_REQUIRE((t != NULL) == (status == SONDE_OK));
    if (t == NULL)
        return 0;
    encode(t, "The\n probe's  1234 caf\xc3\xa9 e\xcc\x81 \xf0\x9f\x98\x80 <s>ab", 40);
    encode(t, (const char *)data, n < TEXT_MOST ? n : TEXT_MOST);
    for (int32_t id = 0; id < sonde_tokenizer_n_vocab(t) && id < 300; id++)
        FUZZ_REQUIRE((sonde_tokenizer_token(t, id) == NULL) == (sonde_tokenizer_bytes(&bytes, t, id) == NULL));
    sonde_tokenizer_free(t);
    return 0;
}
