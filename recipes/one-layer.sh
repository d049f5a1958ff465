#!/bin/sh
# recipes/one-layer.sh - the one-layer transformer of the papers (d 128, MLP 512 ReLU), on the same texts as recipes/stories.sh and
# with its tokenizer: where work on sparse autoencoders starts.
#
#   recipes/one-layer.sh [FOLDER [OPTIONS]]   default: build/one-layer; the model is FOLDER/model
set -eu
cd "$(dirname "$0")/.."
. recipes/texts.sh
folder=${1:-build/one-layer}
[ $# -eq 0 ] || shift

case " $* " in
*" --resume "* | *" --init "*) model= ;;
*) model="recipes/one-layer.json --tokenizer ${TOKENIZER:-models/stories/tokenizer.json}" ;;
esac
exec "$SONDE" lm train $model $data --held-out "$held_out" \
    --optimizer muon --lr 4e-3 --last-lr 0 --schedule wsd --warmup 100 --steps "${STEPS:-6000}" \
    --batch 32 --weight-decay 0.1 --save-dtype bf16 -o "$folder" "$@"
