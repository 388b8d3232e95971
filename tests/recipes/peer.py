"""A peer for the tests of a client in Python: echod on ports that nobody else has, for as long as the block lasts.

    with echod("--listen", "tcp://127.0.0.1:0?name=it") as addresses:
        client = socket.create_connection(addresses["it"])
"""

import contextlib
import json
import subprocess


@contextlib.contextmanager
def echod(*arguments):
    """Gives the address of each listener of TCP or UDP by its name."""
    command = ["echod", "--announce", "--log-level", "error", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        # A line for each socket. Their end says that echod serves.
        lines = [json.loads(line) for line in daemon.stdout]
        try:
            yield {line["name"]: address(line["address"]) for line in lines if line["protocol"] in ("tcp", "udp")}
        finally:
            daemon.terminate()


def address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
