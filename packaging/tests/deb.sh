# From dpkg -i to dpkg --purge. Runs by aside.sh.
set -euo pipefail
FAILED=()
. "$WORK/common.sh"
. "$WORK/installed.sh"

package() {
    echo "$WORK"/echod_*-"$1"_*.deb
}

# Every file and folder that it owns: root's, and writable for root only.
permissions() {
    dpkg -L echod | grep -E '^/(usr/bin/echod$|etc/echod|usr/.*echod)' | while read -r file; do
        [ -d "$file" ] || [ "$file" = $PROGRAM ] && wanted="root root 755" || wanted="root root 644"
        [ "$(stat -c '%U %G %a' "$file")" = "$wanted" ] || stat -c '%n %U %G %a' "$file"
    done
}

version() {
    dpkg-query -W -f '${Version}' echod
}

pretend_booted
remember

step "installation"
check "dpkg -i" dpkg -i "$(package 1)"
check "the service is started" restarts_after "$(asked)" start
check "all files are as they were packed" silent dpkg -V echod
check "permissions" equal "$(permissions)" ""
check "there are files" [ "$(dpkg -L echod | wc -l)" -gt 40 ]
check "what is in /etc is a conffile" equal "$(dpkg-query -W -f '${Conffiles}' echod | awk '{print $1}' | sort | xargs)" "/etc/echod/conf.d/README $CONFIG"
check "it depends on what it needs" matches "$(dpkg-query -W -f '${Depends}' echod)" '^libc6 \(>= 2\.3[0-6]\), libgcc-s1, procps, systemd \|'
installed
serves

step "an upgrade"
edit_configuration
check "dpkg -i of the next revision" dpkg -i "$(package 2)"
check "it is there" matches "$(version)" '-2$'
check "the service is restarted when the new files are there, and not stopped before" restarts_after "$(asked)" restart
check "the edit is kept" cmp $CONFIG /tmp/edited
check "the service is enabled still" equal "$(systemctl is-enabled echod.service)" enabled

step "an upgrade with another default"
systemctl disable echod.service 2>/dev/null
systemctl enable echod-tcp.socket 2>/dev/null
check "dpkg -i of the revision after" dpkg --force-confdef --force-confold -i "$(package 3)"
check "the edit is kept again" cmp $CONFIG /tmp/edited
check "the new default is beside it" grep -q 'Another default' $CONFIG.dpkg-dist
check "what was disabled stays so" equal "$(systemctl is-enabled echod.service || true)" disabled
check "what was enabled stays so" equal "$(systemctl is-enabled echod-tcp.socket)" enabled
asked >/dev/null

step "removal"
installed_program=$(stat -c %i $PROGRAM)
check "dpkg --remove" dpkg --remove echod
stopped="stop echod-unix-datagram.socket|stop echod-unix.socket|stop echod-udp.socket|stop echod-tcp.socket|stop echod.service"
check "sockets and service are stopped while the files are there" equal "$(asked | paste -sd'|')" "${stopped//|/ $installed_program|} $installed_program"
check "the program is gone" [ ! -e $PROGRAM ]
check "the unit is gone" [ ! -e /usr/lib/systemd/system/echod.service ]
check "the configuration stays" cmp $CONFIG /tmp/edited

step "purge"
check "dpkg --purge" dpkg --purge echod
check "nothing is left" equal "$(left_over)" ""
check "but the user" getent passwd echod

step "a fresh start"
check "dpkg -i" dpkg -i "$(package 2)"
check "the service is enabled again" equal "$(systemctl is-enabled echod.service)" enabled
finish
