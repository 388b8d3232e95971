//! One batch of datagrams: receive, guard, answer, send.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use log::{Level, debug, error, info, log_enabled, warn};

pub use crate::sys::mmsg::MOST;
use crate::{
    config::{Payload, ServiceKind},
    duty::Duty,
    listener::Listener,
    logging::Seldom,
    payload::Shown,
    peer::Peer,
    reason::Reason,
    sys::mmsg::Batch,
    watch::{Patience, Ready, Watch},
};

/// The rest after a receive that failed for want of memory.
const REST: Duration = Duration::from_millis(100);

/// Where datagrams come in: what a [`crate::duty::Door`] is to connections.
pub struct Desk<'a> {
    duty: &'a Duty,
    watch: Watch<'a>,
    with_control: bool,
}

/// What happened at the desk.
pub enum Arrival<'a> {
    /// The batch holds datagrams from this socket.
    Batch(&'a Listener),
    /// Nothing yet: a signal, or a datagram that went to somebody else.
    Nothing,
    /// Nothing comes any more.
    Closed,
}

impl<'a> Desk<'a> {
    /// A desk for `sockets`, see [`Watch::new`].
    pub fn new(duty: &'a Duty, sockets: Vec<&'a Listener>, by_signals: bool) -> io::Result<Desk<'a>> {
        let with_control = sockets.iter().any(|socket| socket.has_many_addresses());
        Ok(Desk { duty, watch: Watch::new(sockets, &duty.gate, &duty.posts, by_signals)?, with_control })
    }

    /// A batch of `size` that suits these sockets.
    pub fn batch(&self, size: usize) -> io::Result<Batch> {
        Batch::new(size, self.with_control)
    }

    /// Fills the batch, and tells from which socket. `None` when nothing comes any more.
    pub fn receive(&mut self, batch: &mut Batch) -> Option<&'a Listener> {
        loop {
            match self.look(batch, &Patience::default()) {
                Arrival::Batch(listener) => return Some(listener),
                Arrival::Nothing => {}
                Arrival::Closed => return None,
            }
        }
    }

    /// Waits for datagrams once.
    pub fn look(&mut self, batch: &mut Batch, patience: &Patience) -> Arrival<'a> {
        let listener = match self.watch.wait(patience) {
            Ready::Socket(listener) => listener,
            Ready::Nothing => return Arrival::Nothing,
            Ready::Closed => return Arrival::Closed,
        };
        let taken = take(self.duty, listener, batch, self.watch.blocks());
        self.watch.leave();
        match taken {
            Ok(0) => Arrival::Nothing,
            Ok(_) => Arrival::Batch(listener),
            // A socket that was blocking does not block any more: we were asked to stop, and all is answered.
            Err(e) if e.kind() == ErrorKind::WouldBlock && self.watch.is_asked_to_stop() => Arrival::Closed,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Arrival::Nothing,
            Err(_) if self.duty.gate.rest(REST) => Arrival::Nothing,
            Err(_) => Arrival::Closed,
        }
    }
}

/// Fills the batch from a socket, and counts; `wait`s for the first datagram where the socket blocks.
///
/// # Errors
/// EINTR and EAGAIN, and what is wrong with the socket, or the kernel's memory; that is counted and logged.
pub fn take(duty: &Duty, listener: &Listener, batch: &mut Batch, wait: bool) -> io::Result<usize> {
    let claimed = duty.gate.claim(batch.size());
    if claimed == 0 {
        return Ok(0);
    }
    let received = batch.receive(listener.as_fd(), claimed, wait);
    duty.gate.settle(claimed, *received.as_ref().unwrap_or(&0));
    match &received {
        Ok(n) => _ = duty.stats.served.fetch_add(*n as u64, Relaxed),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(error) => cannot_receive(duty, listener, error),
    }
    received
}

fn cannot_receive(duty: &Duty, listener: &Listener, error: &io::Error) {
    static SELDOM: Seldom = Seldom::new(Duration::from_secs(10));
    duty.stats.errors.fetch_add(1, Relaxed);
    if SELDOM.allow().is_some() {
        let name = &duty.settings.name;
        warn!("listener \"{name}\": cannot receive at {}: {error}", listener.url());
    }
}

