# tolerance: 1e-3
# Numbers without a file: summary, first values, likeliest tokens; control characters are escaped.
printf 'the\tcat\033[31m' >odd.txt
sonde act tiny -f odd.txt --hook resid_post3 --hook 'blocks.0.attn.hook_attn_scores' --top 2 --pos 2,-1
sonde act tiny --ids 1,5 --logits
