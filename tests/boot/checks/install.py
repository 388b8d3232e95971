"""The package: what is there once it is installed."""

import re
import shutil

from checks import check, expect, expect_that
from checks.clients import echo_everywhere
from checks.machine import SOCKETS, UNIT, packaged, run, serve, show, systemctl


@check
def started_with_the_machine():
    """Installed before the machine was switched on, it is ready by the time that it is up."""
    expect("the service's state", show("ActiveState"), "active")
    expect("restarts", show("NRestarts"), "0")
    ready, up = (int(show("ActiveEnterTimestampMonotonic", unit)) for unit in (UNIT, "multi-user.target"))
    expect_that(0 < ready <= up, f"the service to be ready before {up} us", ready)
    echo_everywhere()
    run("dpkg", "--purge", "echod")


@check
def package():
    """The package installs, and the service is enabled and serves."""
    run("dpkg", "--install", "/run/boot/echod.deb")
    expect("the service's state", show("ActiveState"), "active")
    expect("what becomes of it at the next boot", systemctl("is-enabled", UNIT), "enabled")
    expect("changes to the files of the package", run("dpkg", "--verify", "echod"), "")
    echo_everywhere()


@check
def units_are_understood():
    """systemd has not a word to say about the units, with and without the drop-in."""
    expect("what systemd-analyze says", verify(), "")
    serve(drop_ins={"activated.conf": packaged("activated.conf")}, start=False)
    expect("what systemd-analyze says", verify(), "")


def verify():
    man = "yes" if shutil.which("man") else "no"
    return run("systemd-analyze", "verify", f"--man={man}", UNIT, *SOCKETS, with_errors=True)


@check
def exposure():
    """systemd calls the exposure of the service 1.5 at most, and that of the activated one 0.5."""
    seen = []
    for drop_ins, most in (({}, 15), ({"activated.conf": packaged("activated.conf")}, 5)):
        serve(drop_ins=drop_ins, start=False)
        told = run("systemd-analyze", "security", "--no-pager", f"--threshold={most}", UNIT)
        seen.append(re.search(r"[Ee]xposure level for \S+: (\S+)", told)[1])
    return " and ".join(seen)
