//! Children that this process did not start. As process 1 of a container it is the parent of everybody whose own parent has died,
//! such as the processes for the clients of a forking listener whose process was killed. Nobody else can reap them.

use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, waitid, waitpid},
    unistd::Pid,
};

/// Reaps those that have ended, but for those that are `ours`: their end is told to their owner.
///
/// Any other process leaves a child alone that it inherited over exec(2): whoever made it may ask for its end.
pub(super) fn reap(ours: impl Fn(Pid) -> bool) {
    if std::process::id() != 1 {
        return;
    }
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let ended = match waitid(Id::All, look) {
            Err(Errno::EINTR) => continue,
            // One of ours that has ended since they were looked after: its signal is still to come.
            ended => ended.ok().and_then(|status| status.pid()).filter(|&child| !ours(child)),
        };
        let Some(child) = ended else { return };
        if waitpid(child, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}
