#!/bin/sh
# recipes/stories.sh - the language model that comes with sonde, from nothing: corpus, tokenizer, training.
#
#   recipes/stories.sh [FOLDER]            default: build/stories; the model is FOLDER/model
#   recipes/stories.sh FOLDER --resume     goes on after an interruption
#   recipes/stories.sh FOLDER --init models/stories   goes on from weights alone, with the tokenizer that they have
#
# TEXTS and STORIES15M say where the texts lie, or what they are made from (see recipes/texts.sh). STEPS (24000) is the length:
# 8,192 tokens a step; what a length reaches is in models/stories/README.md.
set -eu
cd "$(dirname "$0")/.."
. recipes/texts.sh
folder=${1:-build/stories}
[ $# -eq 0 ] || shift

case " $* " in
*" --resume "* | *" --init "*) model= ;;
*)
    model="--shape stories --tokenizer $folder/tokenizer.json"
    mkdir -p "$folder"
    [ -s "$folder/tokenizer.json" ] || "$SONDE" tokenizer train $stories $books --vocab 4096 --prepend-bos -o "$folder/tokenizer.json"
    ;;
esac
exec "$SONDE" lm train $model $data --held-out "$held_out" \
    --optimizer muon --lr 3e-3 --last-lr 0 --schedule wsd --warmup 100 --steps "${STEPS:-24000}" \
    --batch 16 --weight-decay 0.1 --save-dtype bf16 -o "$folder" "$@"
