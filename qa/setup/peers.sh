#!/usr/bin/env bash
# Installs the gateways that `make bench` measures beside Alfred into a Python environment of their own under
# ${QA_CACHE:-$HOME/.cache/alfred}, pinned by peers.txt: some 900 MB, a minute or two. No test needs it. Does nothing that is
# done already; where it fails, the benchmark's tables say "not measured".
set -uo pipefail
cd "$(dirname "$0")"
cache="${QA_CACHE:-${HOME:?HOME or QA_CACHE must be set}/.cache/alfred}"
mkdir -p "$cache" || exit 1

say() { printf 'peers: %s\n' "$*"; }

python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    { say "needs Python 3.11 or newer with venv (Debian: python3 python3-venv)"; exit 1; }
key="$({ cat peers.txt; python3 --version; } | sha256sum | cut -c1-12)"
place="$cache/peers-$key"
log="$cache/pip-peers.log"
if [ ! -e "$place/done" ]; then
    say "making a Python environment (log: $log)"
    rm -rf "$place"
    python3 -m venv "$place" >"$log" 2>&1 || { say "no Python environment: see $log"; exit 1; }
    "$place/bin/pip" install -q -r peers.txt >>"$log" 2>&1 ||
        { say "the PyPI packages of qa/setup/peers.txt could not be installed: see $log"; exit 1; }
    touch "$place/done"
fi
ln -sfn "$place" "$cache/peers"
say "TensorZero and LiteLLM are there ($place)"
