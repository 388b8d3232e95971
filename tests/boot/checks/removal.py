"""An upgrade of the package while it is used, and its removal."""

import os

from checks import check, expect, expect_that
from checks.clients import TCP, UNIX, Load, comes_and_goes, connect
from checks.machine import CONFIG, SOCKETS, UNIT, activate, config, eventually, main_pid, processes, run, serve, show


@check
def upgrade_under_load():
    """Nobody is refused while the package is replaced, and an edited configuration stays."""
    activate(config() + "# edited\n")
    works = [comes_and_goes(place, may_be_let_go=True) for place in (TCP, UNIX) for _ in range(3)]
    with Load(*works) as load:
        load.passes()
        run("dpkg", "--install", "/run/boot/echod.deb")
        load.passes()
    expect_that(CONFIG.read_text().endswith("# edited\n"), "the edited configuration", CONFIG.read_text())
    expect("the sockets", [show("ActiveState", unit) for unit in SOCKETS], ["active"] * 4)
    return f"{load.count} connections"


@check
def removal():
    """Removed, it is stopped; purged, nothing of it is left."""
    serve()
    left = processes()
    run("dpkg", "--remove", "echod")
    expect_that(not any(os.path.exists(f"/proc/{pid}") for pid in left), "no process to be left", left)
    run("dpkg", "--purge", "echod")
    expect_that(not CONFIG.exists(), "the configuration to be gone", str(CONFIG))
