//! The names that `ps` and `top -H` show for threads and processes: the listener, and the task's role in serving it.

use std::{ffi::CStr, fmt::Display};

use nix::sys::prctl;

/// Bytes of a name that the kernel stores (prctl(2), `PR_SET_NAME`), without the terminating zero.
const ROOM: usize = 15;

/// The name of a thread or process, such as `web/epoll-1`, padded with zero bytes.
#[derive(Clone, Copy)]
pub struct TaskName([u8; ROOM + 1]);

impl TaskName {
    /// The name for this part of serving `listener`.
    pub fn new(listener: &str, part: impl Display) -> TaskName {
        let name = task_name(listener, &part.to_string());
        let length = name.len().min(ROOM);
        let mut bytes = [0; ROOM + 1];
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        TaskName(bytes)
    }

    /// Sets the name of the calling thread, or of the process if it has no other. Allocates nothing: in a forked child every page
    /// written to is copied.
    pub fn set(&self) {
        // The name is for people only, so an error is ignored.
        if let Ok(name) = CStr::from_bytes_until_nul(&self.0) {
            let _ = prctl::set_name(name);
        }
    }
}

/// Sets the name of the calling thread, or of the process if it has no other.
pub fn name_task(listener: &str, part: impl Display) {
    TaskName::new(listener, part).set();
}

/// Keeps `part` whole and shortens the listener's name. Of a URL the end is kept, where URLs differ.
fn task_name(listener: &str, part: &str) -> String {
    let room = ROOM.saturating_sub(part.len() + 1);
    let plain: String = listener.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    let at = if plain.contains("://") { plain.len().saturating_sub(room) } else { 0 };
    let end = plain.len().min(at + room);
    format!("{}/{part}", &plain[at..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shortened_to_fit_and_stays_distinct() {
        assert_eq!(task_name("web", "epoll-1"), "web/epoll-1");
        assert_eq!(task_name("frontend-of-shop", "client"), "frontend/client");
        assert_eq!(task_name("tcp://127.0.0.1:7000", "epoll-12"), "1:7000/epoll-12");
        assert_eq!(task_name("grüße an\0alle", "uring-1"), "gr__e_a/uring-1");
        assert_eq!(task_name("", "worker-1000"), "/worker-1000");
    }

    #[test]
    fn the_kernel_keeps_it() {
        let named = || {
            name_task("web", "poll-2");
            prctl::get_name().unwrap().into_string().unwrap()
        };
        assert_eq!(std::thread::spawn(named).join().unwrap(), "web/poll-2");
    }
}
