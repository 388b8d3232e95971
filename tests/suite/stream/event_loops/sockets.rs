//! Which sockets and descriptors a loop has, and how: e01, e02, e10.

use std::fs;

use echod::report::close_reason::CloseKind;
use nix::sys::resource::{Resource, getrlimit};

use super::{STREAMS, combination, it};
use crate::{
    harness::{Echod, Endpoint, proc, skipped},
    matrix::Combination,
};

in_every_mode! { e02_every_socket_is_nonblocking }

#[test]
fn e01_select_closes_what_it_cannot_watch() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < 3000 {
        skipped(format_args!("the limit of open files is {hard}, too low to fill the sets of select"));
        return;
    }
    let daemon = it("select", STREAMS[0], "max-connections = 3000");
    // Those that are closed give their descriptor back, so that all after the first of them are closed as well.
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..1100 {
        let client = daemon.client("it");
        // Closed in between, writing fails.
        let sent = client.try_send(b"hello world\n").is_ok();
        if sent && client.read(&mut [0; 12]).is_ok_and(|length| length == 12) {
            served.push(client);
        } else {
            refused += 1;
        }
    }
    assert!(served.len() < 1024 && served.len() > 1000, "{} were served", served.len());
    served.iter().for_each(|client| client.echo(b"still served"));
    let counted = refused as u64;
    daemon.wait_state("it", |state| state["unwatchable"] == counted && state["refused"] == counted);
    assert_eq!(daemon.state("it")["open"], served.len() as u64);
    daemon.wait_log(|line| line.contains("turned away"));
    let lines = daemon.log().lines().filter(|line| line.contains("turned away")).count();
    assert!(lines <= 3, "{lines} lines of complaint");
    served.truncate(900);
    daemon.wait_state("it", |state| state["open"] == 900);
    daemon.client("it").echo(b"there is room again");
    drop(served);
    daemon.wait_state("it", |state| state["open"] == 0);
    assert_eq!(daemon.ended_by(CloseKind::Refused), counted);
}

#[test]
fn e10_a_forked_child_shares_nothing_with_the_loops() {
    let loops = ["select", "poll", "epoll", "edge", "io-uring"];
    let listener = |mode, name| Combination { mode, ..combination("epoll", STREAMS[0]) }.listener(name);
    let toml = loops.map(|mode| listener(mode, mode)).concat() + &listener("forking", "forking");
    let daemon = Echod::start(&toml);
    let visitors = loops.map(|mode| daemon.client(mode));
    visitors.iter().for_each(|client| client.echo(b"before"));
    let forked = daemon.client("forking");
    forked.echo(b"forked");
    let children = daemon.grandchildren();
    assert_eq!(children.len(), 1);
    let held = proc::descriptors(children[0]);
    let sockets = held.iter().filter(|target| target.starts_with("socket:"));
    assert_eq!(sockets.count(), 1, "more than its own connection: {held:?}");
    for pid in daemon.group().into_iter().filter(|pid| *pid != daemon.pid()) {
        let held = proc::descriptors(pid);
        let shared = |target: &String| ["eventpoll", "io_uring"].iter().any(|kind| target.contains(kind));
        assert!(!held.iter().any(shared), "{held:?}");
    }
    drop(forked);
    visitors.iter().for_each(|client| client.echo(b"after"));
}

/// Readiness may be spurious (select(2), BUGS): then a call on a socket that blocks would stop the loop.
fn e02_every_socket_is_nonblocking(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        let client = daemon.client("it");
        client.echo(b"accepted");
        let inodes = match daemon.endpoint("it") {
            Endpoint::Unix(path) => inodes("/proc/net/unix", &path.to_string_lossy(), 7, 6),
            inet => inodes("/proc/net/tcp", &format!("0100007F:{:04X}", inet.inet().port()), 1, 9),
        };
        let pid = daemon.pid();
        // The socket of the listener is there twice, once for the next generation.
        let mut seen = std::collections::BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let number = entry.unwrap().file_name().into_string().unwrap();
            let Ok(target) = fs::read_link(format!("/proc/{pid}/fd/{number}")) else { continue };
            if !inodes.iter().any(|inode| target.to_string_lossy() == format!("socket:[{inode}]")) {
                continue;
            }
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            // O_NONBLOCK; the digits are octal.
            assert!(u32::from_str_radix(flags, 8).unwrap() & 0o4000 != 0, "descriptor {number} blocks");
            seen.insert(target);
        }
        assert_eq!(seen.len(), 2, "the listener and the connection");
    }
}

/// The inodes of the sockets with this local address: column `inode` of the lines whose column `local` ends in it.
fn inodes(table: &str, address: &str, local: usize, inode: usize) -> Vec<String> {
    let table = fs::read_to_string(table).unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // A server's unix socket has a path relative to its directory.
    let is_it = |at: &&str| !at.is_empty() && (*at == address || address.ends_with(&format!("/{at}")));
    lines
        .filter(|fields| fields.get(local).is_some_and(&is_it))
        .map(|fields| fields[inode].to_owned())
        .collect()
}
