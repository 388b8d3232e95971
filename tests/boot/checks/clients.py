"""Clients of the service, and load: many of them at once, who count what becomes of them."""

import contextlib
import os
import socket
import threading

from checks import Wrong, expect
from checks.machine import PATIENCE, eventually

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
TCP = (socket.AF_INET, STREAM, ("127.0.0.1", 7))
UNIX = (socket.AF_UNIX, STREAM, "/run/echod/echod.sock")
# Every socket of the installed configuration, which are those of the socket units too.
PLACES = {
    "tcp over IPv4": TCP,
    "tcp over IPv6": (socket.AF_INET6, STREAM, ("::1", 7)),
    "udp over IPv4": (socket.AF_INET, DATAGRAM, ("127.0.0.1", 7)),
    "udp over IPv6": (socket.AF_INET6, DATAGRAM, ("::1", 7)),
    "unix": UNIX,
    "unix-datagram": (socket.AF_UNIX, DATAGRAM, "/run/echod/datagram.sock"),
}


def connect(place):
    family, kind, address = place
    client = socket.socket(family, kind)
    client.settimeout(PATIENCE)
    if (family, kind) == (socket.AF_UNIX, DATAGRAM):
        client.bind("")  # Any abstract name: who has none cannot be answered.
    client.connect(address)
    return client


def echo(place, words=b"hello"):
    with connect(place) as client:
        client.sendall(words)
        expect(f"the echo at {place[2]}", receive(client, len(words)), words)


def echo_everywhere():
    for place in PLACES.values():
        echo(place)


def receive(client, length):
    """So many bytes, or fewer if the other side ends first."""
    received = b""
    while len(received) < length and (more := client.recv(length - len(received))):
        received += more
    return received


class Load:
    """Threads that go on until the end of the `with` block; what goes wrong in one of them is told there."""

    def __init__(self, *works):
        self.over = threading.Event()
        self.count = 0
        self.faults = []
        self.threads = [threading.Thread(target=self.work, args=(work,), daemon=True) for work in works]

    def work(self, work):
        try:
            while not self.over.is_set():
                work(self)
                self.count += 1
        except Exception as fault:  # Whatever it is, it is told by the main thread.
            self.faults.append(fault)

    def passes(self, more=50):
        """Waits until so much more has been done, or something went wrong."""
        until = self.count + more
        eventually("the load to go on", lambda: self.count >= until or bool(self.faults))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        if kind is None and self.faults:
            raise Wrong(f"expected the load to meet no fault, saw {len(self.faults)}, first {self.faults[0]!r}")


def comes_and_goes(place, may_be_let_go=False):
    """Connects, has an echo, leaves. While the service restarts, who is connected already may be let go before it has spoken;
    but nobody is refused."""
    def work(_load):
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(connect(place))
            try:
                client.sendall(b"hello")
                answer = receive(client, 5)
            except (ConnectionResetError, BrokenPipeError):
                answer = b""
            if answer != b"hello" and not (may_be_let_go and answer == b""):
                raise Wrong(f"expected an echo at {place[2]}, saw {answer!r}")

    return work


def stays(place):
    """Keeps a connection, over which no byte may be lost or changed."""
    client = connect(place)

    def work(load):
        words = os.urandom(1 + load.count % 4096)
        client.sendall(words)
        if (answer := receive(client, len(words))) != words:
            raise Wrong(f"expected {len(words)} bytes to come back from {place[2]}, saw {len(answer)} and not the same")

    return work
