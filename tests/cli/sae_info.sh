# What an autoencoder is, in whatever layout; what is written for other libraries comes back the same.
sonde sae info "$GOLDEN/../sae/topk"
sonde sae info "$GOLDEN/../sae/jumprelu_skip_transcoder"
sonde sae info "$GOLDEN/../sae/gated" --json | grep -v version
sonde sae convert "$GOLDEN/../sae/topk" -o sparse --to sparsify && ls sparse && sonde sae info sparse | head -n 6
sonde sae convert "$GOLDEN/../sae/jumprelu" -o learnt --to dictionary_learning && ls learnt && sonde sae info learnt/ae.pt | head -n 7
sonde sae convert learnt -o back && sonde sae info back | head -n 3
# What cannot be said, or is no autoencoder.
sonde sae convert "$GOLDEN/../sae/standard" -o no --to sparsify
sonde sae convert "$GOLDEN/../sae/topk"
sonde sae convert "$GOLDEN/../sae/topk" -o "$GOLDEN/../sae" --to dictionary_learning
sonde sae info "$GOLDEN/../format/wants.pt"
sonde sae info "$GOLDEN/../format/state.pt"
ls
