"""Restarts of the service that binds its sockets by itself: systemd keeps them meanwhile (FileDescriptorStoreMax=)."""

import os
import signal

from checks import check, expect
from checks.activation import restart_under_load
from checks.clients import PLACES, TCP, UNIX, Load, comes_and_goes, connect, echo_everywhere, receive
from checks.machine import UNIT, config, eventually, main_pid, serve, show, systemctl
from checks.reload import MORE, MORE_PLACE, reload_with
from checks.stop import expect_end


@check
def under_load():
    """Five restarts, and nobody is refused."""
    serve()
    return restart_under_load()


@check
def crashes_under_load():
    """Three times the main process is killed: whoever it served loses the connection, but nobody is refused."""
    serve(drop_ins={"soon.conf": "[Service]\nRestartSec=100ms\n"})
    works = [comes_and_goes(place, may_be_let_go=True) for place in (TCP, UNIX) for _ in range(3)]
    with Load(*works) as load:
        for restarts in (1, 2, 3):
            load.passes()
            os.kill(main_pid(), signal.SIGKILL)
            eventually("restarts", lambda: (int(show("NRestarts")), show("SubState")), (restarts, "running"))
        load.passes()
    return f"{load.count} connections"


@check
def systemd_that_restarts():
    """systemd executes itself anew, as its upgrade does: it knows the service and its sockets still, and is told things."""
    serve()
    pid = main_pid()
    systemctl("daemon-reexec")
    expect("the main process", main_pid(), pid)
    expect("the number of kept sockets", int(show("NFileDescriptorStore")), len(PLACES))
    reload_with(config(more=MORE))
    eventually("the status", lambda: show("StatusText"), wanted=lambda seen: seen.startswith("serving 5 listeners"))
    return restart_under_load()


@check
def while_it_is_down():
    """Who comes after a crash and before the restart, to whichever socket, waits and is answered."""
    serve(drop_ins={"late.conf": "[Service]\nRestartSec=1h\n"})
    os.kill(main_pid(), signal.SIGKILL)
    eventually("the state", lambda: show("SubState"), "auto-restart")
    clients = {name: connect(place) for name, place in PLACES.items()}
    for client in clients.values():
        client.sendall(b"hello")
    systemctl("restart", UNIT)
    for name, client in clients.items():
        expect(f"the echo of {name}", receive(client, 5), b"hello")
        client.close()


@check
def what_is_kept():
    """Each socket is kept, those that a reload brings in as well; what it takes out is not, and after a stop nothing is."""
    serve()
    kept = lambda: int(show("NFileDescriptorStore"))
    eventually("the number of kept sockets", kept, len(PLACES))
    reload_with(config(more=MORE))
    eventually("the number with one listener more", kept, len(PLACES) + 1)
    systemctl("restart", UNIT)
    connect(MORE_PLACE).close()
    reload_with(config())
    eventually("the number without it", kept, len(PLACES))
    systemctl("stop", UNIT)
    expect_end()
    expect("the number after a stop", kept(), 0)
    systemctl("start", UNIT)
    echo_everywhere()
