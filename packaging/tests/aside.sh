# aside.sh WORK COMMAND...: runs the command over a copy of this machine, as nobody will see it again. In namespaces of its own.
set -euo pipefail
work=$1
shift

top=$(mktemp -d)
mount -t tmpfs -o mode=755 none "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" none "$top/root"
cd "$top/root"
mount -t proc none proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=1777 none tmp
if [ "$work" != / ]; then
    mkdir -p ".$work"
    mount --bind "$work" ".$work"
fi
# No package may start anything: there is nobody to start it.
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
ip link set lo up
status=0
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive \
    WORK="$work" chroot . "$@" || status=$?
# The mounts end with the namespace; the folder does not.
cd /
umount --lazy "$top"
rmdir "$top"
exit "$status"
