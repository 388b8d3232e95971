"""Which of 12 datagrams are not answered? lost.py HOST PORT SOURCE-PORT

Answers keep their order here, so what is not answered before a later one is lost, however long the answers take.
"""

import itertools
import socket
import sys

COUNT = 12

host, port, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
answered = set()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.bind(("", source))
    client.connect((host, port))
    client.settimeout(0.1)
    for number in itertools.count(1):
        client.send(b"%d" % number)
        if number <= COUNT:
            continue
        try:
            while max(answered, default=0) <= COUNT:
                answered.add(int(client.recv(100)))
            break
        except TimeoutError:
            # The later one was lost as well.
            pass
print("lost:", *sorted(set(range(1, COUNT + 1)) - answered))