/// Answers all datagrams of a batch and sends the answers.
pub fn answer(duty: &Duty, listener: &Listener, batch: &mut Batch) {
    let shown = duty.settings.payload != Payload::Off || log_enabled!(Level::Debug);
    let now = duty.time_of_batch();
    let mut at = 0;
    let mut bytes = 0;
    while at < batch.received() {
        // A service that panics loses one datagram, not the batch.
        let all = || {
            while at < batch.received() {
                at += 1;
                bytes += batch.length(at - 1);
                consider(duty, batch, at - 1, shown, now);
            }
        };
        if catch_unwind(AssertUnwindSafe(all)).is_err() {
            duty.stats.died.fetch_add(1, Relaxed);
            duty.stats.errors.fetch_add(1, Relaxed);
            error!("listener \"{}\": the service panicked; one datagram is lost", duty.settings.name);
        }
    }
    duty.stats.received(bytes);
    let sent = batch.send(listener.as_fd());
    duty.stats.sent(sent.bytes);
    if sent.dropped + sent.failed > 0 {
        duty.stats.dropped.fetch_add(sent.dropped, Relaxed);
        duty.stats.errors.fetch_add(sent.failed, Relaxed);
    }
}

/// Decides on one datagram: shown, guarded, answered.
fn consider(duty: &Duty, batch: &mut Batch, i: usize, shown: bool, now: u64) {
    if batch.truncated(i) {
        duty.stats.truncated.fetch_add(1, Relaxed);
        return;
    }
    if (duty.rules.is_some() || duty.limits.is_some())
        && let Some(source) = batch.source(i).as_socket()
        && let Err(reason) = duty.admit_datagram(source.ip(), batch.length(i), now)
    {
        duty.refuse(reason, 1);
        return;
    }
    if shown {
        show(duty, batch, i);
    }
    let request = batch.length(i);
    let Some(reply) = duty.service.datagram(batch.buffer(i), request) else {
        if duty.settings.service != ServiceKind::Discard {
            // The others are silent only where their answer would be longer than the request.
            duty.refuse(Reason::Amplifying, 1);
        }
        return;
    };
    if !batch.answerable(i) {
        duty.refuse(Reason::Unanswerable, 1);
    } else if reply > request && !duty.settings.allow_amplification {
        duty.refuse(Reason::Amplifying, 1);
    } else {
        batch.answer(i, reply);
    }
}

fn show(duty: &Duty, batch: &mut Batch, i: usize) {
    let (name, payload) = (duty.settings.name.as_str(), duty.settings.payload);
    let peer = Peer::from(&batch.source(i));
    let (url, length) = (peer.url(duty.settings.protocol), batch.length(i));
    if payload != Payload::Off {
        let shown = Shown::new(&batch.buffer(i)[..length], payload);
        info!(listener = name; "listener \"{name}\": {url} {shown}");
    }
    debug!(listener = name; "listener \"{name}\": {url} sent a datagram of {length} bytes");
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, sync::Arc};

    use super::*;
    use crate::{
        config::{self, Environment, Inputs},
        listener,
        service::{Service, Session},
        sys::shared::Shared,
    };

    /// Echoes, but is afraid of one word.
    struct Fragile;

    impl Service for Fragile {
        fn connect(&self) -> Box<dyn Session> {
            unreachable!("no stream is served")
        }

        fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize> {
            assert_ne!(&buffer[..request], b"boo", "on purpose");
            Some(request)
        }
    }

    #[test]
    fn a_panic_costs_one_datagram_of_a_batch() {
        let inputs = Inputs { file: None, listen: vec!["udp://127.0.0.1:0?name=it".into()] };
        let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
        let listener = listener::bind(&settings, &mut Vec::new()).unwrap().remove(0);
        let mut duty = Duty::new(settings, Arc::new(Shared::new().unwrap())).unwrap();
        duty.service = Box::new(Fragile);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let Peer::Inet(address) = *listener.address() else { unreachable!("it is UDP") };
        client.connect(address).unwrap();
        for sent in [["boo", "b", "c", "d"], ["a", "boo", "boo", "d"], ["a", "b", "c", "boo"]] {
            sent.iter().for_each(|word| assert_eq!(client.send(word.as_bytes()).unwrap(), word.len()));
            let mut batch = Batch::new(8, false).unwrap();
            assert_eq!(take(&duty, &listener, &mut batch, true).unwrap(), sent.len());
            answer(&duty, &listener, &mut batch);
            for word in sent.into_iter().filter(|word| *word != "boo") {
                let mut buffer = [0; 8];
                let n = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], word.as_bytes());
            }
        }
        let counts = [&duty.stats.served, &duty.stats.errors].map(|count| count.load(Relaxed));
        assert_eq!((counts, duty.stats.died.load(Relaxed)), ([12, 4], 4));
    }
}
