"""Does the client tell the right address? The server says what it sees."""

import json
import socket
import unittest

from peer import echod


class Address(unittest.TestCase):
    def test_a_connection_comes_from_the_address_it_was_bound_to(self):
        with echod("--listen", "tcp://127.0.0.1:0?name=it&service=whoami") as addresses:
            with socket.create_connection(addresses["it"], timeout=60, source_address=("127.0.0.9", 0)) as client:
                seen = json.loads(client.makefile().readline())["peer"]
                self.assertEqual((seen["address"], seen["port"]), client.getsockname())

    def test_a_datagram_keeps_its_class(self):
        with echod("--listen", "udp://127.0.0.1:0?name=it&service=whoami") as addresses:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(60)
                client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
                # As long as the answer at least, or there is none.
                client.sendto(b"?".ljust(1200), addresses["it"])
                self.assertEqual(json.loads(client.recv(65536))["dscp"], 46)


if __name__ == "__main__":
    unittest.main()
