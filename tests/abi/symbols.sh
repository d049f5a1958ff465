#!/bin/sh
# The shared library exports what tests/abi/symbols.txt lists, nothing else: a symbol that went is a broken program, one
# that came is a promise that somebody has to mean.
#
#   tests/abi/symbols.sh BUILD               compares
#   tests/abi/symbols.sh --update BUILD      writes the list anew
set -eu
cd "$(dirname "$0")/../.."

update=
if [ "$1" = --update ]; then
    update=1
    shift
fi
library=$1/libsonde.so
if [ ! -e "$library" ]; then
    library=$1/libsonde.dylib
fi
actual=$1/symbols.txt
# Names that begin with _ are the linker's, the sanitizers' and gcov's (_init, __asan_..., __gcov_...).
case $(uname) in
Darwin) nm -gU "$library" | awk '{ print substr($NF, 2) }' ;;
*) nm -D --defined-only "$library" | awk '{ print $NF }' ;;
esac | sed 's/@.*//' | grep -v '^_' | LC_ALL=C sort -u >"$actual"

if [ -n "$update" ]; then
    cp "$actual" tests/abi/symbols.txt
    echo "tests/abi/symbols.txt: $(wc -l <"$actual") symbols"
    exit 0
fi
if ! diff -u tests/abi/symbols.txt "$actual"; then
    echo "exported symbols differ from tests/abi/symbols.txt (make symbols writes it anew)"
    exit 1
fi
if grep -v '^sonde_' "$actual"; then
    echo "these exported symbols do not begin with sonde_"
    exit 1
fi
