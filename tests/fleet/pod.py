"""Serves one pod as the kubelet does: its command, its user, its probes, its end. In a network of its own: pod.py ECHOD root|nobody [MODULES] <OBJECTS

With the modules of blackbox_exporter it is asked by that as well.
"""

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True

from manifests import one, pod_of  # noqa: E402

# However loaded the machine is.
PATIENCE = 60
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main():
    echod, objects = pathlib.Path(sys.argv[1]), json.load(sys.stdin)
    pod = pod_of(objects)
    [container] = pod["containers"]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for sysctl in pod["securityContext"].get("sysctls", []):
        pathlib.Path("/proc/sys", *sysctl["name"].split(".")).write_text(sysctl["value"])
    with tempfile.TemporaryDirectory(prefix="echod-pod-") as work:
        work = pathlib.Path(work)
        work.chmod(0o755)
        for name, text in one(objects, "ConfigMap")["data"].items():
            (work / name).write_text(text)
        # Where the user of the pod can run it, whoever built it.
        (work / "echod").write_bytes(echod.read_bytes())
        (work / "echod").chmod(0o755)
        arguments = [argument.replace("/etc/echod", str(work)) for argument in container["args"]]
        command = [*(as_user(pod["securityContext"]) if sys.argv[2] == "root" else []), str(work / "echod"), *arguments]
        grace = pod["terminationGracePeriodSeconds"]
        live(container, command, grace, sys.argv[3:])
        # Once more with a client that never leaves, and less patience.
        for name, text in one(objects, "ConfigMap")["data"].items():
            (work / name).write_text(re.sub(r'drain-timeout = ".*"', 'drain-timeout = "500ms"', text))
        cut(container, command, grace)
    print("refused, 200, echoes, 503 while a client stays, exit code 0; and so when drain-timeout is over")


def as_user(security):
    """What gives up all that the pod does not have. Only root has something to give up."""
    user, group = f"--reuid={security['runAsUser']}", f"--regid={security['runAsGroup']}"
    return ["setpriv", user, group, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]


def live(container, command, grace, modules):
    """A whole life, at whose end the last client leaves."""
    with serving(container, command) as (daemon, ports, ready, alive):
        assert status(alive) == 200, "ready and not alive"
        for address in ("127.0.0.1", "::1"):
            echo(socket.SOCK_DGRAM, address, ports["echo-udp"]).close()
            echo(socket.SOCK_STREAM, address, ports["echo-tcp"]).close()
        for file in modules:
            ask_by_blackbox(file, ports["echo-tcp"], ready)
        client = echo(socket.SOCK_STREAM, "127.0.0.1", ports["echo-tcp"])
        # What has arrived is answered, and the client is not in a hurry to leave.
        client.sendall(b"the last words")
        daemon.terminate()
        wait_for(lambda: status(ready) == 503, "503 from /readyz while a client is still there", daemon)
        assert status(alive) == 200, "a daemon that drains is alive"
        receive(client, b"the last words")
        assert client.recv(1) == b"", "it does not end the connection"
        assert daemon.poll() is None, "it has left a client that is still there"
        client.close()
        # The kubelet kills what is still there then.
        assert daemon.wait(grace) == 0, f"it ended with {daemon.returncode}"


def cut(container, command, grace):
    """The end that a client does not want to see."""
    with serving(container, command) as (daemon, ports, _, _):
        client = echo(socket.SOCK_STREAM, "127.0.0.1", ports["echo-tcp"])
        daemon.terminate()
        assert daemon.wait(grace) == 0, f"it ended with {daemon.returncode}"
        client.close()


@contextlib.contextmanager
def serving(container, command):
    """The pod, once it is ready; and where it is asked."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    ready, alive = (url(container[probe]["httpGet"], ports) for probe in ("readinessProbe", "livenessProbe"))
    assert status(ready) is None, "something serves before the pod does"
    with tempfile.TemporaryFile("w+") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        try:
            wait_for(lambda: status(ready) == 200, "ready", daemon)
            yield daemon, ports, ready, alive
        except BaseException:
            log.seek(0)
            print(log.read(), file=sys.stderr)
            raise
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()


def ask_by_blackbox(modules, port, ready):
    """Each module succeeds against what is there, and that for TCP fails where nobody is."""
    at = "127.0.0.1:9115"
    command = ["prometheus-blackbox-exporter", f"--config.file={modules}", f"--web.listen-address={at}"]
    exporter = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: status(f"http://{at}/-/healthy") == 200, "ready to probe", exporter)
        probes = [
            ("echod_tcp", f"127.0.0.1:{port}", 1),
            ("echod_tcp6", f"[::1]:{port}", 1),
            ("echod_ready", ready, 1),
            ("echod_tcp", "127.0.0.1:1", 0),
        ]
        for module, target, success in probes:
            asked = f"http://{at}/probe?{urllib.parse.urlencode({'module': module, 'target': target})}"
            with DIRECT.open(asked, timeout=PATIENCE) as answer:
                told = answer.read().decode()
            assert f"probe_success {success}\n" in told, f"{module} of {target}:\n{told}"
    finally:
        exporter.terminate()
        exporter.wait(PATIENCE)


def url(get, ports):
    return f"http://{get.get('host', '127.0.0.1')}:{ports[get['port']]}{get['path']}"


def status(url):
    """The status of a probe, or nothing if nobody answers."""
    try:
        with DIRECT.open(url, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_for(condition, what, daemon):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert daemon.poll() is None, f"it has ended before it was {what}"
        assert time.monotonic() < end, f"it was not {what} in time"
        time.sleep(0.01)


def echo(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = socket.socket(family, kind)
    client.settimeout(PATIENCE)
    client.connect((address, port))
    exchange(client, b"hello")
    return client


def exchange(client, message):
    client.sendall(message)
    receive(client, message)


def receive(client, message):
    received = b""
    while len(received) < len(message):
        part = client.recv(len(message) - len(received))
        assert part, "the connection has ended"
        received += part
    assert received == message, received


if __name__ == "__main__":
    main()
