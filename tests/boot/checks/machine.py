"""The booted system, as the checks see it: commands, units, processes, the journal. Nothing here sleeps for its own sake;
what takes time is waited for by `eventually`."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from checks import Wrong

UNIT = "echod.service"
SOCKETS = [f"echod-{kind}.socket" for kind in ("tcp", "udp", "unix", "unix-datagram")]
CONFIG = pathlib.Path("/etc/echod/echod.toml")
DROP_INS = pathlib.Path(f"/etc/systemd/system/{UNIT}.d")
# For whatever is waited for. A busy machine may need seconds for what is done in milliseconds.
PATIENCE = 30


def run(*command, may_fail=False, with_errors=False):
    """What a command prints, on standard error as well if so; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    if done.returncode != 0 and not may_fail:
        told = (done.stdout + done.stderr).strip()
        raise Wrong(f"expected `{' '.join(command)}` to succeed, saw exit code {done.returncode}: {told}")
    return (done.stdout + (done.stderr if with_errors else "")).strip()


def systemctl(*words):
    return run("systemctl", "--no-pager", *words)


def show(name, unit=UNIT):
    """A property of a unit."""
    return systemctl("show", "--property", name, "--value", unit)


def main_pid():
    return int(show("MainPID"))


def eventually(what, look, wanted=True):
    """Waits until `look` returns what is wanted (or fulfils it), and returns that."""
    end = time.monotonic() + PATIENCE
    fulfils = wanted if callable(wanted) else lambda seen: seen == wanted
    while True:
        seen = look()
        if fulfils(seen):
            return seen
        if time.monotonic() > end:
            hoped = "" if callable(wanted) else f" to be {wanted!r}"
            raise Wrong(f"expected {what}{hoped} within {PATIENCE} s, saw {seen!r}")
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------------------------------ the service

def packaged(name):
    """A file of the package, found by its name."""
    files = [line for line in run("dpkg", "-L", "echod").splitlines() if line.endswith("/" + name)]
    if len(files) != 1:
        raise Wrong(f"expected the package to have one {name}, saw {files}")
    return pathlib.Path(files[0]).read_text()


class Original:
    """The configuration as it was installed."""

    text = None


def config(daemon="", defaults="", more=""):
    """The installed configuration, with lines added to two of its tables, and with further tables behind it."""
    Original.text = Original.text or CONFIG.read_text()
    text = Original.text
    for table, lines in (("daemon", daemon), ("defaults", defaults)):
        if lines and not re.search(rf"^\[{table}\]$", text, re.MULTILINE):
            text = f"[{table}]\n{lines}\n{text}"
        else:
            text = re.sub(rf"^\[{table}\]$", f"[{table}]\n{lines}", text, flags=re.MULTILINE)
    return text + more


def serve(text=None, drop_ins=None, start=True):
    """The service with this configuration and these drop-ins, started anew unless it is not to be."""
    systemctl("stop", UNIT, *SOCKETS)
    wanted = drop_ins or {}
    there = {path.name: path.read_text() for path in DROP_INS.glob("*")}
    if there != wanted:
        shutil.rmtree(DROP_INS, ignore_errors=True)
        for name, lines in wanted.items():
            DROP_INS.mkdir(parents=True, exist_ok=True)
            (DROP_INS / name).write_text(lines)
        systemctl("daemon-reload")
    CONFIG.write_text(text or config())
    systemctl("reset-failed")
    if start:
        systemctl("start", UNIT)


def activate(text=None, drop_ins=None):
    """The same with its sockets bound by systemd: the service is not running, and somebody who comes starts it."""
    serve(text, {"activated.conf": packaged("activated.conf"), **(drop_ins or {})}, start=False)
    systemctl("start", *SOCKETS)


def processes():
    """All processes of the service."""
    procs = pathlib.Path(f"/sys/fs/cgroup{show('ControlGroup')}/cgroup.procs")
    return {int(line) for line in procs.read_text().split()} if show("ControlGroup") else set()


def is_alive(pid):
    return os.path.exists(f"/proc/{pid}")


def status_of(pid):
    """/proc/PID/status."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# ------------------------------------------------------------------------------------------------------------------ the journal

class Journal:
    """What the journal has about the service, from the moment on in which this is made."""

    def __init__(self):
        told = run("journalctl", "--quiet", "--lines=1", "--show-cursor")
        self.cursor = told.splitlines()[-1].removeprefix("-- cursor: ")

    def entries(self):
        run("journalctl", "--sync")
        # Not with `--unit`: together with it, `--after-cursor` leaves out the first entry of the unit where the cursor is at another's.
        lines = run("journalctl", "--quiet", f"--after-cursor={self.cursor}", "--output=json")
        entries = [json.loads(line) for line in lines.splitlines()]
        return [entry for entry in entries if UNIT in (entry.get("_SYSTEMD_UNIT"), entry.get("UNIT"))]

    def tail(self):
        """For people, what anybody has written."""
        return run("journalctl", "--quiet", f"--after-cursor={self.cursor}", "--lines=30", "--output=short-precise", may_fail=True)

    def find(self, part, priority=None):
        """Waits for an entry with this in it, and looks at its priority."""
        def look():
            return [entry for entry in self.entries() if part in str(entry["MESSAGE"])]

        found = eventually(f"a line with {part!r} in the journal", look, wanted=bool)[0]
        if priority is not None and found["PRIORITY"] != str(priority):
            raise Wrong(f"expected priority {priority} of {found['MESSAGE']!r}, saw {found['PRIORITY']}")
        return found
