"""A start: when the service is ready, what it is then, and what the unit has made of it."""

import os
import pwd
import socket

from checks import check, expect, expect_that
from checks.clients import PLACES, echo_everywhere
from checks.machine import CONFIG, UNIT, Journal, activate, config, eventually, main_pid, serve, show, status_of, systemctl

JOURNALD = "systemd-journald.service"
MODES = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"]
CAP_NET_BIND_SERVICE = f"{1 << 10:016x}"


@check
def ready():
    """`systemctl start` returns when every listener is served, and the status is in words."""
    serve()
    expect("the state", (show("ActiveState"), show("SubState")), ("active", "running"))
    echo_everywhere()
    expect_that(show("StatusText").startswith("serving 4 listeners"), "the status to say what is served", show("StatusText"))
    told = systemctl("status", UNIT)
    expect_that('Status: "serving 4 listeners' in told, "`systemctl status` to show that", told)


@check
def start_that_fails():
    """An address that is taken fails the start, with the reason in the journal, and systemd tries again until it is free."""
    serve(drop_ins={"soon.conf": "[Service]\nRestartSec=100ms\n"}, start=False)
    with socket.create_server(("127.0.0.1", 7)):
        journal = Journal()
        systemctl("start", "--no-block", UNIT)
        journal.find("cannot bind tcp://127.0.0.1:7", priority=3)
        eventually("systemd to try again", lambda: int(show("NRestarts")), wanted=lambda restarts: restarts > 0)
    eventually("the service to run once the address is free", lambda: show("SubState"), "running")
    echo_everywhere()


@check
def journal():
    """Each line has its priority in the journal, and is there as it was written."""
    journal = Journal()
    public = '\n[[listener]]\nname = "public"\nprotocol = "udp"\naddress = "0.0.0.0:7008"\n'
    serve(config(more=public))
    echo_everywhere()
    journal.find('listener "tcp": serving echo at tcp://127.0.0.1:7', priority=6)
    journal.find('listener "unix": unix: (pid ', priority=6)
    journal.find("answers datagrams from everywhere", priority=4)
    CONFIG.write_text("nonsense")
    systemctl("reload", UNIT)
    journal.find("not reloaded: the configuration before stays in effect", priority=3)
    its = [entry for entry in journal.entries() if entry.get("_SYSTEMD_UNIT") == UNIT]
    expect("who has written it", {entry["SYSLOG_IDENTIFIER"] for entry in its}, {"echod"})
    prefixed = [entry["MESSAGE"] for entry in its if entry["MESSAGE"].startswith("<")]
    expect("lines in which the priority was not understood", prefixed, [])


@check
def journal_that_restarts():
    """The journal goes away and comes back, by its own restart and by a kill: echod serves on, and its lines are there again."""
    serve()
    for how in (("restart",), ("kill", "--signal=SIGKILL")):
        before = ("0", show("MainPID", JOURNALD))
        systemctl(*how, JOURNALD)
        eventually("another journal", lambda: show("MainPID", JOURNALD), wanted=lambda pid: pid not in before)
        eventually("the journal's state", lambda: show("SubState", JOURNALD), "running")
        journal = Journal()
        echo_everywhere()
        journal.find('listener "unix": unix: (pid ', priority=6)


@check
def hardened():
    """The service runs as its own user, with no capability but that for ports below 1024, and under a filter of system calls."""
    serve()
    status, user = status_of(main_pid()), pwd.getpwnam("echod")
    expect("all user ids", status["Uid"].split(), [str(user.pw_uid)] * 4)
    expect("all group ids", status["Gid"].split(), [str(user.pw_gid)] * 4)
    expect("supplementary groups", status["Groups"].split(), [str(user.pw_gid)])
    for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        expect(name, status[name], CAP_NET_BIND_SERVICE)
    expect("NoNewPrivs", status["NoNewPrivs"], "1")
    expect("Seccomp", status["Seccomp"], "2")


@check
def hardened_when_activated():
    """The activated service has no capability at all, and a network namespace of its own."""
    activate()
    echo_everywhere()
    status = status_of(main_pid())
    for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        expect(name, status[name], f"{0:016x}")
    expect("NoNewPrivs", status["NoNewPrivs"], "1")
    expect("Seccomp", status["Seccomp"], "2")
    ours, its = (os.readlink(f"/proc/{pid}/ns/net") for pid in ("self", main_pid()))
    expect_that(ours != its, "a network namespace of its own", its)


@check
def every_mode():
    """Each of the seven modes binds and serves every kind of socket inside of the hardening."""
    for mode in MODES:
        serve_in(mode, serve)


@check
def every_mode_when_activated():
    """The same with sockets that systemd bound."""
    for mode in MODES:
        serve_in(mode, activate)


def serve_in(mode, start):
    journal = Journal()
    start(config(defaults=f'mode = "{mode}"'))
    # Twice: the second client of a fork server, or of a thread, is not the first.
    for _ in range(2):
        echo_everywhere()

    def served():
        return sum(f"mode {mode}," in str(entry["MESSAGE"]) for entry in journal.entries())

    # What the service has written may not have been read by the journal yet.
    eventually(f"the number of sockets served by mode {mode}", served, len(PLACES))
