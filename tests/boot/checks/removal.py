"""An upgrade of the package while it is used, and its removal."""

import os
import shutil

from checks import check, expect, expect_that
from checks.clients import TCP, UNIX, Load, comes_and_goes, echo_everywhere
from checks.machine import CONFIG, DROP_INS, SOCKETS, activate, config, is_alive, main_pid, processes, run, serve, show, systemctl

LEFT = ["/etc/echod", "/run/echod", "/usr/bin/echod", "/etc/systemd/system/multi-user.target.wants/echod.service"]


@check
def upgrade_under_load():
    """Nobody is refused while the package is replaced, and an edited configuration stays."""
    serve(config() + "# edited\n")
    return upgrade()


@check
def upgrade_under_load_when_activated():
    """The same with sockets that systemd bound; they stay."""
    activate(config() + "# edited\n")
    counted = upgrade()
    expect("the sockets", [show("ActiveState", unit) for unit in SOCKETS], ["active"] * 4)
    return counted


def upgrade():
    before = main_pid()
    works = [comes_and_goes(place, may_be_let_go=True) for place in (TCP, UNIX) for _ in range(3)]
    with Load(*works) as load:
        load.passes()
        run("dpkg", "--install", "/run/boot/echod.deb")
        load.passes()
    expect_that(CONFIG.read_text().endswith("# edited\n"), "the edited configuration", CONFIG.read_text())
    expect_that(main_pid() not in (0, before), f"another process than {before}", main_pid())
    return f"{load.count} connections"


@check
def removal():
    """Removed, it is stopped, and so are its sockets; purged, nothing of it is left but the user."""
    activate()
    echo_everywhere()
    there = processes()
    run("dpkg", "--remove", "echod")
    expect("processes that are left", {pid for pid in there if is_alive(pid)}, set())
    expect("the sockets", [show("ActiveState", unit) for unit in SOCKETS], ["inactive"] * 4)
    expect("units in a failed state", systemctl("list-units", "--failed", "--plain", "--no-legend"), "")
    expect_that(CONFIG.exists(), "the configuration to stay", "nothing")
    run("dpkg", "--purge", "echod")
    shutil.rmtree(DROP_INS)  # These were ours.
    expect("what is left of it", [path for path in LEFT if os.path.exists(path)], [])
