# recipes/texts.sh - the texts that the shipped models are trained on, for the recipes beside it (sourced, not run).
#
# Sets `stories` (four files of stories that stories15M wrote), `held_out` (one more, never trained on) and `books` (texts that are
# no stories). They are those of the folder $TEXTS where it has them; else the stories are made again there from the model
# $STORIES15M, 99,000 finished ones a file, and the books are left out if there are none.
#
# The stories are drawn at temperature 1, as they were: seeds 0 to 3, and 4 for the held-out ones. Sample b of a seed depends on
# (seed, b) alone, so that any machine draws the same ones, but for what another set of kernels rounds another way.
TEXTS=${TEXTS:-../shared/text}
STORIES15M=${STORIES15M:-../shared/models/stories15M}
SONDE=${SONDE:-build/sonde}

# One file of stories, unless it is there.
make_stories() {
    [ -s "$1" ] && return 0
    mkdir -p "$(dirname "$1")"
    "$SONDE" generate "$STORIES15M" -n "$3" --max-tokens 0 --temperature 1 --seed "$2" --finished-only -o "$1"
}

stories=
for i in 0 1 2 3; do
    make_stories "$TEXTS/stories-sampled-$i.jsonl.zst" "$i" 110000
    stories="$stories $TEXTS/stories-sampled-$i.jsonl.zst"
done
held_out=$TEXTS/stories-heldout.jsonl.zst
make_stories "$held_out" 4 23000

# Books and plays, so that the models have seen more than stories. Two of the books are not UTF-8.
books=
for file in "$TEXTS"/gutenberg/*.txt "$TEXTS"/tinyshakespeare.txt; do
    [ -f "$file" ] && iconv -f UTF-8 -t UTF-8 "$file" >/dev/null 2>&1 && books="$books $file"
done
