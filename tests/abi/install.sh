#!/bin/sh
# Installs a build into a folder of its own and uses it as a stranger would: through pkg-config and through CMake.
#
#   tests/abi/install.sh BUILD
#
# The stage is moved after the installation: the package must not remember where it was made.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
build=$1
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

cmake --install "$build" --prefix "$stage/first" >"$stage/log" 2>&1 || {
    cat "$stage/log"
    exit 1
}
mv "$stage/first" "$stage/usr"
prefix=$stage/usr
libdir=$(dirname "$(find "$prefix" -name 'libsonde.a')")

for file in bin/sonde include/sonde.h include/sonde/base.h share/bash-completion/completions/sonde \
    share/zsh/site-functions/_sonde share/fish/vendor_completions.d/sonde.fish; do
    [ -s "$prefix/$file" ] || {
        echo "not installed: $file"
        exit 1
    }
done
"$prefix/bin/sonde" --version

# What the example prints for one of the golden models: a line for each layer.
model=$root/tests/golden/models/llama-plain
use() {
    LD_LIBRARY_PATH=$libdir DYLD_LIBRARY_PATH=$libdir "$1" "$model" 1,5,7,3 >"$stage/out"
    grep -c -E '^blocks\.[0-9]+\.hook_resid_post \[1, 4, 12\], norm at the last token [0-9.]+$' "$stage/out" | grep -q -x 2 || {
        echo "$1 printed:"
        cat "$stage/out"
        exit 1
    }
    cat "$stage/out"
}

# pkg-config, as the head of examples/capture.c says.
export PKG_CONFIG_PATH="$libdir/pkgconfig"
[ "$(pkg-config --modversion sonde)" = "$("$prefix/bin/sonde" --version | awk '{ print $NF }')" ]
${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror examples/capture.c $(pkg-config --cflags --libs sonde) -lm -o "$stage/shared"
use "$stage/shared"

# The archive, with all that it needs.
${CC:-cc} -std=c11 $(pkg-config --cflags sonde) examples/capture.c "$libdir/libsonde.a" \
    $(pkg-config --static --libs sonde | sed 's/-lsonde//') -lm -o "$stage/static"
use "$stage/static"

# CMake.
mkdir "$stage/project"
cat >"$stage/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(stranger C)
find_package(sonde 0.1 REQUIRED)
add_executable(stranger ${EXAMPLE})
target_link_libraries(stranger PRIVATE sonde::sonde m)
END
cmake -S "$stage/project" -B "$stage/project/build" -DCMAKE_PREFIX_PATH="$prefix" -DEXAMPLE="$root/examples/capture.c" >"$stage/log" 2>&1 &&
    cmake --build "$stage/project/build" >>"$stage/log" 2>&1 || {
    cat "$stage/log"
    exit 1
}
use "$stage/project/build/stranger"
