# recipes/texts.sh - the texts that the shipped models are trained on, for the recipes beside it (sourced, not run).
#
# Sets `stories` (four files of stories that stories15M wrote), `books` (texts that are no stories), `data` (both, as options of
# sonde lm train) and `held_out` (stories that are never trained on). They are those of the folder $TEXTS where it has them; else the
# stories are made again there from the model $STORIES15M, and the books are left out if there are none.
#
# Stories are drawn at temperature 1, with the seeds 0 to 3, and 4 for the held-out ones; those that do not come to their end within the
# context are left out, about one in seven. Sample b of a seed depends on (seed, b) alone: any machine draws the same ones, but for what
# another set of kernels rounds another way. They are not the stories of $TEXTS, whose seeds are not known.
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
    make_stories "$TEXTS/stories-sampled-$i.jsonl.zst" "$i" 115000
    stories="$stories $TEXTS/stories-sampled-$i.jsonl.zst"
done
held_out=$TEXTS/stories-heldout.jsonl.zst
make_stories "$held_out" 4 24400

# Books and plays, so that the models have seen more than stories. Two of the books are not UTF-8.
books=
for file in "$TEXTS"/gutenberg/*.txt "$TEXTS"/tinyshakespeare.txt; do
    [ -f "$file" ] && iconv -f UTF-8 -t UTF-8 "$file" >/dev/null 2>&1 && books="$books $file"
done

data=
for file in $stories $books; do
    data="$data --data $file"
done
