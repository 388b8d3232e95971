"""Becomes a program with open descriptors, as a service manager starts one (sd_listen_fds(3)).

Arguments: the names of the descriptors joined by colons, whose process they are meant for (empty: the program), the
program, its arguments. The descriptors come over standard input, a unix socket.
"""

import os
import socket
import sys

names, meant_for, program, *arguments = sys.argv[1:]
count = len(names.split(":"))
_, descriptors, _, _ = socket.recv_fds(socket.socket(fileno=0), 1, count)

def move(fd, number):
    os.dup2(fd, number)
    os.close(fd)
    return number

# Out of the way of the numbers that they are to have, some of which they may have already.
for index, fd in enumerate([move(fd, 100 + index) for index, fd in enumerate(descriptors)]):
    move(fd, 3 + index)
os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
os.environ |= {"LISTEN_FDS": str(count), "LISTEN_PID": meant_for or str(os.getpid()), "LISTEN_FDNAMES": names}
os.execv(program, [program, *arguments])
