//! Clients that behave badly, and what others notice of them: e05, e06, e07, e09.

use std::{
    net::Shutdown,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{STREAMS, it};
use crate::harness::{Client, Endpoint, LONG, MIB, eventually, pattern, proc};

in_every_mode! { e05_an_endless_sender_does_not_stop_others e06_stale_events_touch_nobody e07_who_never_reads_is_not_read
e09_a_reset_in_mid_write_is_counted_once }

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
        let before = proc::own_memory(daemon.pid()).unwrap();
        let silent = daemon.client("it");
        let written = silent.flood(pattern(LONG));
        assert!(written < LONG, "its sender never blocked");
        let grown = proc::own_memory(daemon.pid()).unwrap().saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more for a connection that does not read");
        let half_closed = daemon.client("it");
        let unread = half_closed.flood(pattern(LONG));
        half_closed.half_close();
        let vanished = daemon.client("it");
        vanished.flood(pattern(LONG));
        vanished.reset();
        daemon.wait_state("it", |state| state["open"] == 3 && state["resets"] == 1);
        let ticks = daemon.cpu_ticks();
        assert!(idle.hears_nothing_for(Duration::from_secs(1)));
        let burnt = daemon.cpu_ticks().saturating_sub(ticks);
        assert!(burnt < 5, "{burnt} of 100 ticks were burnt while nothing happened");
        assert!(silent.receive(written) == pattern(written));
        assert!(half_closed.rest() == pattern(unread));
        idle.echo(b"still here");
    }
}

fn e09_a_reset_in_mid_write_is_counted_once(mode: &'static str) {
    for socket in STREAMS {
        let mut daemon = it(mode, socket, "");
        for round in 1..=3 {
            let client = daemon.client("it");
            client.flood(pattern(LONG));
            client.reset();
            daemon.client("it").echo(b"next, please");
            daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == round);
        }
        let state = daemon.state("it");
        assert_eq!([state["served"], state["errors"], state["died"]], [6, 0, 0]);
        daemon.stop();
        let lines = daemon.log().lines().filter(|line| line.contains("peer reset the connection")).count();
        assert_eq!(lines, 3, "a line for each\n{}", daemon.log());
    }
}
