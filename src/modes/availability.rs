//! Whether the mechanism that a mode needs is to be had here: known before anything is bound.

use std::io;

use crate::modes::threading::pool;
use crate::{
    config::{self, Config, Fallback, Mode, Workers},
    report::error::{Exit, Failure},
    sys::ring::Ring,
};

/// Says where there is no room for as many threads as connections. Makes sure of io_uring where a listener asks for it, or lets epoll take its place where the listener allows that,
/// with a word in `notes`.
///
/// # Errors
/// Names the first listener that cannot have it, why, and the cure.
pub fn settle(config: &mut Config, notes: &mut Vec<String>) -> Result<(), Failure> {
    notes.extend(too_many_threads(config, pool::most()));
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

/// What is to be said if the kernel has no room for the threads of all connections.
fn too_many_threads(config: &Config, most: usize) -> Option<String> {
    let has_threads = |listener: &&config::Listener| {
        listener.mode == Mode::Threading && listener.workers == Workers::PerRequest
    };
    let is_interrupted: usize =
        config.listeners.iter().filter(has_threads).map(|listener| listener.max_connections as usize).sum();
    (is_interrupted > most).then(|| {
        format!(
            "mode threading may take {is_interrupted} threads, and vm.max_map_count leaves room for {most}: more clients wait; lower max-connections, \
             raise that sysctl, or use mode epoll"
        )
    })
}

fn why(error: &io::Error) -> String {
    let what = crate::socket::listener::words(error);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Inputs};

    #[test]
    fn more_threads_than_the_kernel_has_room_for_are_told() {
        let listen = |more: &str| vec![format!("tcp://127.0.0.1:0?name=a&mode={more}")];
        let note = |more: &str| {
            let inputs = Inputs { file: None, listen: listen(more) };
            let config = config::load(&inputs, &Environment::default()).unwrap().config;
            too_many_threads(&config, 1000)
        };
        assert!(note("threading&max-connections=1001").unwrap().contains("may take 1001 threads"));
        assert_eq!(note("threading&max-connections=1000"), None);
        assert_eq!(note("threading&workers=4&max-connections=5000"), None);
        assert_eq!(note("epoll&max-connections=5000"), None);
    }
}
