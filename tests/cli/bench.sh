# stderr: any
# sanitizer: timed loops
# The benchmark names every number that it promises, and refuses nothing silently.
sonde bench forward tiny --batch 2 --tokens 16 --hook '*.hook_resid_post' --repeat 2 --json | python3 -c 'import json, sys
r = json.load(sys.stdin)
for key in "tokens_per_s", "gflops", "peak_gflops", "share", "peak_memory_bytes":
    print(key, r[key] > 0)
print(r["kernel"] != "", r["check_error"] <= 2e-5)'
sonde bench forward tiny --tokens 16 --repeat 1 --no-logits --hook resid_post0 | grep -c 'tokens/s'
sonde bench forward tiny --tokens 512 --repeat 1
echo "status $?"
sonde bench generate tiny --batch 5 --tokens 8 --repeat 2 --json | python3 -c 'import json, sys
r = json.load(sys.stdin)
for key in "tokens_per_s", "cpu_seconds", "gflops", "peak_gflops", "share", "cpu_share", "peak_memory_bytes":
    print(key, r[key] > 0)
print(r["schema"], r["batch"], r["tokens"], r["checked_tokens"])'
sonde bench generate tiny --batch 2 --tokens 4 --repeat 1 --top-k 5 --top-p 0.9 | grep -c 'tokens/s'
sonde bench generate tiny --tokens 512 --repeat 1
echo "status $?"
for optimizer in adamw muon; do
    sonde bench lm --shape one-layer --batch 2 --context 32 --repeat 2 --optimizer $optimizer --json | python3 -c 'import json, sys
r = json.load(sys.stdin)
for key in "seconds", "tokens_per_s", "gflops", "peak_gflops", "share", "peak_memory_bytes", "state_bytes", "scratch_bytes", "parameters":
    print(key, r[key] > 0)
print(r["schema"], r["batch"], r["tokens"], r["dtype"], r["kernel"] != "", r["check_error"] <= 2e-5)'
done
sonde bench lm --shape one-layer --batch 2 --context 16 --repeat 1 --products bf16 | grep -c 'tokens/s'
sonde bench lm --shape one-layer --context 4000 --repeat 1
echo "status $?"
