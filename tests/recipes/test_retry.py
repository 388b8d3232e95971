"""Does the client survive what networks do?"""

import os
import pathlib
import unittest

import client
from peer import echod

PLANS = str(pathlib.Path(__file__).with_name("retry.toml"))


class Retry(unittest.TestCase):
    def setUp(self):
        self.addresses = self.enterContext(echod("--config", PLANS))

    def test_a_reset(self):
        message = os.urandom(10_000)
        # Three times 4 KiB hold it.
        self.assertEqual(client.over_tcp(self.addresses["resets"], message, timeout=60), (message, 3))

    def test_a_silence(self):
        message = os.urandom(10_000)
        echo, connections = client.over_tcp(self.addresses["stalls"], message)
        self.assertEqual(echo, message)
        self.assertGreaterEqual(connections, 3)

    def test_a_loss(self):
        sent = 0
        for number in range(10):
            message = b"number %d" % number
            echo, times = client.over_udp(self.addresses["loses"], message, timeout=0.2, attempts=100)
            self.assertEqual(echo, message)
            sent += times
        print(f"10 answers to {sent} datagrams")


if __name__ == "__main__":
    unittest.main()
