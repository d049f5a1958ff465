#!/bin/sh
# Makes the pictures of README.md and docs/ anew: docs/pictures/make.sh models/stories.
set -eu
model=${1:?usage: docs/pictures/make.sh MODEL}
case $model in /*) ;; *) model=$PWD/$model ;; esac
cd "$(dirname "$0")"
sonde=../../build/sonde
text="Once upon a time, there was a little girl named Lily. She had a big red ball."

$sonde heatmap "$model" "$text" --hook mlp_post2 --neurons top:40 --exclude-bos -o neurons.png
$sonde heatmap "$model" "$text" --hook 'blocks.*.hook_resid_post' --stat l2 --exclude-bos -o norms.png
$sonde heatmap "$model" "$text" --hook attn1 -o attention.png
$sonde heatmap "$model" "$text" --hook attn1 --head 1 -o head.png
$sonde compare "$model" "$text" --exclude-bos -o tokens.png
$sonde compare "$model" "The cat sat. The dog sat. The boy ran. The girl ran." --exclude-bos -o words.png
$sonde compare "$model" "$text" --by layer --exclude-bos --values -o layers.png

# toy models: some of the pictures of a run, under names of their own
toys=$(mktemp -d)
trap 'rm -rf "$toys"' EXIT
for name in introduction phase-2 uniform geometry energy dictionary; do
    $sonde toy "$name" -o "$toys" -q
done
cp "$toys/introduction-arrows.png" toy-introduction.png
cp "$toys/phase-2-diagram.png" toy-phase-2.png
cp "$toys/uniform-dimensions.png" toy-uniform.png
cp "$toys/geometry-graphs.png" toy-geometry.png
cp "$toys/energy-dimensionality.png" toy-energy.png
cp "$toys/dictionary-architectures.png" toy-dictionary.png
