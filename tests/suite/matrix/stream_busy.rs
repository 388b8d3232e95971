//! A client that never lets the service rest: it neither stops sending nor closes, and reads all that comes.

use std::thread;

use super::Combination;
use crate::harness::{Client, Echod, it};

/// Its listener is removed: `drain-timeout` is over for it as for any other client.
pub(super) fn cut_by_drain_timeout(combination: Combination) {
    for service in ["echo", "chargen"] {
        let stays = format!("[daemon]\ndrain-timeout = \"300ms\"\n{}", it("").replace("\"it\"", "\"stays\""));
        let keys = format!("service = \"{service}\"\n");
        let busy = format!("{stays}{}{keys}", combination.listener("it"));
        let daemon = Echod::start(&busy);
        let client = daemon.client("it");
        keep_busy(&client, || {
            daemon.wait_state("it", |state| state["received"] > 1_000_000);
            daemon.reload(&stays);
            // On a machine that stood still for long its last words may be over first.
            let is_end =
                |line: &str| line.contains(" closed after ") || line.contains("1 open connection was cut");
            daemon.wait_log(is_end);
        });
        daemon.client("stays").echo(b"not concerned");
    }
}

/// Calls `then` while the client sends and reads as fast as it can, until the daemon has closed the connection.
fn keep_busy(client: &Client, then: impl FnOnce()) {
    let block = vec![b'x'; 256 * 1024];
    thread::scope(|scope| {
        (0..2).for_each(|_| _ = scope.spawn(|| while client.try_send(&block).is_ok() {}));
        scope.spawn(|| {
            let mut buffer = vec![0; 65_536];
            while client.read(&mut buffer).is_ok_and(|length| length > 0) {}
        });
        then();
    });
}
