//! What `ps` and `top -H` call a thread or process: the listener that it serves, and its part in that.

use std::{ffi::CStr, fmt::Display};

use nix::sys::prctl;

/// So many bytes the kernel keeps (prctl(2), `PR_SET_NAME`), without the one that ends them.
const ROOM: usize = 15;

/// A name for threads or processes: `web/epoll-1`. Zero bytes fill it up.
#[derive(Clone, Copy)]
pub struct TaskName([u8; ROOM + 1]);

impl TaskName {
    /// Of this part of serving `listener`.
    pub fn new(listener: &str, part: impl Display) -> TaskName {
        let name = task_name(listener, &part.to_string());
        let length = name.len().min(ROOM);
        let mut bytes = [0; ROOM + 1];
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        TaskName(bytes)
    }

    /// Gives it to the calling thread, or to the process if that is the only one. Nothing is allocated: in a child that has just
    /// been forked each page that is written to must be copied.
    pub fn set(&self) {
        // A task without a name serves as well.
        if let Ok(name) = CStr::from_bytes_until_nul(&self.0) {
            let _ = prctl::set_name(name);
        }
    }
}

/// Names the calling thread, or the process if it is the only one.
pub fn name_task(listener: &str, part: impl Display) {
    TaskName::new(listener, part).set();
}

/// The part stays whole; of a listener's name as much as there is room for. What tells URLs apart is at their end.
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
    fn a_name_fits_and_keeps_what_tells_it_apart() {
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
