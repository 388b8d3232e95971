"""The HTTP endpoint of the service, as the lines in the packaged configuration switch it on."""

import http.client
import json
import os
import re
import socket

from checks import check, expect, expect_that
from checks.clients import TCP, Load, echo_everywhere, stays
from checks.machine import UNIT, config, main_pid, run, serve, systemctl


@check
def as_packaged():
    """Without the `#` before its two lines it is served inside of hardening and sandbox: health, metrics, page, connections."""
    text = re.sub(r"^# (\[observe\]|address = .*observe\.sock.*)$", r"\1", config(), flags=re.MULTILINE)
    expect_that("\n[observe]\n" in text, "the lines of [observe] in the packaged configuration", text)
    serve(text)
    echo_everywhere()
    for path in ("/healthz", "/readyz", "/status", "/metrics", "/connections", "/"):
        status, body = get(path)
        expect(f"the status of {path}", status, 200)
        expect(f"what the port says of {path}", ask(http.client.HTTPConnection("127.0.0.1", 9862), path)[0], 200)
    seen = json.loads(get("/status")[1])
    expect("the process", seen["pid"], main_pid())
    expect_that(any("seccomp" in layer for layer in seen["sandbox"]), "the sandbox in the status", seen["sandbox"])
    told = run("echod", "status")
    expect_that("unix-datagram" in told, "`echod status` to find the service by itself", told)
    with Load(stays(TCP)) as load:
        load.passes(more=10)
        listed = json.loads(run("echod", "top", "--once", "-i", "100ms", "-o", "json"))["connections"]["listed"]
        expect_that(any(it["listener"] == "tcp" for it in listed), "the connection in `echod top`", listed)
    systemctl("stop", UNIT)
    expect("a file of the endpoint after the end", os.path.exists("/run/echod/observe.sock"), False)


class Local(http.client.HTTPConnection):
    """A connection to a socket file."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/echod/observe.sock")


def get(path):
    return ask(Local("localhost"), path)


def ask(connection, path):
    connection.timeout = 10
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body
