# The image as an engine makes and runs it: the last stage of packaging/Containerfile, around the static binary that is already made, for
# the first stage needs a registry. Runs by aside.sh, without network.
set -euo pipefail
FAILED=()
. "$WORK/common.sh"

# matches_start TEXT WORD: the text begins with the word.
matches_start() {
    [[ "$1" == "$2"* ]]
}

CONTEXT=/tmp/image
# An installation of its own, without systemd, overlayfs and control groups: the copy of this machine has none of them.
ENGINE=(podman --root /tmp/engine/root --runroot /tmp/engine/run --storage-driver vfs --cgroup-manager cgroupfs --events-backend file
    --runtime crun)
# The network is that of the copy. A container has the limits of this machine; asking for more may be denied.
RUN=(run --cgroups disabled --network host --read-only --cap-drop all --security-opt no-new-privileges --ulimit nofile=1024:1024
    --ulimit nproc=1000:1000 --no-healthcheck)

mkdir -p /sys/fs/cgroup
mount -t tmpfs none /sys/fs/cgroup
mkdir -p $CONTEXT/packaging
cp "$WORK/echod" $CONTEXT/echod
cp "$WORK/container.toml" $CONTEXT/packaging/container.toml
sed -n '/^FROM scratch$/,$p' "$WORK/Containerfile" | sed 's|^COPY --from=build [^ ]* |COPY echod |' >$CONTEXT/Containerfile

check "the image is made" "${ENGINE[@]}" build --format docker --isolation chroot --file $CONTEXT/Containerfile --tag echod $CONTEXT
if ! told=$("${ENGINE[@]}" "${RUN[@]}" --rm echod --version 2>&1); then
    echo "skipped: podman cannot run a container on this machine, so the image is made and not run: $(tail -n 1 <<<"$told")"
    finish
    exit
fi
check "it is echod" matches_start "$told" "echod "
check "it starts" "${ENGINE[@]}" "${RUN[@]}" --detach --name reflector echod
# Its check of health, from a container beside it: the entry point is the same.
health=$("${ENGINE[@]}" image inspect --format '{{join .Config.Healthcheck.Test " "}}' echod)
# shellcheck disable=SC2086
health() {
    "${ENGINE[@]}" "${RUN[@]}" --rm echod ${health#CMD /echod }
}
for _ in {1..100}; do
    health >/dev/null 2>&1 && break
    sleep 0.1
done
check "its own check of health succeeds" health
for url in tcp://127.0.0.1:7007 udp://127.0.0.1:7007; do
    check "an echo from $url" "$WORK/echod" --probe "$url"
done
check "its configuration is right" "${ENGINE[@]}" "${RUN[@]}" --rm echod --check --config /etc/echod/echod.toml
first=$("${ENGINE[@]}" inspect --format '{{.State.Pid}}' reflector)
check "it runs as the user of the image" equal "$(awk '$1 == "Uid:" || $1 == "Gid:" { print $2 }' "/proc/$first/status" | paste -sd:)" \
    "$(sed -n 's/^USER //p' "$WORK/Containerfile")"
check "it has no capability" equal "$(awk '$1 == "CapBnd:" { print $2 }' "/proc/$first/status")" 0000000000000000
check "it stops when it is told to" "${ENGINE[@]}" stop --time 20 reflector
check "with exit code 0" equal "$("${ENGINE[@]}" inspect --format '{{.State.ExitCode}}' reflector)" 0
finish
