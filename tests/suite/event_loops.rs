//! What only an event loop can get wrong: `eNN` of the conformance list, in every mode that is one.

use std::{
    fs,
    io::IoSlice,
    net::Shutdown,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Resource, getrlimit},
    signal::Signal,
};

use socket2::MsgHdr;

use crate::{
    common::{Client, Echod, Endpoint, LONG, Launch, MIB, eventually, pattern, proc},
    matrix::Combination,
};

const STREAMS: [(&str, &str); 2] = [("tcp", "127.0.0.1:0"), ("unix", "it.sock")];

/// What the connection receives at once, at most.
const FULL: usize = 32_768;

/// Each behaviour for each mode: a failure reads `event_loops::e08_half_close::edge`.
macro_rules! in_every_mode {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn select() { super::$name("select") }
            #[test] fn poll() { super::$name("poll") }
            #[test] fn epoll() { super::$name("epoll") }
            #[test] fn edge() { super::$name("edge") }
            #[test] fn io_uring() { super::$name("io-uring") }
        }
    )*};
}

in_every_mode! {
    e02_every_socket_is_nonblocking e03_e04_no_byte_is_lost_or_late e04_a_message_may_end_before_the_input_does
    e05_an_endless_sender_does_not_stop_others e06_stale_events_touch_nobody e07_who_never_reads_is_not_read
    e08_half_close e09_a_reset_in_mid_write_is_counted_once e11_two_loops_serve_all
    e11_every_queue_is_drained_at_the_end
}

#[test]
fn e01_select_closes_what_it_cannot_watch() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < 3000 {
        eprintln!("SKIPPED: the limit of open files is {hard}, too low to fill the sets of select");
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
    let lines = daemon.log().lines().filter(|line| line.contains("turned away")).count();
    assert!((1..=3).contains(&lines), "{lines} lines of complaint");
    served.truncate(900);
    daemon.wait_state("it", |state| state["open"] == 900);
    daemon.client("it").echo(b"there is room again");
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
    for pid in daemon.family().into_iter().filter(|pid| *pid != daemon.pid()) {
        let held = proc::descriptors(pid);
        let shared = |target: &String| ["eventpoll", "io_uring"].iter().any(|kind| target.contains(kind));
        assert!(!held.iter().any(shared), "{held:?}");
    }
    drop(forked);
    visitors.iter().for_each(|client| client.echo(b"after"));
}

/// Two loops share a port by `SO_REUSEPORT`; that must not let another daemon in.
#[test]
fn e11_a_second_daemon_is_refused() {
    for protocol in ["tcp", "udp"] {
        let listen = |port| format!("{protocol}://127.0.0.1:{port}?name=it&mode=epoll&workers=2");
        let daemon = Echod::with_args(&["--listen", &listen(0)]);
        let Err(second) = Launch::new().args(&["--listen", &listen(daemon.port("it"))]).try_start() else {
            panic!("{protocol}: a second daemon serves the same port");
        };
        second.expect(69, &["cannot bind"]);
        daemon.client("it").echo(b"the first still serves");
    }
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

fn e03_e04_no_byte_is_lost_or_late(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "receive-buffer = 2304");
        let client = daemon.client("it");
        // Byte by byte, each answered before the next, and all in a row.
        pattern(200).iter().for_each(|byte| client.echo(&[*byte]));
        let bytes = pattern(3000);
        thread::scope(|scope| {
            scope.spawn(|| bytes.iter().for_each(|byte| client.send(&[*byte])));
            assert!(client.receive(bytes.len()) == bytes);
        });
        // Many messages in one segment, the last of them half; then its other half.
        let messages = b"hello world\n".repeat(100);
        client.echo(&messages[..messages.len() - 6]);
        client.echo(&messages[messages.len() - 6..]);

        // All that is here arrives before the loop looks: as much as is received at once, and a byte less or more.
        let daemon = it(mode, socket, "");
        for length in [1, FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 1, LONG] {
            let client = daemon.client("it");
            client.echo(b"accepted");
            daemon.signal(Signal::SIGSTOP);
            let written = client.flood(pattern(length));
            daemon.signal(Signal::SIGCONT);
            assert!(client.receive(written) == pattern(written), "{written} bytes at once");
        }
    }
}

