#!/bin/sh
# Sets up what the client tests run with, in the directory $1: a virtual environment, aimock, and a node that can run it.
# With `llm` as $2 also a real model and its server. Writes $1/environment for `env`.
set -eu
tools=$1
here=$(cd "$(dirname "$0")/../tests/clients" && pwd)
mkdir -p "$tools"

# Anew only when what is asked for has changed.
changed() { # stamp, files…
    stamp="$tools/$1"; shift
    cat "$@" | cmp -s - "$stamp"  && return 1
    return 0
}

if changed requirements "$here/requirements.txt"; then
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-compile -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/requirements"
fi

if changed package.json "$here/package.json"; then
    cp "$here/package.json" "$tools/package.json.new"
    rm -rf "$tools/node_modules" && mkdir -p "$tools/npm"
    cp "$here/package.json" "$tools/npm/package.json"
    (cd "$tools/npm" && npm install --silent --no-audit --no-fund --no-package-lock)
    mv "$tools/package.json.new" "$tools/package.json"
fi

# aimock needs node 20; Debian 12 has 18, so the npm package of node's own binary stands in.
node=node
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    [ -x "$tools/npm/node_modules/node/bin/node" ] ||
        (cd "$tools/npm" && npm install --silent --no-audit --no-fund --no-package-lock --no-save node@22)
    node="$tools/npm/node_modules/node/bin/node"
fi

if [ "${2:-}" = llm ] && changed requirements-llm "$here/requirements-llm.txt"; then
    "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-deps -r "$here/requirements-llm.txt"
    cp "$here/requirements-llm.txt" "$tools/requirements-llm"
fi

printf 'REFRAIN_NODE_MODULES=%s\nREFRAIN_NODE=%s\n' "$tools/npm/node_modules" "$node" > "$tools/environment"
