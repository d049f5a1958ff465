# One line and a pointer on stderr, status 2.
try() {
    sonde "$@"
    echo "status $?" >&2
}
try atc tiny
try bench forwrd
try bench
try bnech forward
try help tokenizer trian
try --json info tiny
try info
try info tiny tiny
try act tiny
try act tiny --hok x
try act tiny -z
try act tiny --ids 1 --top
try act tiny --ids 1 --top 0
try act tiny --ids 1 --top=1001
try act tiny --ids 1 --top ten
try act tiny --ids 1 --top 1 --bos sometimes
try act tiny --ids 1,two --top 1
try act tiny --ids 1 --hook embed --pos 1.5
try act tiny --ids 1 --hook embed --pos 0 --word 1
try act tiny --ids 1 --hook embed --word 0
try act tiny --hook embed
try act tiny "the cat" --ids 1 --hook embed
try act tiny --ids 1 --hook embed -o x.txt
try act tiny --ids 1 --hook embed --hook k0 -o x.npy
try act tiny --ids 1 --quiet=yes
try generate tiny the --temperature -1
try generate tiny the --top-p 1.5
try generate tiny the --temperature nan
try loss tiny the --threads 5000
try bench forward tiny --shape gpt2-small
try bench forward tiny --no-logits
try bench forward --shape gpt5
try completion tcsh
ls
