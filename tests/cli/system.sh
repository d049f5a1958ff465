# What the system refuses: status 4, nothing half-written; a reader that goes away ends the program quietly.
mkdir folder.npz
sonde act tiny "the cat" --hook embed -o nowhere/x.safetensors
echo "status $?" >&2
sonde act tiny "the cat" --hook embed -o folder.npz
echo "status $?" >&2
sonde act tiny "the cat" --hook embed -o /dev/full
test $? -ge 2 && echo refused
for command in "info tiny" "tokenize tiny the" "act tiny the --hook embed" "loss tiny the --json" "completion bash" "--help" "--version"; do
    sonde $command >/dev/full
    echo "status $?" >&2
done
ls
