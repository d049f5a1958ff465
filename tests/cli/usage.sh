# `sonde` alone: usage on stderr, status 2; asked for, it goes to stdout with status 0.
sonde
echo "status $?"
sonde --help 2>/dev/null >asked
sonde 2>alone
cmp asked alone && echo same
sonde --version
