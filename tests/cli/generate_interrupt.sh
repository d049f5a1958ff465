# Ctrl-C: the file is whole, and the message says how to draw the rest.
python3 - <<'END'
import json, os, re, signal, subprocess, time
line = ["sonde", "generate", "tiny", "the", "--max-tokens", "20", "-n", "1000000", "--batch", "8", "-q"]
program = subprocess.Popen([*line, "-o", "x.jsonl"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
time.sleep(1.5)
program.send_signal(signal.SIGINT)
_, err = program.communicate(timeout=60)
err = err.decode()
first = int(re.search(r"--first (\d+)", err).group(1))
texts = [json.loads(text)["text"] for text in open("x.jsonl")]
print(program.returncode, err.startswith("sonde: interrupted"), len(texts) == first, [name for name in os.listdir(".") if "part" in name])
line[line.index("1000000")] = str(first + 3)
rest = subprocess.run([*line, "--first", str(first - 1), "--jsonl"], check=True, capture_output=True, text=True).stdout
print(len(rest.splitlines()), json.loads(rest.splitlines()[0])["text"] == texts[-1])
END
