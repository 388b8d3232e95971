"""`systemctl reload`: a good file, a bad one, and many under load."""

import re
import socket

from checks import Skipped, check, expect, expect_that
from checks.clients import TCP, UNIX, Load, comes_and_goes, connect, echo, echo_everywhere, receive, stays
from checks.machine import CONFIG, UNIT, Journal, config, eventually, main_pid, packaged, run, serve, show, systemctl

MORE = '\n[[listener]]\nname = "more"\nprotocol = "tcp"\naddress = "127.0.0.1:7007"\n'
# What the sandbox is to leave open must be there at the start.
WIDE = "".join(
    f'\n[[listener]]\nname = "{mode}"\nprotocol = "tcp"\naddress = "127.0.0.1:{port}"\nmode = "{mode}"\n'
    for mode, port in (("forking", 7001), ("io-uring", 7002))
)
MORE_PLACE = (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 7007))


@check
def good():
    """A new listener is served, and the process stays."""
    serve()
    pid = main_pid()
    reload_with(config(more=MORE))
    eventually("the status", lambda: show("StatusText"), wanted=lambda seen: seen.startswith("serving 5 listeners"))
    echo(MORE_PLACE)
    echo_everywhere()
    expect("the main process", main_pid(), pid)
    expect("the state", (show("ActiveState"), show("SubState")), ("active", "running"))


@check
def bad():
    """A file that is wrong changes nothing, the status says why, and the next good one is taken."""
    serve()
    pid, journal = main_pid(), Journal()
    reload_with(config(defaults="max-conections = 3"))
    status = eventually("a refusal in the status", lambda: show("StatusText"), wanted=lambda seen: "not reloaded" in seen)
    expect_that("max-conections" in status, "the status to say why", status)
    expect_that(status.startswith("serving 4 listeners"), "the status to say what goes on", status)
    expect("the state", (show("ActiveState"), show("SubState")), ("active", "running"))
    echo_everywhere()
    journal.find("did you mean `max-connections`?", priority=3)
    journal.find("not reloaded: the configuration before stays in effect", priority=3)
    reload_with(config())
    eventually("a status without refusal", lambda: show("StatusText"), wanted=lambda seen: "not reloaded" not in seen)
    expect("the main process", main_pid(), pid)


@check
def under_load():
    """Thirty reloads, in which listeners come, go and change their mode: no byte of an open connection is lost, nobody refused."""
    serve(config(more=WIDE + MORE))
    pid = main_pid()
    modes = ["epoll", "threading", "forking", "poll", "io-uring", "select"]
    works = [stays(TCP), stays(UNIX), stays(TCP), comes_and_goes(TCP), comes_and_goes(UNIX), comes_and_goes(TCP)]
    with Load(*works) as load:
        for number in range(30):
            there = number % 2 == 1
            mode = modes[number // 5]
            reload_with(config(defaults=f'mode = "{mode}"', more=WIDE + (MORE if there else "")))
            eventually(f"that port 7007 is served after reload {number}", is_served, there)
            load.passes(more=30)
    expect("the main process", main_pid(), pid)
    return f"{load.count} exchanges"


@check
def waits_with_notify_reload():
    """With the drop-in for it, `systemctl reload` returns when the new configuration is in effect."""
    version = int(re.search(r"systemd (\d+)", run("systemctl", "--version"))[1])
    if version < 253:
        raise Skipped(f"systemd {version} does not know Type=notify-reload, 253 does")
    serve(drop_ins={"notify-reload.conf": packaged("notify-reload.conf")})
    for there in (True, False) * 5:
        reload_with(config(more=MORE if there else ""))
        expect("that port 7007 is served", is_served(), there)


def reload_with(text):
    CONFIG.write_text(text)
    systemctl("reload", UNIT)


def is_served():
    """A client that comes while the listener goes may be accepted and let go before it has an answer."""
    try:
        with connect(MORE_PLACE) as client:
            client.sendall(b"hello")
            return receive(client, 5) == b"hello"
    except OSError:
        return False
