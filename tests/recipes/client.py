"""The client under test, as small as a client can be that does not give up: it has a message echoed."""

import socket


def over_tcp(address, message, timeout=1, attempts=10):
    """Goes on where a connection broke off or fell silent. Gives the echo, and the number of connections that it took."""
    received = b""
    for attempt in range(1, attempts + 1):
        try:
            with socket.create_connection(address, timeout) as connection:
                connection.sendall(message[len(received) :])
                while len(received) < len(message):
                    part = connection.recv(65536)
                    if not part:
                        break
                    received += part
        except (ConnectionError, TimeoutError):
            pass
        if len(received) == len(message):
            return received, attempt
    raise TimeoutError(f"{len(received)} of {len(message)} bytes after {attempts} connections")


def over_udp(address, message, timeout=1, attempts=10):
    """Sends again what is not answered. Gives the echo, and how often it was sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(timeout)
        peer.connect(address)
        for attempt in range(1, attempts + 1):
            peer.send(message)
            try:
                return peer.recv(65536), attempt
            except TimeoutError:
                pass
    raise TimeoutError(f"no answer to {attempts} datagrams")
