#!/bin/sh
# recipes/stories-sae.sh - the sparse autoencoder that comes with sonde, on the middle of models/stories.
#
#   recipes/stories-sae.sh [FOLDER [OPTIONS]]   default: build/stories-sae; FOLDER is the autoencoder
#
# The texts are those of recipes/stories.sh; TOKENS (16M) is the length.
set -eu
cd "$(dirname "$0")/.."
. recipes/texts.sh
folder=${1:-build/stories-sae}
[ $# -eq 0 ] || shift

case " $* " in
*" --resume "*) model= ;;
*) model=models/stories ;;
esac
exec "$SONDE" sae train $model $data --held-out "$held_out" --eval-documents 300 \
    --hook blocks.3.hook_resid_post --arch topk --k 16 --width 8x --tokens "${TOKENS:-16M}" -o "$folder" "$@"
