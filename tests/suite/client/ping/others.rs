//! Echo servers that know nothing of this project.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{PATIENT, all_came_back, ping, report};
use crate::harness::{eventually, has_python, is_root, port_of_nobody, python, skipped};

/// A server with all its children.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Option<Self> {
        let spawned = command.process_group(0).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        spawned.ok().map(Self)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// All probes come back, once the server is there.
#[track_caller]
fn echoes(url: &str, options: &[&str]) {
    let is_there = || ping(&["-q", "-c", "1", "-W", "500ms", url]).status.success().then_some(());
    eventually("a server", is_there);
    let few = ["-c", "20", "-i", "10ms", "-W", PATIENT];
    all_came_back(&report(0, &[&few[..], options, &[url]].concat()), 20);
}

const PYTHON: &str = "
import os, socketserver, sys, threading
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536): self.request.sendall(data)
class Datagram(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(self.request[0], self.client_address)
s = socketserver
kinds = [(s.ThreadingTCPServer, ('127.0.0.1', 0), Stream), (s.ThreadingUDPServer, ('127.0.0.1', 0), Datagram),
    (s.ThreadingUnixStreamServer, 'stream.sock', Stream), (s.ThreadingUnixDatagramServer, 'datagram.sock', Datagram)]
servers = [kind(*rest) for kind, *rest in kinds]
for server in servers: threading.Thread(target=server.serve_forever).start()
print(*(server.server_address[1] for server in servers[:2]), flush=True)
";

#[test]
fn those_of_python() {
    if !has_python("no server of Python was pinged") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(python().unwrap());
    command.args(["-c", PYTHON]).current_dir(dir.path()).stdout(Stdio::piped());
    let mut server = Other::start(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (tcp, udp) = line.trim().split_once(' ').unwrap();
    let unix = format!("unix:{}", dir.path().join("stream.sock").display());
    echoes(&format!("tcp://127.0.0.1:{tcp}"), &[]);
    echoes(&format!("tcp://127.0.0.1:{tcp}"), &["--connect"]);
    echoes(&format!("udp://127.0.0.1:{udp}"), &["--flows", "4"]);
    echoes(&unix, &[]);
    echoes(&unix.replace("unix:", "unix-datagram:").replace("stream.sock", "datagram.sock"), &[]);
}

#[test]
fn socat() {
    let tcp = port_of_nobody("tcp");
    let mut command = Command::new("socat");
    command.args([&format!("TCP-LISTEN:{tcp},bind=127.0.0.1,fork,reuseaddr"), "PIPE"]).stdout(Stdio::null());
    let Some(_server) = Other::start(&mut command) else {
        return skipped("socat is not installed, it was not pinged");
    };
    echoes(&format!("tcp://127.0.0.1:{tcp}"), &[]);
    echoes(&format!("tcp://127.0.0.1:{tcp}"), &["--connect"]);
}

#[test]
fn ncat() {
    let port = port_of_nobody("tcp");
    let mut command = Command::new("ncat");
    command.args(["-l", "-k", "127.0.0.1", &port.to_string(), "-e", "/bin/cat"]).stdout(Stdio::null());
    let Some(_server) = Other::start(&mut command) else {
        return skipped("ncat is not installed, it was not pinged");
    };
    echoes(&format!("tcp://127.0.0.1:{port}"), &[]);
}

#[test]
fn xinetd() {
    if !Path::new("/usr/sbin/xinetd").exists() {
        return skipped("xinetd is not installed, it was not pinged");
    }
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tcp = port_of_nobody("tcp");
    let file = dir.path().join("xinetd.conf");
    let service = format!(
        "service echo\n{{\n disable = no\n type = INTERNAL UNLISTED\n id = echo-stream\n socket_type = stream\n \
         protocol = tcp\n user = root\n wait = no\n port = {tcp}\n bind = 127.0.0.1\n cps = 10000 1\n}}\n"
    );
    std::fs::write(&file, service).unwrap();
    let mut command = Command::new("/usr/sbin/xinetd");
    command
        .args(["-dontfork", "-f"])
        .arg(&file)
        .arg("-pidfile")
        .arg(dir.path().join("pid"))
        .stdout(Stdio::null());
    let _server = Other::start(&mut command).unwrap();
    echoes(&format!("tcp://127.0.0.1:{tcp}"), &[]);
}
