//! Whether the mechanism that a mode needs is to be had here: known before anything is bound.

use std::io;

use crate::{
    config::{self, Config, Fallback, Mode},
    error::{Exit, Failure},
    sys::ring::Ring,
};

/// Makes sure of io_uring where a listener asks for it, or lets epoll take its place where the listener allows that,
/// with a word in `notes`.
///
/// # Errors
/// Names the first listener that cannot have it, why, and the cure.
pub fn settle(config: &mut Config, notes: &mut Vec<String>) -> Result<(), Failure> {
    let asks = |listener: &config::Listener| listener.mode == Mode::IoUring;
    if !config.listeners.iter().any(asks) {
        return Ok(());
    }
    let Err(error) = Ring::new() else { return Ok(()) };
    let why = why(&error);
    for listener in config.listeners.iter_mut().filter(|listener| asks(listener)) {
        let name = &listener.name;
        match listener.fallback {
            Fallback::Epoll => {
                notes.push(format!("listener \"{name}\": mode epoll takes the place of io-uring: {why}"));
                listener.mode = Mode::Epoll;
            }
            Fallback::Off => {
                let cure = "choose mode `epoll`, or set `fallback = \"epoll\"`";
                let text = format!("listener \"{name}\": cannot use io_uring: {why}; {cure}");
                return Err(Failure::new(Exit::Unavailable, text));
            }
        }
    }
    Ok(())
}

fn why(error: &io::Error) -> String {
    let what = crate::listener::words(error);
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!(
            "{what}: it is switched off by the sysctl kernel.io_uring_disabled, or denied by the sandbox that echod runs in \
             (containers deny it by default): allow it there"
        ),
        Some(libc::ENOSYS | libc::EINVAL) => {
            format!("{what}: this kernel is older than Linux 6.1, or was built without it")
        }
        _ => what,
    }
}
