//! A server that answers datagrams as most do: each, whoever has sent it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::Patient;

/// Makes an answer of the number of a datagram and its payload.
type Answer = fn(u64, &[u8]) -> Vec<u8>;

/// What such servers answer.
pub(crate) const ANSWERS: [(&str, Answer); 2] =
    [("echo", |_, request| request.to_vec()), ("chargen", chargen)];

/// A server without any guard: as most are.
pub(crate) struct Plain {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Plain {
    /// Answers what `answer` makes of each datagram. To be called in the namespace where it is to be.
    pub(crate) fn start(at: &str, answer: Answer) -> Self {
        let socket = Patient::udp(at).within(Duration::from_millis(50));
        let (stop, answered): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (told, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while !told.load(Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let number = count.fetch_add(1, Relaxed);
                let _ = socket.send_to(&answer(number, &buffer[..length]), from);
            }
        });
        Self { stop, answered, thread: Some(thread) }
    }

    /// How many datagrams it has answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Its payload changes with every datagram, so nothing that looks at payloads would see a loop.
fn chargen(number: u64, _: &[u8]) -> Vec<u8> {
    (0..72).map(|column| b' ' + ((number + column) % 95) as u8).collect()
}
