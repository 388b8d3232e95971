"""An end that nobody asked for, and what systemd makes of it."""

import os
import signal

from checks import check, expect, expect_that
from checks.clients import TCP, UNIX, connect, receive
from checks.machine import CONFIG, UNIT, Journal, config, main_pid, processes, run, serve, show, systemctl
from checks.watchdog import comes_back


@check
def killed():
    """SIGKILL of the main process takes every other one along, those that serve a client too, and the service is restarted."""
    serve(config(defaults='mode = "forking"'), {"soon.conf": "[Service]\nRestartSec=100ms\n"})
    with connect(TCP) as one, connect(UNIX) as other:
        for client in (one, other):
            client.sendall(b"hello")
            receive(client, 5)
        expect_that(len(processes()) >= 7, "the daemon, four fork servers and a child for each client", processes())
        with comes_back():
            os.kill(main_pid(), signal.SIGKILL)
        expect("what the clients are told", [ends(one), ends(other)], [True, True])


def ends(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@check
def wrong_configuration():
    """What is wrong with the file does not get better by itself: the start fails with 78, and there is no other."""
    serve(config(defaults="max-conections = 3"), {"soon.conf": "[Service]\nRestartSec=100ms\n"}, start=False)
    journal = Journal()
    run("systemctl", "start", UNIT, may_fail=True)
    # With a restart to come the state were `activating (auto-restart)`.
    expect("the state", (show("ActiveState"), show("SubState")), ("failed", "failed"))
    expect("the exit code", show("ExecMainStatus"), "78")
    expect("restarts", show("NRestarts"), "0")
    journal.find("did you mean `max-connections`?")
    CONFIG.write_text(config())
    systemctl("start", UNIT)
