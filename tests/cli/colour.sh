# Colour on a terminal only, and not where NO_COLOR is set; no control character of a text reaches the terminal.
cat >on_terminal.py <<'END'
import os, pty, sys
program, terminal = pty.fork()
if program == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
out = b""
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError: # Linux says so where the other end is closed
        break
    if not piece:
        break
    out += piece
os.waitpid(program, 0)
print("coloured" if b"\x1b[" in out else "plain", "raw" if b"\x1b[2J" in out else "escaped", b"cat" in out)
END
printf 'the cat\033[2J' >odd.txt
TERM=xterm python3 on_terminal.py sonde tokenize tiny -f odd.txt
TERM=xterm NO_COLOR=1 python3 on_terminal.py sonde tokenize tiny -f odd.txt
TERM=dumb python3 on_terminal.py sonde tokenize tiny -f odd.txt
sonde tokenize tiny -f odd.txt | grep -c "$(printf '\033')"
TERM=xterm python3 on_terminal.py sonde generate tiny -f odd.txt --max-tokens 3
