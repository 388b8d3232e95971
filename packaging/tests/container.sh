# What packaging/Containerfile puts together, without an engine: the static binary and its configuration, and nothing else, served by
# nobody in particular, who is the first process there is. Runs by aside.sh.
set -euo pipefail
FAILED=()
. "$WORK/common.sh"

ROOT=/tmp/container
# What the Containerfile says about itself.
USER=$(sed -n 's/^USER //p' "$WORK/Containerfile")
HEALTH=$(sed -n 's/^ *CMD \[\("\/echod", "--probe".*\)\]$/\1/p' "$WORK/Containerfile" | tr -d '",')

contained() {
    chroot --userspec="$USER" $ROOT "$@"
}

install -D -m 755 "$WORK/echod" $ROOT/echod
install -D -m 644 "$WORK/container.toml" $ROOT/etc/echod/echod.toml
# What every engine gives a container.
mkdir $ROOT/proc $ROOT/dev
mount -t proc none $ROOT/proc
touch $ROOT/dev/null
mount --bind /dev/null $ROOT/dev/null

check "the binary needs no library" equal "$(objdump -p $ROOT/echod | grep -E 'NEEDED|INTERP' || true)" ""
check "the user is not root" [ "${USER%%:*}" -gt 0 ]
check "the configuration is right" contained /echod --check --config /etc/echod/echod.toml
check "without a daemon the check of health fails" not contained $HEALTH

unshare --pid --fork --kill-child chroot --userspec="$USER" $ROOT \
    /echod --config /etc/echod/echod.toml --announce >/tmp/announced 2>/tmp/log &
engine=$!
# All are announced at once. Its keeper has the file open as well, so its end says nothing.
for _ in {1..300}; do
    [ -s /tmp/announced ] && break
    sleep 0.1
done
announced=$(cat /tmp/announced)
first=$(pgrep -P $engine)
check "it is the first process" equal "$(awk '$1 == "NSpid:" { print $NF }' "/proc/$first/status")" 1
check "it runs as that user" equal "$(awk '$1 == "Uid:" || $1 == "Gid:" { print $2 }' "/proc/$first/status" | paste -sd:)" "$USER"
check "it has no capability" equal "$(awk '$1 == "CapEff:" { print $2 }' "/proc/$first/status")" 0000000000000000
check "it serves port 7007" equal "$(grep -o '"address":"[^"]*:7007"' <<<"$announced" | wc -l)" "$(wc -l <<<"$announced")"
check "the check of health succeeds" contained $HEALTH
for url in tcp://127.0.0.1:7007 'tcp://[::1]:7007' udp://127.0.0.1:7007 'udp://[::1]:7007'; do
    check "an echo from $url" contained /echod --probe "$url"
done
kill -TERM "$first"
status=0
wait $engine || status=$?
check "it ends as it is asked to" equal $status 0
finish
