//! Listeners that keep records apart (SOCK_SEQPACKET), beside what the matrix has of them.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
    thread,
};

use echod::sys::record;
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};
use rustix::net::RecvFlags;
use socket2::{Domain, Socket, Type};

use crate::{
    harness::{Client, Echod, Launch, eventually, has_python, listener, proc, uninterrupted},
    lifecycle::reload::modes,
    systemd::activation::{Unit, named},
};

const PROTOCOL: &str = "unix-seqpacket";

/// `--inetd` has a connection that another process accepted.
#[test]
fn a_connection_on_standard_input_keeps_its_records() {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    record::mark(&ours).unwrap();
    let launch = Launch::new().args(&["--inetd"]).stdin(OwnedFd::from(theirs));
    thread::scope(|scope| {
        let daemon = scope.spawn(|| launch.run());
        let sent = [&b""[..], b"one", b"", b"two", b""];
        for part in sent {
            uninterrupted(|| ours.send(part)).unwrap();
        }
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        for part in sent {
            let mut buffer = [0; 8];
            let receive = || record::receive(&ours, &mut buffer, RecvFlags::empty()).map_err(Into::into);
            let length = uninterrupted(receive).unwrap();
            assert_eq!(length.map(|length| &buffer[..length]), Some(part));
        }
        let ended = daemon.join().unwrap();
        ended.expect(0, &["6 bytes in, 6 bytes out: peer closed"]);
    });
}

/// A client that came before the daemon did: its connection has not inherited what marks records.
#[test]
fn a_socket_unit_passes_clients_that_came_first() {
    if !has_python("no socket was passed") {
        return;
    }
    for (mode, workers) in modes() {
        let unit = Unit::new(PROTOCOL);
        let early = Client::connect(&unit.endpoint);
        let sent = [&b""[..], b"early", b""];
        sent.iter().for_each(|part| early.send_record(part));
        let toml = named("it", PROTOCOL, &format!("mode = \"{mode}\"\n{workers}"));
        let mut daemon = Launch::new().config(&toml).pass("it", &unit.socket).start();
        for part in sent {
            assert_eq!(early.next_record().as_deref(), Some(part), "{mode} {workers}");
        }
        early.half_close();
        assert_eq!(early.next_record(), None);
        drop(early);
        daemon.stop();
    }
}

/// A refused client is told so in one record, also one whose first record is empty.
#[test]
fn a_refused_client_is_told_in_a_record() {
    for (mode, workers) in modes() {
        if mode == "iterative" || workers.contains("workers") {
            continue;
        }
        let keys = format!(
            "mode = \"{mode}\"\n{workers}\nmax-connections = 1\nwhen-full = \"message\"\nrefusal = \"later\""
        );
        let daemon = Echod::start(&listener("it", PROTOCOL, &keys));
        let first = daemon.client("it");
        first.echo(b"served");
        let refused = daemon.client("it");
        for part in [&b""[..], b"a question", b""] {
            // It may be half-closed before all are sent.
            let _ = refused.try_send(part);
        }
        assert_eq!(refused.next_record().as_deref(), Some(&b"later\n"[..]), "{mode}");
        assert_eq!(refused.next_record(), None, "{mode}");
        drop(refused);
        daemon.wait_state("it", |state| state["full"] == 1);
        first.echo(b"still served");
    }
}

/// Descriptors that come with a record are closed, and answers have none.
#[test]
fn descriptors_that_come_with_a_record_are_closed() {
    for (mode, workers) in modes() {
        let daemon = Echod::start(&listener("it", PROTOCOL, &format!("mode = \"{mode}\"\n{workers}")));
        let client = daemon.client("it");
        client.echo(b"before");
        // The start is over when the supervisor answers, and its descriptors are closed.
        daemon.state("it");
        let count = || daemon.group().into_iter().map(|pid| proc::descriptors(pid).len()).sum::<usize>();
        let before = count();
        let file = File::open("/dev/null").unwrap();
        for _ in 0..5 {
            let passed = [file.as_raw_fd()];
            let control = [ControlMessage::ScmRights(&passed)];
            let send = || {
                let parts = [IoSlice::new(b"take this")];
                sendmsg::<()>(client.socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), None)
                    .map_err(Into::into)
            };
            assert_eq!(uninterrupted(send).unwrap(), 9);
            let mut buffer = [0; 32];
            let mut room = nix::cmsg_space!([std::os::fd::RawFd; 4]);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let mut receive = || {
                let flags = MsgFlags::MSG_CMSG_CLOEXEC;
                recvmsg::<()>(client.socket.as_raw_fd(), &mut parts, Some(&mut room), flags)
                    .map(|received| received.bytes)
                    .map_err(Into::into)
            };
            assert_eq!(uninterrupted(&mut receive).unwrap(), 9);
            assert_eq!(&buffer[..9], b"take this");
        }
        eventually("the end of the descriptors", || (count() == before).then_some(()));
    }
}

/// A user that is not allowed is refused, as at a stream.
#[test]
fn only_users_that_are_allowed_are_served() {
    let own = nix::unistd::geteuid();
    let shut = listener("shut", PROTOCOL, "allow-users = \"54321\"");
    let daemon = Echod::start(&(shut + &listener("open", PROTOCOL, &format!("allow-users = \"{own}\""))));
    daemon.client("open").echo(b"hello");
    assert!(daemon.client("shut").is_ended());
    daemon.wait_state("shut", |state| state["user"] == 1);
}

#[test]
fn a_header_of_a_proxy_belongs_to_a_stream() {
    let toml = listener("it", PROTOCOL, "proxy-protocol = \"required\"");
    let checked = Launch::new().config(&toml).args(&["--check"]).run();
    checked.expect(78, &["`proxy-protocol` does not fit protocol `unix-seqpacket`", "carry streams"]);
}

/// Names in the abstract namespace are those of a kind of socket: a stream and records may share one.
#[test]
fn a_name_is_one_of_each_kind() {
    let name = format!("@echod-kinds-{}", std::process::id());
    let each = ["unix", PROTOCOL, "unix-datagram"].map(|protocol| {
        format!("[[listener]]\nname = \"{protocol}\"\nprotocol = \"{protocol}\"\naddress = \"{name}\"\n")
    });
    let daemon = Echod::start(&each.concat());
    ["unix", PROTOCOL, "unix-datagram"].iter().for_each(|kind| daemon.client(kind).echo(b"which one?"));
}

/// The kernel looks at the queue and at the end one after the other: what comes in between is not lost.
#[test]
fn a_record_just_before_the_end_is_answered() {
    for (mode, workers) in modes() {
        let daemon = Echod::start(&listener("it", PROTOCOL, &format!("mode = \"{mode}\"\n{workers}")));
        for _ in 0..100 {
            let client = daemon.client("it");
            client.send_record(b"last words");
            client.half_close();
            assert_eq!(client.next_record().as_deref(), Some(&b"last words"[..]), "{mode} {workers}");
            assert_eq!(client.next_record(), None);
        }
    }
}
