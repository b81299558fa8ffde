#!/bin/sh
# Installs the Debian packages that are missing: `build` for building and the model, `test` for the test clients.
set -eu

missing=""
need() { # command or file, package
    case $1 in
        /*) for file in $1; do [ -e "$file" ] && return; done ;;
        *) command -v "$1" >/dev/null 2>&1 && return ;;
    esac
    missing="$missing $2"
}

case $1 in
    build)
        need cc gcc
        need c++ g++
        need make make
        # bindgen reads RocksDB's headers with it. clang's own library for C++, libclang-cpp, is another one.
        need "/usr/lib/llvm-*/lib/libclang.so* /usr/lib/*-linux-gnu/libclang.so* /usr/lib/*-linux-gnu/libclang-[0-9]*.so*" libclang-dev
        need python3 python3
        python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
        [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
        ;;
    test)
        need python3 python3
        python3 -c "import ensurepip, venv" >/dev/null 2>&1 || missing="$missing python3-venv"
        need node nodejs
        need npm npm
        ;;
esac
[ -z "$missing" ] && exit 0

echo "installing:$missing"
root=""
[ "$(id -u)" = 0 ] || root=sudo
$root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing
