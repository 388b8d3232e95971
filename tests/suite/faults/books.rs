//! The books of the client and the counters of the server balance.

use serde_json::Value;

use super::start;
use crate::harness::{Launch, has_mode};

/// Every probe that was lost was dropped or came back wrong, and each is counted once at either end.
#[test]
fn what_the_client_misses_is_what_the_server_withheld() {
    // Of several workers one may overtake another.
    for mode in ["epoll", "threading", "forking", "io-uring"] {
        if !has_mode(mode) {
            continue;
        }
        let keys = "drop = \"2%\"\nduplicate = \"1%\"\ncorrupt = \"0.5%\"\nreorder = \"1% by 3\"";
        let mut daemon = start("udp", keys, &format!("mode = \"{mode}\"\nworkers = 1\n"));
        let url = format!("udp://127.0.0.1:{}", daemon.port("it"));
        let told =
            Launch::new().args(&["ping", "-c", "3000", "-i", "200us", "-W", "1s", "-o", "json", &url]).run();
        assert_eq!(told.status.code(), Some(0), "{}", told.stderr);
        let report: Value = serde_json::from_str(&told.stdout).unwrap();
        let (probes, replies) = (&report["targets"][0]["probes"], &report["targets"][0]["replies"]);
        let state = daemon.state("it");
        // On a machine that is busy with others the receive buffer may overflow, which the kernel counts.
        let undelivered = state["undelivered"];
        assert_eq!(probes["sent"], state["served"] + undelivered, "{mode}: {report}");
        assert_eq!(replies["corrupt"], state["fault-corrupt"], "{mode}: {report}");
        assert_eq!(replies["stray"], 0, "{mode}: {report}");
        let lost = state["fault-drop"] + state["fault-corrupt"] + undelivered;
        assert_eq!(probes["lost"], lost, "{mode}: {report}");
        assert_eq!(replies["duplicate"], state["fault-duplicate"], "{mode}: {report}");
        let (reordered, held) = (replies["reordered"].as_u64().unwrap(), state["fault-reorder"]);
        // One that is held at the end of a pause has nothing to come behind.
        assert!(reordered.abs_diff(held) <= 2 + held / 10, "{mode}: {reordered} of {held}");
        daemon.stop();
    }
}
