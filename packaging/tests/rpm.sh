# From rpm -i to rpm -e. This is Debian, so its database knows of nothing that echod depends on; the scripts run. Runs by aside.sh.
set -euo pipefail
FAILED=()
. "$WORK/common.sh"
. "$WORK/installed.sh"

package() {
    echo "$WORK"/echod-*-"$1".*.rpm
}

pretend_booted
rpm --initdb
remember

step "installation"
check "rpm -i" without_complaint rpm -i --nodeps --force-debian "$(package 1)"
check "the service is started" restarts_after "$(asked)" start
check "all files are as they were packed" silent rpm -V --nodeps echod
check "its folders are its own" equal "$(rpm -qf --qf '%{NAME}\n' /etc/echod /usr/share/doc/echod /usr/share/licenses/echod | sort -u)" echod
check "what is in /etc is kept by upgrades" equal "$(rpm -q --qf '[%{FILENAMES} %{FILEFLAGS:fflags}\n]' echod | grep ' .*c' | sort | xargs)" "/etc/echod/conf.d/README cn $CONFIG cn"
check "it depends on what its unit runs" matches "$(rpm -q --requires echod)" '^/usr/bin/kill$'
check "both licences are marked as such" equal "$(rpm -q --licensefiles echod | wc -l)" 2
installed
serves

step "an upgrade"
edit_configuration
check "rpm -U" without_complaint rpm -U --nodeps --force-debian "$(package 2)"
check "the next revision is there" equal "$(rpm -q --qf '%{RELEASE}' echod)" 2
check "the service is restarted when the new files are there, and not stopped before" restarts_after "$(asked)" try-restart
check "the edit is kept" cmp $CONFIG /tmp/edited
check "nothing else differs" equal "$(rpm -V --nodeps echod | cut -c 10-)" "  c $CONFIG"
check "the service is enabled still" equal "$(systemctl is-enabled echod.service)" enabled

step "erasure"
installed_program=$(stat -c %i $PROGRAM)
check "rpm -e" rpm -e --force-debian echod
check "sockets and service are stopped while the files are there" equal "$(asked)" "stop $SOCKETS echod.service $installed_program"
# The folder of licences is that of another package, where there are others.
check "the edit is all that is left" equal "$(left_over | grep -v '^/usr/share/licenses$' | xargs)" "/etc/echod $CONFIG.rpmsave"
check "it is what it was" cmp $CONFIG.rpmsave /tmp/edited
check "and the user" getent passwd echod
finish