/// A receive stops at urgent data (tcp(7)) and at descriptors that were sent along (unix(7)), although there is more: who
/// takes a short receive for the last one leaves the rest until something else happens.
fn e04_a_message_may_end_before_the_input_does(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        let client = daemon.client("it");
        client.echo(b"accepted");
        daemon.signal(Signal::SIGSTOP);
        client.send(b"before");
        if socket.0 == "tcp" {
            assert_eq!(client.socket.send_out_of_band(b"!").unwrap(), 1);
        } else {
            // One SCM_RIGHTS, see cmsg(3): its length, level and type, and standard error to pass on.
            let head = [[20, 0], [1, 1], [2, 0]].map(|words| words.map(i32::to_ne_bytes).concat()).concat();
            let piece = [IoSlice::new(b"!")];
            let message = MsgHdr::new().with_buffers(&piece).with_control(&head);
            assert_eq!(client.socket.sendmsg(&message, 0).unwrap(), 1);
        }
        client.send(b"after");
        client.wait_arrived();
        daemon.signal(Signal::SIGCONT);
        let expected = match (socket.0, mode) {
            // A multishot receive takes the mark of urgent data for the end of what is there, until more comes.
            ("tcp", "io-uring") => {
                client.send(b", more");
                &b"beforeafter, more"[..]
            }
            ("tcp", _) => b"beforeafter",
            _ => b"before!after",
        };
        assert_eq!(client.receive(expected.len()), expected);
    }
}

/// Two send as fast as they can and read all of their echo: the loop never runs out of work for them.
fn e05_an_endless_sender_does_not_stop_others(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        let endless = [daemon.client("it"), daemon.client("it")];
        let client = daemon.client("it");
        let echoed = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let progress = || echoed.each_ref().map(|bytes| bytes.load(Relaxed));
        thread::scope(|scope| {
            for (sender, echoed) in endless.iter().zip(&echoed) {
                scope.spawn(|| while sender.try_send(pattern(MIB)).is_ok_and(|sent| sent > 0) {});
                scope.spawn(move || {
                    let mut buffer = vec![0; MIB];
                    while let Ok(length @ 1..) = sender.read(&mut buffer) {
                        echoed.fetch_add(length, Relaxed);
                    }
                });
            }
            let echo = || {
                eventually("busy senders", || progress().iter().all(|bytes| *bytes > MIB).then_some(()));
                let before = progress();
                (0..200).for_each(|_| client.echo(b"hello world\n"));
                // Nor do they starve because of the other.
                eventually("senders that go on", || {
                    progress().iter().zip(before).all(|(now, before)| *now > before).then_some(())
                });
            };
            let outcome = catch_unwind(AssertUnwindSafe(echo));
            // Whatever came of it, the threads must end.
            endless.iter().for_each(|sender| _ = sender.socket.shutdown(Shutdown::Both));
            outcome.unwrap();
        });
    }
}

/// Descriptors are used again at once while events about their former connections are under way.
fn e06_stale_events_touch_nobody(mode: &'static str) {
    const VISITS: u32 = 200;
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        let endpoint = daemon.endpoint("it");
        thread::scope(|scope| {
            for steady in 0..3_u32 {
                let client = daemon.client("it");
                scope.spawn(move || {
                    (0..300_u32)
                        .for_each(|n| client.echo(format!("steady {steady}, message {n}").as_bytes()));
                });
            }
            for churning in 0..4_u32 {
                let endpoint = &endpoint;
                scope.spawn(move || (0..VISITS).for_each(|visit| churn(endpoint, visit * 4 + churning)));
            }
        });
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 3 + 4 * u64::from(VISITS));
        let state = daemon.state("it");
        assert_eq!([state["died"], state["errors"], state["refused"]], [0; 3]);
        daemon.client("it").echo(b"as if nothing had been");
    }
}

/// One short visit of one kind or another.
fn churn(endpoint: &Endpoint, visit: u32) {
    let client = Client::connect(endpoint);
    let random = visit.wrapping_mul(2_654_435_761) >> 16;
    let message = format!("visit {visit}");
    if random & 1 != 0 {
        client.echo(message.as_bytes());
    }
    if random & 2 != 0 {
        client.send(message.as_bytes());
    }
    match random >> 2 & 3 {
        0 => client.reset(),
        1 => {
            client.half_close();
            let rest = client.rest();
            assert!(rest.is_empty() || rest == message.as_bytes());
        }
        // Closed with its echo unread, or with nothing under way.
        _ => drop(client),
    }
}

/// Nor does the loop spend time or memory on it, or on one who has half closed or vanished.
fn e07_who_never_reads_is_not_read(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        let idle = daemon.client("it");
        // Whatever the daemon needs once it has by now.
        let warm = daemon.client("it");
        let written = warm.flood(pattern(LONG));
        assert!(warm.receive(written) == pattern(written));
        drop(warm);
        daemon.wait_state("it", |state| state["open"] == 1);
        let before = resident(&daemon);
        let silent = daemon.client("it");
        let written = silent.flood(pattern(LONG));
        assert!(written < LONG, "its sender never blocked");
        let grown = resident(&daemon).saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more for a connection that does not read");
        let half_closed = daemon.client("it");
        let unread = half_closed.flood(pattern(LONG));
        half_closed.half_close();
        let vanished = daemon.client("it");
        vanished.flood(pattern(LONG));
        vanished.reset();
        daemon.wait_state("it", |state| state["open"] == 3 && state["resets"] == 1);
        let ticks = proc::cpu_ticks(daemon.pid());
        assert!(idle.hears_nothing_for(Duration::from_secs(1)));
        let burnt = proc::cpu_ticks(daemon.pid()) - ticks;
        assert!(burnt < 5, "{burnt} of 100 ticks were burnt while nothing happened");
        assert!(silent.receive(written) == pattern(written));
        assert!(half_closed.rest() == pattern(unread));
        idle.echo(b"still here");
    }
}

