# No match is the answer "no": status 1, nothing written.
sonde act tiny "the cat sat" --hook embed --token " dog" -o x.safetensors
echo "status $?" >&2
sonde act tiny "the cat sat" --hook embed --token " elephant" -o x.safetensors
echo "status $?" >&2
sonde act tiny "the cat sat" --hook embed --word 3 -o x.safetensors
echo "status $?" >&2
test -e x.safetensors || echo "nothing written"
