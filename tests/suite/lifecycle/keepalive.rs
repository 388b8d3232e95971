//! A client that vanishes without a word is found out about by probes of the kernel.

use crate::harness::{
    Echod, it,
    netns::{in_namespace, sh},
    skipped,
};

#[test]
fn a_client_that_answers_no_probe_loses_its_connection() {
    in_namespace("true", || {
        // Usually the kernel sends nine probes, and waits for 75 s after each.
        let daemon = Echod::start(&it("keepalive = \"1s every 1s, 1 times\""));
        let (silent, other) = (daemon.client("it"), daemon.client("it"));
        silent.echo(b"hello");
        let port = silent.socket.local_addr().unwrap().as_socket().unwrap().port();
        let cut = format!(
            "nft 'table inet cut {{ chain out {{ type filter hook output priority 0; tcp sport {port} drop; }}; }}'"
        );
        if let Err(told) = sh(&cut) {
            return skipped(told);
        }
        daemon.wait_state("it", |state| state["open"] == 1 && state["errors"] == 1);
        // One that answers the probes stays.
        other.echo(b"hello");
    });
}
