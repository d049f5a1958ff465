# Ctrl-C stops a harvest in order: status 130, whole shards alone, and going on ends with the bytes of one that was not stopped.
python3 - <<'END'
import json, os, signal, subprocess, time
common = ["models/stories", "-f", "stories.jsonl:10", "--hook", "blocks.1.hook_resid_post", "--shard-bytes", "50000"]
program = subprocess.Popen(["sonde", "harvest", *common, "-o", "s"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
while not os.path.exists("s/shard-00000.safetensors"):
    time.sleep(0.01)
program.send_signal(signal.SIGINT)
err = program.stderr.read().decode().splitlines()
program.wait(timeout=60)
n = sum(name.startswith("shard") for name in os.listdir("s"))
print(program.returncode, err[-2] == f"sonde: interrupted: {n} of 200 shards are written", 0 < n < 200, err[-1].split(";")[0])
print(all(name.endswith((".safetensors", ".json")) for name in os.listdir("s")))
subprocess.run(["sonde", "harvest", *common, "-o", "whole", "-q"], stdout=subprocess.DEVNULL)
subprocess.run(["sonde", "harvest", "--resume", "-o", "s", "-q"], stdout=subprocess.DEVNULL)
names = sorted(os.listdir("whole"))
same = [open(f"s/{name}", "rb").read() == open(f"whole/{name}", "rb").read() for name in names if name != "manifest.json"]
print(names == sorted(os.listdir("s")), len(same), all(same))
print(json.load(open("s/manifest.json"))["store"]["rows"])
END
