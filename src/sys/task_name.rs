//! What `ps` and `top -H` call a thread or process: the listener that it serves, and its part in that.

use std::{ffi::CString, fmt::Display};

use nix::sys::prctl;

/// So many bytes the kernel keeps (prctl(2), `PR_SET_NAME`), without the one that ends them.
const ROOM: usize = 15;

/// Names the calling thread, or the process if it is the only one: `web/epoll-1`.
pub fn name_task(listener: &str, part: impl Display) {
    // It has no zero byte; and a task without a name serves as well.
    if let Ok(name) = CString::new(task_name(listener, &part.to_string())) {
        let _ = prctl::set_name(&name);
    }
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
