#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: Debian packages (where it may), a Python environment and
# node_modules under ${QA_CACHE:-$HOME/.cache/alfred}, pinned by requirements.txt and package-lock.json. Does
# nothing that is done already. What it cannot bring it names, and fails.
set -uo pipefail
cd "$(dirname "$0")"
cache="${QA_CACHE:-${HOME:?HOME or QA_CACHE must be set}/.cache/alfred}"
mkdir -p "$cache/wheels" || exit 1

say() { printf 'setup: %s\n' "$*"; }
missing=()
lacks() { missing+=("$*"); }

# --- Debian packages ---------------------------------------------------------------------------------------------
packages=()
has() { command -v "$1" >/dev/null 2>&1; }
[ -x /usr/lib/postgresql/15/bin/initdb ] || has initdb || packages+=(postgresql-15)
has psql || packages+=(postgresql-client-15)
has sqlite3 || packages+=(sqlite3)
has redis-server || packages+=(redis-server)
has curl || packages+=(curl)
has cc || packages+=(gcc libc6-dev)
has c++ || packages+=(g++)
has_faketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; }
has_faketime || packages+=(libfaketime)
has python3 || packages+=(python3)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if has apt-get && $sudo true 2>/dev/null; then
        say "installing ${packages[*]}"
        # The server is started by the tests themselves, in a folder of its own: no cluster for the machine.
        if ! dpkg -s postgresql-common >/dev/null 2>&1 && [[ " ${packages[*]} " == *" postgresql-15 "* ]]; then
            $sudo mkdir -p /etc/postgresql-common &&
                echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
        fi
        { $sudo apt-get update -qq &&
            $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } \
            >"$cache/apt.log" 2>&1 || say "apt-get failed; its last words: $(tail -n 2 "$cache/apt.log")"
    else
        say "cannot install Debian packages here (no apt-get, or not root and no sudo)"
    fi
fi
[ -x /usr/lib/postgresql/15/bin/initdb ] || has initdb || lacks "Postgres 15 server (Debian: postgresql-15)"
has psql || lacks "psql (Debian: postgresql-client-15)"
has redis-server || lacks "Redis (Debian: redis-server)"
has sqlite3 || lacks "sqlite3 (Debian: sqlite3)"
has_faketime || lacks "libfaketime, which moves a process's clock (Debian: libfaketime)"
has curl || lacks "curl (Debian: curl)"
has cc && has c++ || lacks "a C and C++ compiler (Debian: gcc g++ libc6-dev)"
has cargo || lacks "Rust (cargo), at least the version that Cargo.toml names as rust-version"

# --- Python ------------------------------------------------------------------------------------------------------
python_tools() {
    has python3 || { lacks "Python 3.11 or newer (Debian: python3 python3-venv)"; return; }
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { lacks "Python 3.11 or newer: this is $(python3 --version)"; return; }
    python3 -c 'import venv, ensurepip' 2>/dev/null || { lacks "Python's venv (Debian: python3-venv)"; return; }
    local key place log="$cache/pip.log"
    key="$({ cat requirements.txt; python3 --version; } | sha256sum | cut -c1-12)"
    place="$cache/venv-$key"
    if [ ! -e "$place/done" ]; then
        say "making a Python environment (log: $log)"
        rm -rf "$place"
        python3 -m venv "$place" >"$log" 2>&1 || { lacks "a Python environment: see $log"; return; }
        # Built from source, a matter of minutes, so the wheel is kept, by version.
        local llama version
        llama="$(grep -i '^llama_cpp_python==' requirements.txt)"
        version="${llama##*==}"
        if ! compgen -G "$cache/wheels/llama_cpp_python-$version-*.whl" >/dev/null; then
            say "building llama-cpp-python $version once, 5 to 10 minutes"
            rm -rf "$cache/wheels/building"
            CMAKE_ARGS="-DGGML_NATIVE=OFF" CMAKE_BUILD_PARALLEL_LEVEL="$(nproc)" \
                "$place/bin/pip" wheel -q --no-deps -w "$cache/wheels/building" "$llama" >>"$log" 2>&1 &&
                mv "$cache"/wheels/building/llama_cpp_python-*.whl "$cache/wheels/" ||
                { lacks "llama-cpp-python $version (its build failed: see $log)"; return; }
        fi
        "$place/bin/pip" install -q --find-links "$cache/wheels" -r requirements.txt >>"$log" 2>&1 ||
            { lacks "the PyPI packages of qa/setup/requirements.txt: see $log"; return; }
        touch "$place/done"
    fi
    ln -sfn "$place" "$cache/venv"
    [ "$cache/tiny.gguf" -nt make_tiny_gguf.py ] || python3 make_tiny_gguf.py "$cache/tiny.gguf" ||
        lacks "the tiny model: make_tiny_gguf.py failed"
}
python_tools

