//! Nobody is told that a listener serves before every worker of it does.

use crate::harness::{Echod, Finished, Launch, listener, poll, proc};

use super::modes;

/// The fewest descriptors that a daemon may be given.
const FEWEST: usize = 6;

/// Starts what follows with so many.
const LIMITED: &str = "ulimit -n $DESCRIPTORS; exec \"$0\" \"$@\"";

/// Starts a daemon that may open so many descriptors.
fn start(toml: &str, descriptors: usize) -> Result<Echod, Finished> {
    Launch::new().config(toml).shell(LIMITED).env("DESCRIPTORS", descriptors).try_start()
}

/// With too few descriptors for all of its workers a daemon does not say that it is ready, and ends with the reason; with enough for
/// them every client is served, whichever worker it is for.
#[test]
fn ready_is_said_when_every_worker_serves() {
    for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        let has_many = |keys: &str| keys.contains("workers = 3");
        for (_, keys) in modes().filter(|(_, keys)| protocol == "tcp" || has_many(keys)) {
            let toml = listener("it", protocol, &keys);
            let mut failed = 0;
            let mut daemon = None;
            for descriptors in (FEWEST..).step_by(if protocol == "tcp" { 1 } else { 3 }) {
                match start(&toml, descriptors) {
                    Ok(started) => {
                        daemon = Some((descriptors, started));
                        break;
                    }
                    Err(finished) => {
                        let context = format!("{protocol} {keys} {descriptors}:\n{}", finished.stderr);
                        assert!(matches!(finished.status.code(), Some(69 | 70 | 71 | 77)), "{context}");
                        assert!(!finished.stderr.contains("serving"), "{context}");
                        failed += 1;
                    }
                }
            }
            let (descriptors, mut first) = daemon.unwrap();
            assert!(failed > 0, "{protocol} {keys}: {FEWEST} descriptors are not too few");
            assert!(first.exited().is_none() && first.state("it")["open"] == 0, "{}", first.log());
            // Some for clients.
            let daemon = start(&toml, descriptors + 4).unwrap_or_else(|failed| panic!("{}", failed.stderr));
            for _ in 0..40 {
                daemon.client("it").echo(b"whichever worker it is for");
            }
            first.stop();
        }
    }
}

/// The launcher of a daemon that detaches tells of a worker that cannot serve, and succeeds only with one that stays.
#[test]
fn the_launcher_waits_for_every_worker() {
    let log = "[log]\ntarget = \"file\"\nfile = \"echod.log\"\n".to_owned();
    let toml = log + &listener("it", "tcp", "mode = \"epoll\"\nworkers = 4");
    let mut refused = 0;
    let stays = (FEWEST..60).any(|descriptors| {
        let launch = Launch::new().config(&toml).shell(LIMITED).env("DESCRIPTORS", descriptors);
        let finished = launch.args(&["--daemonize"]).detach();
        let is_there = || !proc::working_in(finished.dir.path()).is_empty();
        if finished.status.success() {
            let stays = is_there();
            proc::kill_all(finished.dir.path());
            assert!(stays, "{descriptors}: {}", finished.stderr);
            return true;
        }
        refused += 1;
        assert!(poll(|| (!is_there()).then_some(())).is_some());
        false
    });
    assert!(stays && refused > 0, "{refused} were refused");
}

/// Whoever reads the announcement to its end is not left waiting for want of a descriptor.
#[test]
fn an_announcement_ends_without_a_descriptor_to_spare() {
    let toml = listener("it", "tcp", "mode = \"epoll\"");
    // Launch::try_start returns at the end of standard output, and panics if that does not come.
    let started = (FEWEST..40).find_map(|descriptors| start(&toml, descriptors).ok());
    assert!(!started.unwrap().log().contains("cannot announce"));
}
