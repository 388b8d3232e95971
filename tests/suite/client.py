"""Echo client for the four protocols: client.py PROTOCOL ADDRESS [PROTOCOL ADDRESS]...

Uses the socket module and nothing else. Prints a line `ok PROTOCOL ADDRESS` for each that is served well.
"""

import os
import socket
import sys
import tempfile

LINE = b"hello world\n"
BLOB = bytes(range(256)) * 200


def internet(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def stream(family, address):
    for _ in range(3):
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            client.connect(address)
            client.sendall(LINE)
            with client.makefile("rb") as reader:
                assert reader.readline() == LINE
                client.sendall(BLOB)
                client.shutdown(socket.SHUT_WR)
                assert reader.read() == BLOB


def datagrams(family, address, name):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        if name is not None:
            client.bind(name)
        for message in (LINE, LINE, LINE, b"", BLOB):
            client.sendto(message, address)
            reply, sender = client.recvfrom(70_000)
            assert reply == message, (len(reply), len(message))
            # A unix socket bound by a relative path is known by it.
            assert sender == address or os.path.basename(address) == sender, (sender, address)


def serve(protocol, address):
    if protocol == "tcp":
        stream(socket.AF_INET, internet(address))
    elif protocol == "udp":
        datagrams(socket.AF_INET, internet(address), None)
    elif protocol == "unix":
        stream(socket.AF_UNIX, address)
    elif protocol == "unix-datagram":
        with tempfile.TemporaryDirectory() as directory:
            datagrams(socket.AF_UNIX, address, os.path.join(directory, "client"))
    else:
        raise ValueError(protocol)


for protocol, address in zip(sys.argv[1::2], sys.argv[2::2]):
    serve(protocol, address)
    print("ok", protocol, address)
