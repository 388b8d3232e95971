//! Probes as datagrams, from one source port or from several in turn.
//!
//! The sockets are connected, so the kernel tells at once that a port is closed: that is another fate than silence.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;

use super::{
    books::{Arrival, Books},
    wire::Wire,
};
use crate::{
    client::{
        options::Common,
        socket::{OpenError, ProbeSocket, open},
        target::Target,
    },
    config::Protocol,
    report::error::Failure,
    socket::resolve::error_text,
    sys::{clock, error_queue, stamps},
};

/// DatagramWire read before others have their turn.
const MOST: usize = 64;

/// How often a send is tried that fails because of what became of an earlier datagram.
const TRIES: usize = 8;

/// The sockets of one target.
#[derive(Debug)]
pub(super) struct DatagramWire {
    target: Target,
    common: Common,
    flows: Vec<FlowSocket>,
    /// The flow whose turn it is.
    turn: usize,
    probe: Vec<u8>,
    answer: Vec<u8>,
    start: u64,
}

#[derive(Debug, Default)]
struct FlowSocket {
    opened: Option<ProbeSocket>,
    dropped: u32,
}

impl DatagramWire {
    /// For `flows` flows of datagrams of `size` bytes.
    pub(super) fn new(target: &Target, common: &Common, size: usize, flows: u16) -> Self {
        Self {
            target: target.clone(),
            common: common.clone(),
            flows: (0..flows).map(|_| FlowSocket::default()).collect(),
            turn: 0,
            probe: vec![0; size],
            // One more, so that a longer one is seen to be longer.
            answer: vec![0; size + 1],
            start: clock::now(),
        }
    }

    fn is_inet(&self) -> bool {
        self.target.protocol == Protocol::Udp
    }

    fn open_flow(&mut self, flow: usize, books: &mut Books) -> Result<(), OpenError> {
        let opened = open(&self.target, &self.common, Some(flow as u16))?;
        if let Some(source) = opened.source() {
            // Of use only where it works: without it an error is told by the next call.
            let _ = error_queue::enable(&opened.socket, source.is_ipv6(), true);
        }
        books.set_source(flow as u16, opened.source());
        self.flows[flow].opened = Some(opened);
        Ok(())
    }

    /// Reads what the network said of earlier datagrams.
    fn heed(&mut self, flow: usize, books: &mut Books) {
        let Some(opened) = &self.flows[flow].opened else { return };
        let mut quote = [0; 64];
        while let Some(feedback) = error_queue::take(opened.socket.as_fd(), &mut quote) {
            let why = error_text(&io::Error::from_raw_os_error(feedback.errno));
            let sequence = books.probes.quoted(&quote[..feedback.quoted.min(quote.len())]);
            match feedback.is_refusal {
                true => books.refused(sequence, flow as u16, &why),
                false => books.note(format!("the network said: {why}")),
            }
        }
        // The same error would fail the next call.
        let _ = opened.socket.take_error();
    }

    /// Sends the probe that is written.
    fn try_send(&mut self, flow: usize, books: &mut Books) -> io::Result<u64> {
        let mut result = Err(ErrorKind::NotConnected.into());
        for _ in 0..TRIES {
            let Some(opened) = &self.flows[flow].opened else { return result };
            let sent = clock::now();
            books.probes.write(books.next(), sent - self.start, &mut self.probe);
            result = opened.socket.send(&self.probe).map(|_| sent);
            match &result {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if self.is_inet() && error_queue::may_be_feedback(error) => {
                    self.heed(flow, books);
                }
                _ => break,
            }
        }
        result
    }

    fn receive(&mut self, flow: usize, books: &mut Books) {
        for _ in 0..MOST {
            let Some(opened) = &self.flows[flow].opened else { return };
            match stamps::receive(opened.socket.as_fd(), &mut self.answer) {
                Ok(received) => {
                    let read = clock::now();
                    let offset = if received.stamp.is_some() { stamps::clock_offset() } else { 0 };
                    self.flows[flow].dropped = received.dropped.unwrap_or(self.flows[flow].dropped);
                    let arrival =
                        Arrival { read, stamp: received.stamp, offset, flow: flow as u16, ttl: received.ttl };
                    books.answer(&self.answer[..received.length], arrival);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.heed(flow, books),
            }
        }
    }
}

impl Wire for DatagramWire {
    fn open(&mut self, books: &mut Books) -> Result<(), Failure> {
        for flow in 0..self.flows.len() {
            match self.open_flow(flow, books) {
                Ok(()) => {}
                Err(OpenError::Unreachable(error)) if error.kind() != ErrorKind::PermissionDenied => {
                    books.note(format!("cannot reach it: {}", error_text(&error)));
                }
                Err(error) => return Err(error.failure(&self.target)),
            }
        }
        Ok(())
    }

    fn send(&mut self, books: &mut Books) {
        let flow = self.turn;
        self.turn = (self.turn + 1) % self.flows.len();
        let number = flow as u16;
        let mut error = None;
        if self.flows[flow].opened.is_none() {
            error = match self.open_flow(flow, books) {
                Ok(()) => None,
                Err(OpenError::Unreachable(error)) => Some(error),
                Err(OpenError::Local(failure)) => return books.unsent(clock::now(), number, failure.message),
            };
        }
        let offset = if self.has_stamps() { stamps::clock_offset() } else { 0 };
        let error = match error {
            Some(error) => error,
            None => match self.try_send(flow, books) {
                Ok(sent) => {
                    books.sent(sent, offset, number);
                    return;
                }
                Err(error) => error,
            },
        };
        // A unix socket says at once that its peer is gone, and is of no use any more.
        let is_gone = matches!(
            error.raw_os_error(),
            Some(libc::ECONNREFUSED | libc::ENOENT | libc::ENOTCONN | libc::ECONNRESET)
        );
        if !self.is_inet() && is_gone {
            self.flows[flow].opened = None;
            let sequence = books.sent(clock::now(), offset, number);
            books.refused(Some(sequence), number, &error_text(&error));
            return;
        }
        let why = match error.kind() {
            ErrorKind::WouldBlock => "its queue is full".to_owned(),
            _ => error_text(&error),
        };
        books.unsent(clock::now(), number, why);
    }

    fn watch<'a>(&'a self, watched: &mut Vec<(BorrowedFd<'a>, PollFlags)>) {
        let open = self.flows.iter().filter_map(|flow| flow.opened.as_ref());
        watched.extend(open.map(|opened| (opened.socket.as_fd(), PollFlags::POLLIN)));
    }

    fn ready(&mut self, index: usize, what: PollFlags, books: &mut Books) {
        // The flows that are open, in order, as `watch` names them. Nothing is opened or closed between the two.
        let open = |flow: &usize| self.flows[*flow].opened.is_some();
        let Some(flow) = (0..self.flows.len()).filter(open).nth(index) else { return };
        self.receive(flow, books);
        if self.is_inet() && what.contains(PollFlags::POLLERR) {
            self.heed(flow, books);
        }
    }

    fn dropped(&self) -> u64 {
        self.flows.iter().map(|flow| u64::from(flow.dropped)).sum()
    }

    fn has_stamps(&self) -> bool {
        self.flows.iter().any(|flow| flow.opened.as_ref().is_some_and(|opened| opened.has_stamps))
    }
}
