//! A reload makes all that it needs before it touches what is served.

use super::{can_have, end_of_descriptors, limit_descriptors, modes};
use crate::harness::{Client, Echod, Launch, Manager, eventually, is_locked_in, it, listener};

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

/// At every number of descriptors that are free the reload is done, or refused with the listener as it was.
#[test]
fn a_reload_without_descriptors_changes_nothing() {
    for protocol in PROTOCOLS {
        for (mode, keys) in modes() {
            let toml = |service: &str| listener("it", protocol, &format!("{keys}\nservice = \"{service}\""));
            let mut daemon = Echod::start(&toml("echo"));
            let (mut refused, mut done) = (0, 0);
            let mut free = 0;
            // The iterative mode would serve nobody else meanwhile.
            let client = (mode != "iterative").then(|| daemon.client("it"));
            client.iter().for_each(|client| client.echo(b"before"));
            while done < 2 && free < 60 {
                let open = eventually("the end of the generation before", || {
                    // What a reload before has left is closed in its own time.
                    let open = end_of_descriptors(&daemon);
                    std::thread::yield_now();
                    (open == end_of_descriptors(&daemon)).then_some(open)
                });
                if !limit_descriptors(&daemon, Some(open + free)) {
                    return;
                }
                let service = if done == 0 { "upper" } else { "echo" };
                daemon.reload(&toml(service));
                assert!(limit_descriptors(&daemon, None));
                let told = daemon.log().lines().rfind(|line| line.contains("reloaded: ")).unwrap().to_owned();
                let context = format!("{protocol} {mode} {keys}, {free} free: {told}");
                let answer: &[u8] = match told.contains("not reloaded") {
                    true => {
                        refused += 1;
                        if done == 0 { b"hello" } else { b"HELLO" }
                    }
                    false => {
                        done += 1;
                        assert!(told.contains("serving 1 listener"), "{context}");
                        if service == "upper" { b"HELLO" } else { b"hello" }
                    }
                };
                for _ in 0..6 {
                    assert_eq!(daemon.client("it").ask(b"hello"), answer, "{context}\n{}", daemon.log());
                }
                free += 1;
            }
            assert!(refused > 0 && done == 2, "{protocol} {mode} {keys}: {refused} refused, {done} done");
            client
                .iter()
                .filter(|client| !client.is_datagram())
                .for_each(|client| client.echo(b"still served"));
            drop(client);
            daemon.stop();
        }
    }
}

/// A listener that cannot be had leaves alone those that are served, also when it is another one.
#[test]
fn a_listener_that_cannot_begin_refuses_the_reload() {
    const CONNECTIONS: usize = 1030;
    let toml = it("mode = \"epoll\"\nmax-connections = 2000");
    let manager = Manager::new();
    let mut daemon = Launch::new().config(&toml).env("NOTIFY_SOCKET", &manager.name).start();
    let Some(clients) = many(&daemon, CONNECTIONS) else { return };
    daemon.reload(&(toml.clone() + &listener("sets", "tcp", "mode = \"select\"")));
    daemon.wait_log(|line| line.contains(" ERROR ") && line.contains("\"sets\"") && line.contains("beyond"));
    daemon.wait_log(|line| line.contains("not reloaded: the configuration before stays in effect"));
    eventually("what the manager is told", || {
        let told = manager.next();
        (told.contains("serving 1 listener; not reloaded: ") && told.contains("sets")).then_some(())
    });
    clients[0].echo(b"still served");
    daemon.client("it").echo(b"and others");
    drop(clients);
    daemon.wait_state("it", |state| state["open"] == 0);
    daemon.reload(&(toml + &listener("sets", "tcp", "mode = \"select\"")));
    daemon.wait_log(|line| line.contains("reloaded: serving 2 listeners"));
    daemon.stop();
}

/// Whoever was to serve a socket, and does not come to it, has left it as it was: the event loop that has it never waits for a single
/// client.
#[test]
fn a_reload_that_fails_stalls_no_event_loop() {
    if is_locked_in() {
        // A reload brings no processes in there.
        return;
    }
    const CONNECTIONS: usize = 1030;
    for mode in ["epoll", "io-uring"] {
        let settings = |mode: &str| it(&format!("mode = \"{mode}\"\nmax-connections = 2000"));
        let mut daemon = Echod::start(&settings(mode));
        let Some(clients) = many(&daemon, CONNECTIONS) else { return };
        for serves in ["forking", "threading", "iterative"] {
            daemon.reload(&(settings(serves) + &listener("sets", "tcp", "mode = \"select\"")));
            daemon.wait_log(|line| line.contains("not reloaded: "));
            assert!(daemon.log().contains("beyond"), "{}", daemon.log());
            // A loop whose clients come one by one looks for more of them every now and then.
            (0..70).for_each(|_| daemon.client("it").echo(b"one by one"));
        }
        clients[0].echo(b"still served");
        drop(clients);
        daemon.stop();
    }
}

fn many(daemon: &Echod, count: usize) -> Option<Vec<Client>> {
    if !can_have(count) {
        return None;
    }
    let clients: Vec<_> = (0..count).map(|_| daemon.client("it")).collect();
    clients.last().unwrap().echo(b"the last");
    Some(clients)
}
