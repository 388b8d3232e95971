//! `[daemon]`: the process as a whole.

use std::{path::PathBuf, time::Duration};

use crate::config::{
    Owner, Sandbox,
    keys::{
        Key,
        Preset::{Unset, Value},
        Reload::{Live, Restart},
        Word, keys,
    },
    owners::{GROUP, USER},
    values::{DURATION, EXIT_IDLE_TIME, SWITCH, path},
};

keys! {
    /// `[daemon]`: the process as a whole.
    Daemon, WrittenDaemon, DaemonKeys = DAEMON;

    /// How long open connections may take to end after the first SIGTERM, and those of a listener that a reload has removed,
    /// before they are cut. `"0s"` does not wait.
    drain_timeout: Duration = Key {
        value: &DURATION, default: Value(|_| Duration::from_secs(5)), needs: &[], reload: Live, example: "\"30s\"",
    },
    /// Exit when nothing was served and nothing was open for so long.
    exit_idle_time: Option<Duration> = Key {
        value: &EXIT_IDLE_TIME, default: Value(|_| None), needs: &[], reload: Live, example: "\"10m\"",
    },
    /// The file that holds the process id. It is locked while echod runs, so that a second echod with the same file does not
    /// start, and removed at the end. Only a file that is not there yet, is empty or holds a process id is taken, and never a
    /// link.
    pid_file: Option<PathBuf> = Key {
        value: &path("/run/echod.pid"), default: Unset("none", |_| None), needs: &[], reload: Restart,
        example: "\"/run/echod/echod.pid\"",
    },
    /// The user to become once all sockets are bound and before the first client is served, if echod was started as root. There
    /// is no way back: a reload can only do what that user may. Files in a directory of root that the user cannot remove at the
    /// end are warned of.
    user: Option<Owner> = Key {
        value: &USER, default: Unset("none", |_| None), needs: &[], reload: Restart, example: "\"root\"",
    },
    /// The group to become with it. All other groups are dropped. Without `user` it leaves echod root.
    group: Option<Owner> = Key {
        value: &GROUP, default: Unset("that of `user`", |_| None), needs: &[], reload: Restart, example: "\"root\"",
    },
    /// Whether listeners may use a plan of `[[faults]]`, by which they misbehave on purpose. Only for a daemon that is a peer for
    /// tests: the clients of any other would take its faults for real ones.
    allow_faults: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[], reload: Live, example: "true",
    },
    /// Whether echod locks itself in once all sockets are bound and before the first client is served. With `"on"` no program can
    /// give it more rights (no_new_privs), it reaches only the directories in use (Landlock), and it makes only the system calls of
    /// the modes in use (seccomp). The log says which of these the kernel has; without them echod serves all the same. A reload
    /// that needs more is refused and takes a restart: a first listener of mode forking or io-uring, a socket or a log file in
    /// another directory, a file of networks in another one. Give echod directories of its own: the right to remove its pid file
    /// from /run is one for all of /run, which is warned of.
    sandbox: Sandbox = Key {
        value: &Word, default: Value(|_| Sandbox::Off), needs: &[], reload: Restart, example: "\"on\"",
    },
}
