"""The watchdog: who does not answer is killed, with all that belongs to it, and the service comes back."""

import contextlib
import ctypes
import os
import pathlib
import signal

from checks import check, expect_that
from checks.clients import TCP, connect, echo_everywhere, receive
from checks.machine import Journal, config, eventually, is_alive, main_pid, processes, serve, show

# Long enough for a busy machine, short enough for a test.
SOON = {"soon.conf": "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n"}


@check
def feeds():
    """It is on, and as long as all answer it is fed: the status with the number of connections comes with each ping."""
    serve()
    expect_that(show("WatchdogUSec") not in ("0", "infinity"), "the unit to have a watchdog", show("WatchdogUSec"))
    serve(config(defaults='mode = "forking"'), SOON)
    pid = main_pid()
    with connect(TCP) as client:
        client.sendall(b"hello")
        receive(client, 5)
        eventually("a ping", lambda: show("StatusText"), "serving 4 listeners, 1 open connection")
    eventually("a ping", lambda: show("StatusText"), "serving 4 listeners, 0 open connections")
    expect_that(main_pid() == pid, f"{pid} to stay the main process", main_pid())


@check
def stopped_fork_server():
    """The process of a forking listener is stopped."""
    serve(config(defaults='mode = "forking"'), SOON)
    journal = Journal()
    with comes_back():
        fork_server = min(processes() - {main_pid()})
        os.kill(fork_server, signal.SIGSTOP)
        journal.find("does not answer: the watchdog is not pinged", priority=4)
    journal.find("Watchdog timeout")


@check
def stopped_daemon():
    """The main process is stopped, while it has children."""
    serve(config(defaults='mode = "forking"'), SOON)
    journal = Journal()
    with connect(TCP) as client, comes_back():
        client.sendall(b"hello")
        receive(client, 5)
        os.kill(main_pid(), signal.SIGSTOP)
    journal.find("Watchdog timeout")


@check
def stuck_loop():
    """One thread of many, an event loop, is held as a debugger would hold it."""
    serve(drop_ins=SOON)
    journal = Journal()
    with comes_back(), held(thread_of_a_listener()):
        journal.find("does not answer: the watchdog is not pinged", priority=4)
        journal.find("Watchdog timeout")


@contextlib.contextmanager
def comes_back():
    """What is done in this block ends every process of the service, and another one takes its place."""
    before, restarts = processes(), int(show("NRestarts"))
    yield
    eventually("a restart", lambda: int(show("NRestarts")), wanted=lambda seen: seen == restarts + 1)
    eventually("the state", lambda: (show("ActiveState"), show("SubState")), ("active", "running"))
    eventually("the processes of before that are left", lambda: {pid for pid in before if is_alive(pid)}, set())
    echo_everywhere()


def thread_of_a_listener():
    main = main_pid()
    tasks = {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{main}/task").iterdir()}
    return min(tid for tid, name in tasks.items() if tid != main and name != "signals")


@contextlib.contextmanager
def held(tid):
    """A thread that does nothing until the end of the block: see ptrace(2), PTRACE_SEIZE, _INTERRUPT and _DETACH."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    all_kinds = 0x40000000
    for request in (0x4206, 0x4207):
        if ptrace(request, tid, None, None) == -1:
            raise OSError(ctypes.get_errno(), f"cannot hold thread {tid}")
    os.waitpid(tid, all_kinds)
    try:
        yield
    finally:
        # It is gone by now, or else goes on.
        if ptrace(17, tid, None, None) == -1:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(tid, all_kinds)
