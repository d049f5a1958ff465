# The first Ctrl-C ends the run in order: status 130, one line, and no file is left behind.
python3 - <<'END'
import os, signal, subprocess, time
text = '{"text": "%s"}\n' % ("the cat sat on the mat and " * 30)
open("many.jsonl", "w").write(text * 4000)
for command in (["act", "tiny", "-f", "many.jsonl", "--hook", "*", "-o", "x.npz", "-q"],
                ["act", "tiny", "-f", "many.jsonl", "--hook", "*.hook_post", "-o", "x.safetensors", "-q"],
                ["loss", "tiny", "-f", "many.jsonl", "-q"], ["tokenizer", "train", "many.jsonl", "-", "-o", "t", "--vocab", "300"],
                ["generate", "tiny", "the", "--max-tokens", "0", "-n", "4000"]):
    before = sorted(os.listdir("."))
    program = subprocess.Popen(["sonde", *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(1.0)
    program.send_signal(signal.SIGINT)
    err = program.stderr.read()  # standard input stays open: who waits for it must end all the same
    program.wait(timeout=60)
    print(command[0], program.returncode, err.decode().startswith("sonde: interrupted"), err.count(b"\n"), sorted(os.listdir(".")) == before)
END
