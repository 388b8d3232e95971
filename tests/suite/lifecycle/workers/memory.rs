//! Mode threading without memory for more threads.

use std::time::Duration;

use crate::{
    harness::{Client, Launch, eventually, it, listener},
    lifecycle::workers::can_have,
};

/// Clients for whom there is no thread wait, and all others are served on.
#[test]
fn without_memory_for_a_thread_clients_wait() {
    const CLIENTS: usize = 600;
    if !can_have(CLIENTS + 100) {
        return;
    }
    // 128 MiB of address space, a fifth of what so many threads need.
    let toml =
        it("mode = \"threading\"\nmax-connections = 2000") + &listener("other", "tcp", "mode = \"epoll\"");
    let mut daemon = Launch::new().config(&toml).shell("ulimit -v 131072; exec \"$0\" \"$@\"").start();
    let clients: Vec<Client> = (0..CLIENTS).map(|_| daemon.client("it")).collect();
    clients.iter().for_each(|client| client.send(b"hello"));
    daemon.wait_log(|line| line.contains("cannot start a thread") && line.contains("clients wait"));
    daemon.client("other").echo(b"another listener");
    assert!(daemon.state("it")["exhausted"] > 0);
    let (served, waiting): (Vec<Client>, Vec<Client>) =
        clients.into_iter().partition(|client| !client.hears_nothing_for(Duration::from_millis(1)));
    assert!(served.len() > 20 && waiting.len() > 20, "{} are served, {} wait", served.len(), waiting.len());
    served.iter().for_each(|client| {
        // One byte was taken by the look at it.
        client.receive(4);
        client.echo(b"served on");
    });
    drop(served);
    // A thread for each of them, a few at a time.
    let mut waiting = waiting;
    eventually("the end of all that wait", || {
        waiting.retain(|client| client.hears_nothing_for(Duration::from_millis(1)));
        waiting.is_empty().then_some(())
    });
    assert!(daemon.exited().is_none());
    daemon.stop();
}
