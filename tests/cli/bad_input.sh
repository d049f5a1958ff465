# Bad input: one clear line, status 3 (2 for a hook that does not exist), nothing written.
try() {
    sonde "$@" -o x.safetensors
    echo "status $?" >&2
}
try act nowhere --ids 1 --hook embed
try act stories.jsonl --ids 1 --hook embed
try act tiny --ids 1,32000 --hook embed
try act tiny --ids 1,-5 --hook embed
try act tiny --ids 99999999999 --hook embed
try act tiny "the cat" --hook resid_post6
try act tiny "the cat" --hook 'blocks.*.hook_nothing'
try act tiny "the cat" --hook embed --pos 7
try act tiny "the cat" --hook embed --pos -6
try act tiny "" --hook embed --no-special
try act tiny -f nowhere.jsonl --hook embed
try act tiny -f stories.jsonl --field body --hook embed
printf '{"text": "the cat"}\n{"text": 5}\n' >numbers.jsonl
try act tiny -f numbers.jsonl --hook embed
printf 'the \377 cat' >bytes.txt
try act tiny -f bytes.txt --hook embed
cp -R "$GOLDEN/llama-plain" bare
try act bare "the cat" --hook embed
printf '{"model_type": "llama"' >bare/config.json
try act bare --ids 1 --hook embed
test -e x.safetensors || echo "nothing written"