# Frameworks that cannot live beside the newest SDKs.
frameworks() {
    [ ${#missing[@]} -eq 0 ] || return
    local key place log="$cache/pip-frameworks.log"
    key="$({ cat frameworks.txt; python3 --version; } | sha256sum | cut -c1-12)"
    place="$cache/frameworks-$key"
    if [ ! -e "$place/done" ]; then
        say "making a Python environment for frameworks (log: $log)"
        rm -rf "$place"
        python3 -m venv "$place" >"$log" 2>&1 && "$place/bin/pip" install -q -r frameworks.txt >>"$log" 2>&1 ||
            { lacks "the PyPI packages of qa/setup/frameworks.txt: see $log"; return; }
        touch "$place/done"
    fi
    ln -sfn "$place" "$cache/frameworks"
}
frameworks

# Another engine for Rego, to compare ours with.
rego() {
    [ ${#missing[@]} -eq 0 ] || return
    local key place log="$cache/pip-rego.log"
    key="$({ cat rego.txt; python3 --version; } | sha256sum | cut -c1-12)"
    place="$cache/rego-$key"
    if [ ! -e "$place/done" ]; then
        say "making a Python environment for Rego (log: $log)"
        rm -rf "$place"
        python3 -m venv "$place" >"$log" 2>&1 && "$place/bin/pip" install -q -r rego.txt >>"$log" 2>&1 ||
            { lacks "the PyPI packages of qa/setup/rego.txt: see $log"; return; }
        touch "$place/done"
    fi
    ln -sfn "$place" "$cache/rego"
}
rego

# --- Node --------------------------------------------------------------------------------------------------------
node_tools() {
    has node && has npm || { lacks "Node 20 or newer with npm"; return; }
    [ "$(node -p 'Number(process.versions.node.split(".")[0]) >= 20')" = true ] ||
        { lacks "Node 20 or newer: this is $(node --version)"; return; }
    local clients=../clients/node key place log="$cache/npm.log"
    key="$({ cat $clients/package.json $clients/package-lock.json; node --version; } | sha256sum | cut -c1-12)"
    place="$cache/node-$key"
    if [ ! -e "$place/done" ]; then
        say "installing the Node clients (log: $log)"
        rm -rf "$place" && mkdir -p "$place" && cp $clients/package.json $clients/package-lock.json "$place/" &&
            (cd "$place" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 ||
            { lacks "the npm packages of qa/clients/node: see $log"; return; }
        touch "$place/done"
    fi
    ln -sfn "$place" "$cache/node"
}
node_tools

# --- Prometheus' own judge of a page of metrics: one program of its package, without the server -------------------
promtool() {
    [ ! -x "$cache/promtool" ] || return
    if has promtool; then ln -sfn "$(command -v promtool)" "$cache/promtool"; return; fi
    local place log="$cache/promtool.log"
    place="$(mktemp -d)"
    say "fetching promtool (log: $log)"
    { (cd "$place" && apt-get download prometheus) && dpkg-deb -x "$place"/prometheus_*.deb "$place/out" &&
        install -m 755 "$place/out/usr/bin/promtool" "$cache/promtool"; } >"$log" 2>&1 ||
        lacks "promtool (Debian: prometheus): see $log"
    rm -rf "$place"
}
promtool

# --- A vault -----------------------------------------------------------------------------------------------------
# Built once into the cache folder: some eight minutes of a processor.
vault() {
    local version=0.2.1 log="$cache/rusty_vault.log"
    [ -x "$cache/rusty_vault-$version/bin/rvault" ] && return
    has cargo || return
    say "building RustyVault $version (log: $log)"
    CARGO_TARGET_DIR="$cache/rusty_vault-build" CARGO_PROFILE_DEV_DEBUG=false cargo install rusty_vault \
        --version "$version" --locked --debug --root "$cache/rusty_vault-$version" >"$log" 2>&1 ||
        lacks "RustyVault $version: see $log"
    rm -rf "$cache/rusty_vault-build"
}
vault

if [ ${#missing[@]} -gt 0 ]; then
    say "the tests cannot run; missing:"
    printf 'setup:   - %s\n' "${missing[@]}"
    exit 1
fi
say "everything the tests need is there ($cache)"
