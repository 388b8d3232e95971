//! Checks, before anything is bound, that the kernel offers what the configured modes need.

use std::io;

use crate::{
    config::{self, Config, Fallback, Mode, Note, Workers},
    modes::threading::pool,
    report::error::{Exit, Failure},
    socket::resolve::error_text,
    sys::ring::Ring,
};

/// Replaces mode io-uring by epoll where io_uring is missing and the listener has `fallback = "epoll"`; `notes` says so. Also
/// notes if the kernel cannot map a thread stack for every connection of mode threading.
///
/// # Errors
/// io_uring is missing, and a listener that needs it has no fallback: names the listener, the cause and the remedy.
pub fn resolve_fallbacks(config: &mut Config, notes: &mut Vec<Note>) -> Result<(), Failure> {
    notes.extend(too_many_threads(config, pool::most()));
    let uses_ring = |listener: &config::Listener| listener.mode == Mode::IoUring;
    if !config.listeners.iter().any(uses_ring) {
        return Ok(());
    }
    let Err(error) = Ring::new() else { return Ok(()) };
    let cause = cause(&error);
    for listener in config.listeners.iter_mut().filter(|listener| uses_ring(listener)) {
        let name = &listener.name;
        match listener.fallback {
            Fallback::Epoll => {
                let text = format_args!("mode epoll takes the place of io-uring: {cause}");
                notes.push(Note::of(name, text).about("fallback"));
                listener.mode = Mode::Epoll;
            }
            Fallback::Off => {
                let help = "choose mode `epoll`, or set `fallback = \"epoll\"`";
                let text = format!("listener \"{name}\": cannot use io_uring: {cause}; {help}");
                return Err(Failure::new(Exit::Unavailable, text));
            }
        }
    }
    Ok(())
}

/// A note if `vm.max_map_count` leaves room for fewer threads (`most`) than the listeners may start.
fn too_many_threads(config: &Config, most: usize) -> Option<Note> {
    let has_threads = |listener: &&config::Listener| {
        listener.mode == Mode::Threading && listener.workers == Workers::PerRequest
    };
    let threads: usize =
        config.listeners.iter().filter(has_threads).map(|listener| listener.max_connections as usize).sum();
    (threads > most).then(|| {
        Note::new(format!(
            "mode threading may take {threads} threads, and vm.max_map_count leaves room for {most}: more clients wait; lower max-connections, \
             raise that sysctl, or use mode epoll"
        ))
        .about("max-connections")
    })
}

fn cause(error: &io::Error) -> String {
    let what = error_text(error);
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
    fn more_threads_than_the_kernel_can_map_are_noted() {
        let listen = |more: &str| vec![format!("tcp://127.0.0.1:0?name=a&mode={more}")];
        let note = |more: &str| {
            let inputs = Inputs { file: None, listen: listen(more) };
            let config = config::load(&inputs, &Environment::default()).unwrap().config;
            too_many_threads(&config, 1000)
        };
        assert!(note("threading&max-connections=1001").unwrap().text.contains("may take 1001 threads"));
        assert_eq!(note("threading&max-connections=1000"), None);
        assert_eq!(note("threading&workers=4&max-connections=5000"), None);
        assert_eq!(note("epoll&max-connections=5000"), None);
    }
}
