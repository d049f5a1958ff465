# A text beyond the context: status 3 with both numbers; --truncate cuts it there.
python3 -c 'print("the cat " * 200, end="")' >long.txt
sonde act tiny -f long.txt --hook embed -o long.safetensors
echo "status $?" >&2
sonde act tiny -f long.txt --hook embed --truncate --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["hooks"][0]["shape"])'
sonde generate tiny -f long.txt
echo "status $?" >&2
ls long.*
