# needs: shared
# sanitizer: loss has the same cases with a small model
# tolerance: 1e-5
# The losses that transformers gives on the real models, to 5 digits.
for model in stories15M stories260K; do
    sonde loss "$SONDE_SHARED/models/$model" -f "$SONDE_SHARED/text/tinystories-1000.jsonl" --each --limit 20 --json -q |
        python3 -c 'import json, sys; r = json.load(sys.stdin); print("%.5f" % r["ce_nats"], r["tokens"])'
done
