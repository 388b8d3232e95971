# What is to be so wherever echod is installed, whichever package brought it. Sourced.

PROGRAM=/usr/bin/echod
CONFIG=/etc/echod/echod.toml
SOCKETS="echod-tcp.socket echod-udp.socket echod-unix.socket echod-unix-datagram.socket"
# echod as the unit runs it, as far as that goes without a service manager.
AS_SERVICE=(env RUNTIME_DIRECTORY=/run/echod setpriv --reuid=echod --regid=echod --init-groups
    --inh-caps=+net_bind_service --ambient-caps=+net_bind_service "$PROGRAM")
# What the packages asked of the service manager, a line each, and which binary was there at that time.
ASKED=/var/tmp/asked

# A service manager that notes what it is asked for: with one on the machine, the scripts of the packages talk to it.
pretend_booted() {
    mkdir -p /run/systemd/system
    mv /usr/bin/systemctl /usr/bin/systemctl.real
    cat >/usr/bin/systemctl <<'END'
#!/bin/sh
case " $* " in
    *" is-enabled "* | *" enable "* | *" disable "* | *" preset "*) exec /usr/bin/systemctl.real --root=/ "$@" ;;
esac
echo "$* $(stat -c %i /usr/bin/echod)" >>/var/tmp/asked
END
    chmod 755 /usr/bin/systemctl
    # Its own questions would need answers.
    printf '#!/bin/sh\nexec systemctl "$@"\n' >/usr/bin/deb-systemd-invoke
    : >"$ASKED"
}

# What was asked since the last time, without reloads of the manager itself.
asked() {
    grep -v 'daemon-reload' "$ASKED" || true
    : >"$ASKED"
}

# The service manager must be asked to restart, once, when the new binary is in its place, and for nothing before.
restarts_after() {
    equal "$1" "$2 echod.service $(stat -c %i $PROGRAM)"
}

installed() {
    local user
    check "the user is there" getent passwd echod
    user=$(getent passwd echod || true)
    check "it cannot log in, and is one of the system" matches "$user" '^echod:x:[1-9][0-9]?[0-9]?:[0-9]*:[^:]*:/:/usr/sbin/nologin$'
    check "the service is enabled" equal "$(systemctl is-enabled echod.service)" enabled
    # shellcheck disable=SC2086
    check "its sockets are not" equal "$(systemctl is-enabled $SOCKETS | sort -u)" disabled
    check "the configuration is the administrator's" equal "$(stat -c '%U %G %a' $CONFIG)" "root root 644"
    check "everybody may read it, the service too" equal "$(stat -c '%U %G %a' /etc/echod)" "root root 755"
    check "the configuration is right" "${AS_SERVICE[@]}" --check --config $CONFIG
    check "it serves this machine only" equal "$(foreign)" ""
    check "the unit says nothing that systemd does not know" silent systemd-analyze verify --man=no --recursive-errors=no echod.service
    if command -v man >/dev/null; then
        check "man finds echod(8)" man -w 8 echod
        check "man finds echod-selftest(1)" man -w 1 echod-selftest
        check "man finds echod.toml(5)" man -w 5 echod.toml
    fi
}

matches() {
    grep -qE -- "$2" <<<"$1" || equal "$1" "$2"
}

# Addresses that are served and are not of this machine.
foreign() {
    "${AS_SERVICE[@]}" --check --config $CONFIG 2>/dev/null | grep -vE 'at (tcp|udp)://(127\.0\.0\.1|\[::1\]):7,|at unix(-datagram)?:/run/echod/'
}

# Starts what is installed, as it is installed, and asks it.
serves() {
    local daemon line url status=0
    install -d -o echod -g echod /run/echod
    mkfifo /tmp/announced
    "${AS_SERVICE[@]}" --announce --config $CONFIG >/tmp/announced 2>/tmp/log &
    daemon=$!
    # It closes its end when all are served.
    timeout 60 cat /tmp/announced >/dev/null
    rm /tmp/announced
    for url in tcp://127.0.0.1:7 'tcp://[::1]:7' udp://127.0.0.1:7 'udp://[::1]:7' unix:/run/echod/echod.sock unix-datagram:/run/echod/datagram.sock; do
        check "an echo from $url" $PROGRAM --probe "$url"
    done
    exec 3<>/dev/tcp/127.0.0.1/7
    echo "hello" >&3
    read -r -t 10 line <&3 || line=
    exec 3>&-
    check "an echo for another client" equal "$line" hello
    kill -TERM $daemon
    wait $daemon || status=$?
    check "it ends as it is asked to" equal $status 0
    check "its sockets are gone" equal "$(ls /run/echod)" ""
    rmdir /run/echod
}

# Everything that packages may put somewhere. What was there is remembered by name.
remember() {
    find /etc /usr /var /run /opt /srv -xdev | sort >/tmp/before
}

# What is there now and was not.
left_over() {
    # The databases and logs of the package managers, the cache of man, copies that are made of the list of users, and what comes of
    # the pretence.
    find /etc /usr /var /run /opt /srv -xdev | sort | comm -13 /tmp/before - |
        grep -vE '^/var/(lib/(dpkg|rpm)|cache|log)/|^/etc/(passwd|group|shadow|gshadow)-$|^/etc/\.pwd\.lock$|^/run/systemd/'
}

# What an administrator has changed is kept in /tmp/edited, to be compared with later.
edit_configuration() {
    sed -i 's/^idle-timeout = .*/idle-timeout = "1m"/' $CONFIG
    check "the edit is one" grep -q 'idle-timeout = "1m"' $CONFIG
    cp $CONFIG /tmp/edited
}
