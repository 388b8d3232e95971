"""A stop: open connections are let go or cut in time, and the status tells of it."""

import contextlib
import re
import socket
import time

from checks import check, expect, expect_that
from checks.clients import PLACES, TCP, connect, receive
from checks.machine import PATIENCE, UNIT, Journal, config, eventually, processes, serve, show, systemctl
from checks.start import MODES

DRAINING = re.compile(r"draining: (\d+) open connections? left, \d+ s at most")


@check
def lets_go():
    """Who is connected and silent is let go at once, politely."""
    serve(config(daemon='drain-timeout = "100s"'))
    with connect(TCP) as client:
        client.sendall(b"hello")
        receive(client, 5)
        systemctl("stop", "--no-block", UNIT)
        expect("what the client is told", client.recv(1), b"")
    expect_end()


@check
def drains():
    """Who does not read is cut when drain-timeout is over, whatever the mode, and until then the status says how many are left."""
    address = "127.0.0.1:700{}".format
    listeners = "".join(
        f'\n[[listener]]\nname = "{mode}"\nprotocol = "tcp"\naddress = "{address(number)}"\nmode = "{mode}"\n'
        for number, mode in enumerate(MODES)
    )
    serve(config(daemon='drain-timeout = "1500ms"', more=listeners))
    journal = Journal()
    with contextlib.ExitStack() as stack:
        for number in range(len(MODES)):
            place = (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 7000 + number))
            flood(stack.enter_context(connect(place)))
        begun = time.monotonic()
        systemctl("stop", "--no-block", UNIT)
        status = eventually("a drain in the status", lambda: show("StatusText"), wanted=DRAINING.match)
        expect("who is left", DRAINING.match(status)[1], str(len(MODES)))
        expect("the state meanwhile", show("ActiveState"), "deactivating")
        expect_end()
        took = time.monotonic() - begun
    expect_that(took >= 1.5, "it to wait for drain-timeout", took)
    journal.find(f"draining {len(MODES)} open connections", priority=6)
    journal.find(f"drain-timeout is over: {len(MODES)} open connections are cut", priority=4)


def flood(client):
    """Sends until nothing more is taken: the answers fill every buffer on the way, because nobody reads them."""
    client.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            client.sendall(bytes(65536))
    client.settimeout(PATIENCE)


def expect_end():
    """It ended as asked, without the help of a signal that nobody can ignore, and left nobody and nothing behind."""
    eventually("the state", lambda: show("ActiveState"), "inactive")
    expect("how it ended", (show("Result"), show("ExecMainStatus")), ("success", "0"))
    expect("processes that are left", processes(), set())
    for place in PLACES.values():
        if place[1] == socket.SOCK_STREAM:
            with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
                connect(place).close()
                expect_that(False, f"{place[2]} to be closed", "a connection")
