# shellcheck shell=bash
# Sourced by scripts/image-test: bases, build context and namespaces. Images live in a store of their own under the tools folder,
# with their layers, so that a second run builds only what changed.

store="$tools/containers"
# shellcheck disable=SC2154 # work, root, tools, bun_version: set by the scripts that source this
image() { buildah --root "$store" --runroot "$store-run" "$@"; }

debootstrap_base() {
  local suite mirror keyring=()
  suite="$(. /etc/os-release && echo "$VERSION_CODENAME")"
  # Its signature is checked where the keyring for it is at hand.
  [ -e "/usr/share/keyrings/$(. /etc/os-release && echo "$ID")-archive-keyring.gpg" ] || keyring=(--no-check-gpg)
  mirror="$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(RELEASE)' 'Created-By: Packages' | awk -v suite="$suite" '$3 == suite && $2 == "main" { print $1; exit }')"
  debootstrap "${keyring[@]}" --variant=minbase --include=ca-certificates,adduser --components="$(components "$suite")" "$suite" "$1/rootfs" "$mirror"
  rm -rf "$1/rootfs/var/cache/apt/archives" "$1/rootfs/var/lib/apt/lists"/*
  tar -C "$1/rootfs" -cf "$1/base.tar" .
  rm -rf "$1/rootfs"
}

components() { apt-get indextargets --format '$(COMPONENT) $(RELEASE)' 'Created-By: Packages' | awk -v suite="$1" '$2 == suite { print $1 }' | sort -u | paste -sd, -; }

# Two images from this machine's own sources: a bare Debian or Ubuntu, and the same with Bun in it.
make_bases() {
  once image-base "$(. /etc/os-release && echo "$VERSION_CODENAME") 1" debootstrap_base
  local tag
  tag="$(basename "$once_dir")"
  image inspect --type image "localhost/$tag" >/dev/null 2>&1 || podman --root "$store" --runroot "$store-run" import --quiet "$once_dir/base.tar" "localhost/$tag" >/dev/null
  base="localhost/$tag"
  compile_base="localhost/$tag-bun-$bun_version"
  if ! image inspect --type image "$compile_base" >/dev/null 2>&1; then
    local container
    container="$(image from "$base")"
    image copy --quiet "$container" "$(bun -p process.execPath)" /usr/local/bin/bun >/dev/null
    image commit --quiet "$container" "$compile_base" >/dev/null
    image rm "$container" >/dev/null
  fi
}

make_context() {
  mkdir -p "$1/image-test"
  (cd "$root" && git ls-files --cached --others --exclude-standard -z | xargs -0 --no-run-if-empty ls -d 2>/dev/null | tar -cf - --files-from=-) | tar -xf - -C "$1"
  "$FETTLE_PYTHON" "$root/scripts/lib/tiny_merge_case.py" "$1/image-test"
  mkdir "$1/image-test/served"
  "$FETTLE_PYTHON" "$root/scripts/lib/tiny_template_case.py" "$1/image-test/served"
  git init --quiet --initial-branch main "$work/webui"
  touch "$work/webui/webui.py"
  echo 'pillow' >"$work/webui/requirements_versions.txt"
  git -C "$work/webui" add . && git -C "$work/webui" -c user.name=test -c user.email=test@localhost commit --quiet -m "A webui for the build"
  git clone --quiet --bare "$work/webui" "$work/webui.git"
}

# build TARGET ARGUMENT…: packages come from where pip gets them on this machine, and proxies' certificates are this machine's.
build() {
  local target=$1 arguments=() path url links indexes
  shift
  links="$(pip_setting find-links)" indexes="$(pip_setting extra-index-url)"
  for path in $links; do [ ! -d "$path" ] || arguments+=(--volume "$path:$path:ro"); done
  # An index folder (…/simple) links to files beside it.
  for url in $indexes; do [ "${url#file://}" = "$url" ] || { path="$(dirname "${url#file://}")" && arguments+=(--volume "$path:$path:ro"); }; done
  path="$(pip_setting cert)"
  path="${path:-${SSL_CERT_FILE:-}}"
  [ -z "$path" ] || arguments+=(--volume "$path:/etc/ssl/certs/ca-certificates.crt:ro" --build-arg SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
    --build-arg NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt)
  image bud --format docker --isolation chroot --layers --target "$target" --tag "localhost/fettle-$target" \
    --build-arg "CPU_BASE=$base" --build-arg "GPU_BASE=$base" --build-arg "COMPILE_BASE=$compile_base" \
    --build-arg "UV_FIND_LINKS=$links" --build-arg "UV_INDEX=$indexes" --build-arg "UV_DEFAULT_INDEX=$(pip_setting index-url)" --build-arg UV_TORCH_BACKEND= \
    "${arguments[@]}" "$@" --file "$context/Dockerfile" "$context"
}

# A value of this machine's pip configuration, file and environment together; empty when it has none.
pip_setting() { "$FETTLE_PYTHON" -m pip config list 2>/dev/null | sed -n "s/^\(global\|:env:\)\.$1='\(.*\)'$/\2/p" | head -n 1; }

# json_says FILE EXPRESSION: of its content, j.
json_says() {
  "$FETTLE_PYTHON" -c 'import json, sys
j = json.load(open(sys.argv[1]))
sys.exit(None if eval(sys.argv[2]) else json.dumps(j)[:4000])' "$@"
}

config_says() {
  "$FETTLE_PYTHON" -c 'import json, sys
docker = json.load(open(sys.argv[1]))
c = docker["config"]
sys.exit(None if eval(sys.argv[2]) else json.dumps(c, indent=1))' "$@"
}

mount_image() {
  container="$(image from "localhost/fettle-$1")"
  rootfs="$(image mount "$container")"
  docker_json="$work/$1.json"
}

unmount_image() {
  image umount "$container" >/dev/null && image rm "$container" >/dev/null
  container=""
}

stop_mounts() { [ -z "${container:-}" ] || unmount_image 2>/dev/null || true; }

# inside NAME COMMAND…: runs a command in the mounted image the way `buildah run` does.
inside() { image run --isolation chroot "$container" -- "${@:2}"; }

# Starts the image's ENTRYPOINT and CMD as PID 1 of new pid, mount and network namespaces; its pid outside is then in $init.
start_init() {
  mapfile -t image_env < <("$FETTLE_PYTHON" -c 'import json, sys; print(*json.load(open(sys.argv[1]))["config"]["Env"], sep="\n")' "$docker_json")
  mapfile -t image_argv < <("$FETTLE_PYTHON" -c 'import json, sys; c = json.load(open(sys.argv[1]))["config"]; print(*c["Entrypoint"], *c["Cmd"], sep="\n")' "$docker_json")
  image_user="$("$FETTLE_PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["config"].get("User") or "root")' "$docker_json")"
  image_home="/home/$image_user"
  [ "$image_user" != root ] || image_home=/root
  # shellcheck disable=SC2016
  unshare --pid --fork --mount --net --uts --ipc bash -c '
    set -e
    rootfs=$1; user=$2; shift 2
    ip link set lo up
    mount --make-rprivate /
    mount --bind "$rootfs" "$rootfs"
    mount -t proc proc "$rootfs/proc"
    mount -t tmpfs tmpfs "$rootfs/dev"
    mkdir "$rootfs/dev/shm" && ln -s /proc/self/fd "$rootfs/dev/fd"
    for device in null zero full random urandom; do touch "$rootfs/dev/$device"; mount --bind "/dev/$device" "$rootfs/dev/$device"; done
    chmod 1777 "$rootfs/dev/shm"
    exec chroot --userspec="$user" "$rootfs" "$@"' init "$rootfs" "$image_user" env -i "HOME=$image_home" "${image_env[@]}" "${image_argv[@]}" >"$work/init.log" 2>&1 </dev/null &
  unshare_pid=$!
  init=""
  for _ in $(seq 100); do
    init="$(ps -o pid= --ppid "$unshare_pid" | tr -d ' ')"
    [ -z "$init" ] || [ "$(cat "/proc/$init/comm")" != tini ] || break
    sleep 0.1
  done
}

in_init() { nsenter --target "$init" --pid --net --mount chroot --userspec="$image_user" "$rootfs" env -i "HOME=$image_home" "${image_env[@]}" "$@"; }

# processes_of PID FIELD: a ps field of all processes in PID's namespace; users as numbers, they are the image's.
processes_of() { ps -e -o "pidns=,${2/#user/uid}=" | awk -v of="$(ps -o pidns= -p "$1")" '$1 == of + 0 { print $2 }'; }

# users_of PID NAME: the numbers of all users that run a program whose name begins so in PID's namespace.
users_of() { ps -e -o pidns=,uid=,comm= | awk -v of="$(ps -o pidns= -p "$1")" -v name="$2" '$1 == of + 0 && index($3, name) == 1 { print $2 }' | sort -u | paste -sd,; }

stop_init() {
  kill -TERM "$init" 2>/dev/null || true
  stopped_with=0
  wait "$unshare_pid" || stopped_with=$?
  init=""
}
