# A reader that goes away: no message, 128 + SIGPIPE.
for i in 1 2 3 4 5 6 7 8 9 10; do cat stories.jsonl; done >many.jsonl
{
    sonde tokenize tiny -f many.jsonl --json
    echo "status $?" >&2
} | head -1 | cut -c 1-40
{
    sonde tokenize tiny -f many.jsonl
    echo "status $?" >&2
} | head -1
