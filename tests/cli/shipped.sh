# The models that come with sonde: whole folders, small enough, that know how stories go.
cat >lily.txt <<'END'
Once upon a time, there was a little girl named Lily. She loved to play outside in the sunshine. One day, she saw a big red ball in the park. She wanted to play with it, but it was too high. Her mom helped her, and they played together all day. Lily was very happy.
END
for name in stories one-layer; do
    ls models/$name
    sonde info models/$name --json >info.json
    sonde loss models/$name -f lily.txt --json >loss.json
    sonde act models/$name "The cat sat on the mat." --hook '*.hook_post' --grad loss -q -o act.npz
    sonde generate models/$name "" -n 4 --max-tokens 60 --seed 1 -q >text.txt
    python3 -c '
import json, os, sys
folder, bits = sys.argv[1], float(sys.argv[2])
config = json.load(open(folder + "/config.json"))
info, loss = json.load(open("info.json")), json.load(open("loss.json"))
separator = json.load(open(folder + "/tokenizer.json"))["added_tokens"][0]
assert os.path.getsize(folder + "/model.safetensors") <= 8.0e6
assert config["bos_token_id"] == config["eos_token_id"] == separator["id"], config
assert config["vocab_size"] == 4096 and config["tie_word_embeddings"] and config["dtype"] == "bfloat16", config
assert loss["bits_per_byte"] < bits, loss
assert len(open("text.txt").read().split()) > 60
print(folder, info["parameters"] if "parameters" in info else "", "knows stories")' models/$name "$(test $name = stories && echo 0.9 || echo 1.4)"
done
