# Per token and per neuron as tables; BOS is named; the same hook with and without it.
# tolerance: 1e-3
sonde stats tiny --kernel ref --ids 1,403,407,261 --hook resid_post2 --top 3
sonde stats tiny --kernel ref --ids 1,403,407,261 --hook resid_post2 --by token --exclude-bos
sonde stats tiny --kernel ref --ids 403,407 --ids 261 --hook attn_scores1 --hook scale1ln1 --rank value --top 2
sonde stats tiny --kernel ref --ids 1 --hook embed --exclude-bos
echo "status $?"
