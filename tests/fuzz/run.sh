#!/usr/bin/env bash
# Runs the fuzz targets, as many at a time as there are cores:
#
#     run.sh all                  every one of them for FUZZ_SECONDS
#     run.sh TARGET [INPUT]       one of them, or one input of it, such as a crash's
#     run.sh merge                writes corpus/ anew, with a part of what all runs have found
#
# What new inputs a run finds lies beside what was built; inputs that crash in artifacts/.
set -euo pipefail
cd "$(dirname "$0")"

OUT="${CARGO_TARGET_DIR:-../../target}/fuzz"
SECONDS_EACH="${FUZZ_SECONDS:-60}"
MAX_LEN=8192
# Inputs of a target that are in the repository.
KEPT=35

targets() {
    for format in openai-chat openai-completions openai-responses anthropic gemini bedrock; do
        echo "requests-$format"
        echo "replies-$format"
    done
    echo storable
}

build() {
    CARGO_TARGET_DIR="$OUT" cargo build --release --locked --quiet
    host="$(rustc -vV | sed -n 's/^host: //p')"
    BINARY="$(realpath "$OUT/$host/release/refrain-fuzz")"
    export BINARY
}

fuzz() {
    local target=$1 found="$OUT/found/$1" log="$OUT/$1.log"
    mkdir -p "$found" artifacts "corpus/$target"
    local options=(-max_total_time="$SECONDS_EACH" -max_len=$MAX_LEN -timeout=10 -rss_limit_mb=1024 -dict=json.dict)
    if FUZZ_TARGET=$target "$BINARY" "${options[@]}" -artifact_prefix="artifacts/$target-" \
        "$found" "corpus/$target" ../golden >"$log" 2>&1; then
        echo "fuzz: $target: $(grep '^Done ' "$log"), $(grep -o 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$log" | tail -1)"
        return
    fi
    grep -E '^thread|^  *(left|right):|^==[0-9]+== ERROR|panicked at' -A3 "$log" | cut -c1-2000 || tail -20 "$log"
    local input
    input="$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
    echo "fuzz: $target fails with tests/fuzz/$input; again: make fuzz TARGET=$target INPUT=tests/fuzz/$input"
    return 1
}

merge() {
    local target=$1 merged every
    merged="$(mktemp -d)"
    mkdir -p "$OUT/found/$target" "corpus/$target"
    cp -n "corpus/$target"/* "$OUT/found/$target/" 2>/dev/null || true
    FUZZ_TARGET=$target "$BINARY" -set_cover_merge=1 -max_len=1024 "$merged" ../golden "$OUT/found/$target" >"$OUT/$target.log" 2>&1
    rm -rf "corpus/$target"
    mkdir "corpus/$target"
    # A repository is no place for thousands of files, so these are some of each size.
    every=$(($(find "$merged" -type f | wc -l) / KEPT + 1))
    find "$merged" -type f -printf '%s %p\n' | sort -n | awk -v every="$every" 'NR % every == 0 { print $2 }' \
        | xargs -r cp -t "corpus/$target"
    rm -r "$merged"
    echo "fuzz: $target: $(find "corpus/$target" -type f | wc -l) files, $(du -sb "corpus/$target" | cut -f1) bytes"
}

build
case "${1:-all}" in
    all)
        export -f fuzz
        export OUT SECONDS_EACH MAX_LEN
        # Told after all of them have run, so that one failure doesn't hide another.
        targets | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'fuzz {} || touch "$OUT/failed"'
        if [ -e "$OUT/failed" ]; then
            rm "$OUT/failed"
            exit 1
        fi
        ;;
    merge) for target in $(targets); do merge "$target"; done ;;
    *)
        if [ $# -gt 1 ]; then
            FUZZ_TARGET=$1 "$BINARY" -timeout=10 -rss_limit_mb=1024 "$2"
        else
            fuzz "$1"
        fi
        ;;
esac
