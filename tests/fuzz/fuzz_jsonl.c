/* Documents: the first byte picks .jsonl, .txt, .jsonl.zst or .txt.zst; every text that is given out is UTF-8. */
#include <sonde/text.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[] = {"x.jsonl", "x.txt", "x.jsonl.zst", "x.txt.zst"};
    sonde_documents *documents;
    const char *text = "";
    size_t bytes;
    sonde_status status = SONDE_OK;

    if (n == 0 || n > 4096) /* a packed bomb of 64 KiB unpacks to gigabytes, as it should */
        return 0;
    sonde_clear_error();
    FUZZ_REQUIRE(sonde_documents_open(&documents, fuzz_file(names[data[0] % 4], data + 1, n - 1), NULL) == SONDE_OK);
    while (text != NULL && status == SONDE_OK) {
        status = sonde_documents_next(documents, &text, &bytes);
        fuzz_check(status);
        FUZZ_REQUIRE(status == SONDE_OK || text == NULL);
        FUZZ_REQUIRE(text == NULL || sondep_utf8_check(text, bytes, "text") == SONDE_OK);
        FUZZ_REQUIRE(sonde_documents_progress(documents) >= 0 && sonde_documents_progress(documents) <= 1);
    }
    sonde_documents_close(documents);
    return 0;
}