fn e08_half_close(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        for length in [0, 1, FULL - 1, FULL, FULL + 1, LONG] {
            // The end of file arrives together with the bytes, behind them, or while they are being sent.
            for stopped in [true, false] {
                let client = daemon.client("it");
                client.echo(b"accepted");
                if stopped {
                    daemon.signal(Signal::SIGSTOP);
                }
                let written = client.flood(pattern(length));
                client.half_close();
                daemon.signal(Signal::SIGCONT);
                assert!(client.rest() == pattern(written), "{written} bytes and the end of file");
            }
        }
        daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == 0 && state["errors"] == 0);
    }
}

fn e09_a_reset_in_mid_write_is_counted_once(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        for round in 1..=3 {
            let client = daemon.client("it");
            client.flood(pattern(LONG));
            client.reset();
            daemon.client("it").echo(b"next, please");
            daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == round);
        }
        let state = daemon.state("it");
        assert_eq!([state["served"], state["errors"], state["died"]], [6, 0, 0]);
        let lines = daemon.log().lines().filter(|line| line.contains("peer reset the connection")).count();
        assert_eq!(lines, 3, "a line for each\n{}", daemon.log());
    }
}

/// Both loops have clients: of a port the kernel gives each loop its share, of a shared socket whoever is free takes one.
fn e11_two_loops_serve_all(mode: &'static str) {
    for socket in STREAMS {
        let daemon = Combination { workers: "2", ..combination(mode, socket) }.start();
        let before = wakeups(&daemon);
        // Enough for one loop to be busy with them when the others come.
        daemon.signal(Signal::SIGSTOP);
        let clients = (0..64).map(|_| daemon.client("it")).collect::<Vec<_>>();
        daemon.signal(Signal::SIGCONT);
        for round in 0..20 {
            clients.iter().for_each(|client| client.send(format!("round {round:3}").as_bytes()));
            clients
                .iter()
                .for_each(|client| assert_eq!(client.receive(9), format!("round {round:3}").as_bytes()));
        }
        let busy = wakeups(&daemon).into_iter().filter(|task| !before.contains(task)).count();
        assert!(busy >= 2 || socket.0 != "tcp", "{busy} threads did it all");
        drop(clients);
        daemon.wait_state("it", |state| state["open"] == 0 && state["served"] == 64);
    }
}

fn e11_every_queue_is_drained_at_the_end(mode: &'static str) {
    for socket in STREAMS {
        let combination = Combination { workers: "2", ..combination(mode, socket) };
        let mut daemon = combination.start_with("drain-timeout = \"60s\"", "");
        daemon.signal(Signal::SIGSTOP);
        let clients = (0..50).map(|_| daemon.client("it")).collect::<Vec<_>>();
        clients.iter().for_each(|client| client.send(b"just in time"));
        daemon.signal(Signal::SIGTERM);
        let stopped = Instant::now();
        daemon.signal(Signal::SIGCONT);
        for client in clients {
            assert_eq!(client.rest(), b"just in time");
        }
        daemon.expect_success();
        assert!(stopped.elapsed() < Duration::from_secs(20), "the drain took {:?}", stopped.elapsed());
    }
}

fn combination(mode: &'static str, (protocol, address): (&'static str, &'static str)) -> Combination {
    Combination { protocol, address, mode, workers: "" }
}

fn it(mode: &'static str, socket: (&'static str, &'static str), keys: &str) -> Echod {
    combination(mode, socket).start_with("", keys)
}

/// Resident memory in KiB.
fn resident(daemon: &Echod) -> u64 {
    let text = proc::status(daemon.pid(), "VmRSS").unwrap();
    text.trim_end_matches(" kB").parse().unwrap()
}

/// How often each thread has waited.
fn wakeups(daemon: &Echod) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let of = |status: &str| status.lines().find(|line| line.starts_with("voluntary")).unwrap().to_owned();
    tasks
        .map(|task| task.unwrap())
        .map(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            (task.file_name().into_string().unwrap(), of(&status))
        })
        .collect()
}
