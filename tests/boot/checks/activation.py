"""Sockets that systemd binds, with the drop-in for that."""

from checks import check, expect, expect_that
from checks.clients import PLACES, TCP, UNIX, Load, comes_and_goes, echo, echo_everywhere
from checks.machine import SOCKETS, UNIT, Journal, activate, config, eventually, main_pid, show, systemctl


@check
def first_comer_starts_it():
    """Whichever socket somebody comes to, the service is started by it and answers. What it is passed goes by its name alone:
    the addresses of the configuration are others."""
    activate(config().replace(':7"', ':7009"').replace("%t/", "%t/other-"))
    for name, place in PLACES.items():
        systemctl("stop", UNIT)
        expect("the state before anybody comes", show("ActiveState"), "inactive")
        journal = Journal()
        echo(place, f"first at {name}".encode())
        # It answers before systemd has heard that it is ready.
        eventually(f"the state after somebody came to {name}", lambda: show("ActiveState"), "active")
        echo_everywhere()
        closed = [entry["MESSAGE"] for entry in journal.entries() if "passed" in str(entry["MESSAGE"])]
        expect("words about sockets that no listener wanted", closed, [])


@check
def sockets_stay():
    """When the service stops its sockets and their files stay with systemd; when they are stopped the files go."""
    activate()
    echo_everywhere()
    systemctl("stop", UNIT)
    expect("the sockets", [show("ActiveState", unit) for unit in SOCKETS], ["active"] * 4)
    echo(UNIX)
    systemctl("stop", UNIT, *SOCKETS)
    try:
        echo(UNIX)
        expect_that(False, "that the file is gone", UNIX[2])
    except FileNotFoundError:
        pass


@check
def restarts_under_load():
    """Five restarts, and nobody is refused."""
    activate()
    return restart_under_load()


def restart_under_load():
    works = [comes_and_goes(place, may_be_let_go=True) for place in (TCP, UNIX) for _ in range(3)]
    with Load(*works) as load:
        load.passes()
        for _ in range(5):
            before = main_pid()
            systemctl("restart", UNIT)
            expect_that(main_pid() not in (0, before), f"another process than {before}", main_pid())
            load.passes()
    return f"{load.count} connections"


@check
def idle_end():
    """With exit-idle-time it leaves when nobody is there, and the next who comes starts it again."""
    activate(config(daemon='exit-idle-time = "200ms"'))
    for place in PLACES.values():
        echo(place)
        eventually("an idle end", lambda: (show("ActiveState"), show("Result")), ("inactive", "success"))
