"""What the file of a socket is like, and what systemd keeps, where the hardening of the unit or a drop-in decides with the configuration."""

import grp
import os
import pwd

from checks import check, expect
from checks.clients import UNIX, echo
from checks.machine import Journal, config, serve, systemctl

SOCKET = 'address = "%t/echod.sock"'
GROUP = "[Service]\nSupplementaryGroups=daemon\nSystemCallFilter=fchownat\n"


@check
def owner_of_a_socket_file():
    """Its owner is named without any right to give files away; another group takes two lines in a drop-in."""
    for drop_ins, group in (({}, "echod"), ({"group.conf": GROUP}, "daemon")):
        keys = f'socket-user = "echod"\nsocket-group = "{group}"\nsocket-mode = "0660"'
        serve(config().replace(SOCKET, f"{SOCKET}\n{keys}"), drop_ins)
        echo(UNIX)
        found = os.stat(UNIX[2])
        owner = (pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name, oct(found.st_mode & 0o7777))
        expect("the owner, the group and the mode", owner, ("echod", group, "0o660"))


@check
def what_is_not_kept():
    """A drop-in lets systemd keep fewer sockets than the unit says: the log of the next start tells."""
    serve(drop_ins={"few.conf": "[Service]\nFileDescriptorStoreMax=2\n"})
    journal = Journal()
    systemctl("restart", "echod.service")
    journal.find("raise FileDescriptorStoreMax=" if tells_itself() else "of 6 sockets were kept over the restart", priority=4)


def tells_itself():
    """Whether this systemd says by itself how many it keeps."""
    return int(systemctl("--version").split()[1]) >= 254
