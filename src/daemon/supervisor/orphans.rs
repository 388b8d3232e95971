//! Orphans. As process 1 of a container this process inherits every orphan, such as the children of a fork server that was
//! killed. No other process can reap them.

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, waitid, waitpid},
    unistd::Pid,
};

/// Reaps children that have ended, except `ours`, which are reaped by their owners.
///
/// Not as another process: a child inherited over exec(2) may be waited for by the program that started it.
pub(super) fn reap(ours: impl Fn(Pid) -> bool) {
    if std::process::id() != 1 {
        return;
    }
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let ended = match waitid(Id::All, look) {
            Err(Errno::EINTR) => continue,
            // If it is one of ours, it ended after the owners looked, and its SIGCHLD is still to come.
            ended => ended.ok().and_then(|status| status.pid()).filter(|&child| !ours(child)),
        };
        let Some(child) = ended else { return };
        if waitpid(child, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}
