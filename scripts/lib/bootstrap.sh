# shellcheck shell=bash
# Sourced by the scripts. Brings what a new machine lacks (Debian or Ubuntu with git, Python 3.11 and either npm or Bun).
# Each need_… function is idempotent, says nothing when there is nothing to do, and may run twice at once.
# Downloads lie under ~/.cache/fettle/tools, in folders named by a hash of what was asked for; remove it at will.

bun_version=1.4.5
deno_version=2.9.6

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
tools="${XDG_CACHE_HOME:-$HOME/.cache}/fettle/tools"

say() { printf '%s\n' "$*" >&2; }

# once NAME KEY COMMAND…: runs COMMAND with a new folder as its last argument, once for NAME and KEY; its path is then in $once_dir.
once() {
  local name=$1 key
  key="$(printf '%s' "$2" | sha256sum | cut -c1-12)"
  shift 2
  once_dir="$tools/$name-$key"
  [ -e "$once_dir/.complete" ] && return 0
  mkdir -p "$tools"
  (
    flock 9
    [ -e "$once_dir/.complete" ] && exit 0
    say "Installing $name (once) …"
    rm -rf "$once_dir"
    mkdir "$once_dir"
    "$@" "$once_dir" 9>&- >"$once_dir.log" 2>&1 || {
      tail -n 30 "$once_dir.log" >&2
      say "Cannot install $name: see $once_dir.log."
      exit 1
    }
    touch "$once_dir/.complete"
  ) 9>"$once_dir.lock"
}

# npm_install PACKAGE@VERSION FOLDER; --trust because both packages place their binary in a postinstall script.
npm_install() {
  if command -v npm >/dev/null; then
    npm install --prefix "$2" --no-save --no-audit --no-fund --no-update-notifier "$1"
  else
    (cd "$2" && echo '{}' >package.json && bun add --exact --trust "$1")
  fi
}

need_bun() {
  if [ "$(bun --version 2>/dev/null || true)" = "$bun_version" ]; then return 0; fi
  if ! command -v npm >/dev/null && ! command -v bun >/dev/null; then need_apt npm; fi
  once bun "$bun_version" npm_install "bun@$bun_version"
  export PATH="$once_dir/node_modules/.bin:$PATH"
}

need_deno() {
  if deno --version 2>/dev/null | grep -q "^deno $deno_version "; then return 0; fi
  once deno "$deno_version" npm_install "deno@$deno_version"
  export PATH="$once_dir/node_modules/.bin:$PATH"
}

need_node_modules() {
  need_bun
  local wanted
  wanted="$(cat "$root/package.json" "$root/bun.lock" | sha256sum | cut -c1-64)"
  [ "$(cat "$root/node_modules/.fettle-lock" 2>/dev/null || true)" = "$wanted" ] && return 0
  mkdir -p "$tools"
  (
    flock 9
    cd "$root" || exit 1
    bun install --frozen-lockfile --no-progress >&2 9>&-
    printf '%s' "$wanted" >node_modules/.fettle-lock
  ) 9>"$tools/node-modules-$(printf '%s' "$root" | sha256sum | cut -c1-12).lock"
}

# The newest Python from 3.11 on that is at hand; installs Debian's when there is none.
find_python() {
  local candidate
  for candidate in python3.11 python3 python3.12 python3.13; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python="$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", None) or sys.executable)')"
      return 0
    fi
  done
  need_apt python3 python3-venv
  python="$(command -v python3)"
}

# Debian's python3 comes without ensurepip unless python3-venv is there; where nobody may install it, pip's virtualenv does.
create_venv() {
  local dir=$1
  if "$python" -c 'import ensurepip' 2>/dev/null || need_apt python3-venv 2>/dev/null; then
    "$python" -m venv "$dir"
  else
    "$python" -m pip install --quiet --target "$dir/.virtualenv" virtualenv
    PYTHONPATH="$dir/.virtualenv" "$python" -m virtualenv "$dir"
  fi
}

install_python_env() {
  local dir=$1
  create_venv "$dir"
  "$dir/bin/python" -m pip install --disable-pip-version-check --no-input --requirement "$root/test/requirements.txt" \
    --requirement "$root/src/engines/diffusers/helper/requirements.txt"
}

# A virtual environment with the bundled engine's requirements and the tests' own; its Python is then in $FETTLE_PYTHON, and for the tests that need packages in $FETTLE_TEST_PYTHON.
need_python_env() {
  find_python
  local key
  key="$python $("$python" --version) $(cat "$root/test/requirements.txt" "$root/src/engines/diffusers/helper/requirements.txt")"
  once python-packages "$key" install_python_env
  export FETTLE_PYTHON="$once_dir/bin/python" FETTLE_TEST_PYTHON="$once_dir/bin/python"
}

# need_apt PACKAGE…: installs the missing ones when root or a sudo without a question allows it.
need_apt() {
  local package missing=() sudo=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "Cannot install ${missing[*]}: this needs root. Run: apt-get install ${missing[*]}"
      return 1
    fi
    sudo=(sudo -n)
  fi
  say "Installing ${missing[*]} …"
  mkdir -p "$tools"
  (
    flock 9
    apt_install "${missing[@]}" 9>&- >"$tools/apt.log" 2>&1 || {
      tail -n 20 "$tools/apt.log" >&2
      say "Cannot install ${missing[*]}: see $tools/apt.log."
      exit 1
    }
  ) 9>"$tools/apt.lock"
}

apt_install() {
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq)
  "${apt[@]}" install --yes --no-install-recommends "$@" </dev/null || {
    "${apt[@]}" update </dev/null
    "${apt[@]}" install --yes --no-install-recommends "$@" </dev/null
  }
}
