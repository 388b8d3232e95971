"""What echod denies itself, inside of what the unit denies it: `sandbox = "on"`, which the installed configuration has."""

import contextlib
import pathlib

from checks import check, expect, expect_that
from checks.clients import TCP, UNIX, connect, echo_everywhere, receive
from checks.machine import CONFIG, UNIT, Journal, config, eventually, main_pid, processes, serve, show, status_of, systemctl


@check
def every_thread():
    """Each thread of each process is in it, those that serve a client as well, and it is told in the journal."""
    serve(config(defaults='mode = "forking"').replace('sandbox = "on"', 'sandbox = "off"'))
    of_the_unit = filters(status_of(main_pid()))
    for mode in ("forking", "threading", "io-uring"):
        journal = Journal()
        serve(config(defaults=f'mode = "{mode}"'))
        journal.find("sandbox: no_new_privs, landlock (ABI", priority=6)
        with connect(TCP) as one, connect(UNIX) as other:
            for client in (one, other):
                client.sendall(b"hello")
                receive(client, 5)
            for status in tasks():
                expect("Seccomp and NoNewPrivs", (status["Seccomp"], status["NoNewPrivs"]), ("2", "1"))
                expect_that(filters(status) > of_the_unit, f"a filter more than the {of_the_unit} of the unit", filters(status))


def tasks():
    """The status of each thread of the service, but for those that end meanwhile."""
    for pid in processes():
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield status_of(task.name)


def filters(status):
    return int(status["Seccomp_filters"])


@check
def what_it_does_not_leave():
    """A reload that needs more than it leaves is refused, changes nothing and says that a restart is needed, which helps."""
    serve()
    CONFIG.write_text(config(defaults='mode = "forking"'))
    systemctl("reload", UNIT)
    status = eventually("a refusal in the status", lambda: show("StatusText"), wanted=lambda seen: "not reloaded" in seen)
    expect_that("restart" in status, "the status to say that a restart is needed", status)
    echo_everywhere()
    journal = Journal()
    systemctl("restart", UNIT)
    journal.find("mode forking")
    echo_everywhere()
