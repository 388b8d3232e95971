//! A connection for each probe: connect, one message, our end, the server's end. Each of the steps has its own time.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::PollFlags;
use socket2::Socket;

use super::{
    books::{Arrival, Books},
    event::Event,
    stream::refuse,
    wire::{Connections, Wire},
};
use crate::{
    client::{
        histogram::Histogram,
        options::Common,
        probe::Answer,
        socket::{OpenError, open},
        target::Target,
    },
    report::error::Failure,
    sys::clock,
};

/// The exchanges with one target that are under way.
#[derive(Debug)]
pub(super) struct Exchanges {
    target: Target,
    common: Common,
    timeout: u64,
    under_way: Vec<Exchange>,
    connect: Histogram,
    close: Histogram,
    start: u64,
}

#[derive(Debug)]
struct Exchange {
    sequence: u64,
    socket: Socket,
    message: Vec<u8>,
    written: usize,
    answer: Vec<u8>,
    begun: u64,
    connected: Option<u64>,
    /// Whether the time to connect is in the histogram.
    is_counted: bool,
    /// When the message was written and our end closed.
    sent: Option<u64>,
    /// When the last byte of the answer came.
    answered: Option<u64>,
    is_over: bool,
}

impl Exchanges {
    /// For connections to `target`, each of which may take `timeout` nanoseconds.
    pub(super) fn new(target: &Target, common: &Common, timeout: u64) -> Self {
        Self {
            target: target.clone(),
            common: common.clone(),
            timeout,
            under_way: Vec::new(),
            connect: Histogram::default(),
            close: Histogram::default(),
            start: clock::now(),
        }
    }

    /// Does all that can be done now for one of them.
    fn go_on(&mut self, index: usize, books: &mut Books) {
        let exchange = &mut self.under_way[index];
        if exchange.is_over {
            return;
        }
        let went = exchange.go_on(books.probes.size());
        if let Some(connected) = exchange.connected.filter(|_| !exchange.is_counted) {
            exchange.is_counted = true;
            self.connect.record(connected - exchange.begun);
        }
        match went {
            Ok(false) => {}
            _ if exchange.answered.is_some() => self.finish(index, went.is_ok().then(clock::now), books),
            Ok(true) => {
                exchange.is_over = true;
                let (sequence, received) = (exchange.sequence, exchange.answer.len());
                if received > 0 {
                    let arrival = Arrival { read: clock::now(), ..Arrival::default() };
                    books.answer(&std::mem::take(&mut exchange.answer), arrival);
                }
                books.note(format!("the server closed after {received} bytes of the answer"));
                books.broken(sequence);
            }
            Err(error) => {
                exchange.is_over = true;
                refuse(exchange.sequence, &error, books);
            }
        }
    }

    /// Ends an exchange whose answer is there; the server has closed its end then, or has not.
    fn finish(&mut self, index: usize, closed: Option<u64>, books: &mut Books) {
        let exchange = &mut self.under_way[index];
        exchange.is_over = true;
        let (Some(answered), Some(connected)) = (exchange.answered, exchange.connected) else { return };
        let sequence = exchange.sequence;
        let whole = Answer::Whole { sequence: sequence & books.probes.mask() };
        if books.probes.check(&exchange.answer) != whole {
            books.answer(&exchange.answer, Arrival { read: answered, ..Arrival::default() });
            return books.broken(sequence);
        }
        // All has been said when the message is sent, our end is closed and the answer is there.
        let said = answered.max(exchange.sent.unwrap_or_default());
        let close = closed.map(|closed| closed.saturating_sub(said));
        close.iter().for_each(|time| self.close.record(*time));
        let (sent, time) = (exchange.begun, answered - connected);
        let is_late = answered - sent > self.timeout;
        books.settle(sequence, time, is_late, None);
        // This says more than the event that the books have made.
        books.events.pop();
        books.events.push(Event::Exchanged {
            sequence,
            sent,
            connect: connected - sent,
            time,
            close,
            is_late,
        });
    }

    /// Until when an exchange is waited for: one that is answered has the time that it may take, another one twice as much, so that a
    /// late answer is seen.
    fn until(&self, exchange: &Exchange) -> u64 {
        let in_time = exchange.begun + self.timeout;
        let is_answered = exchange.answered.is_some_and(|answered| answered <= in_time);
        if is_answered { in_time } else { in_time + self.timeout }
    }
}

impl Exchange {
    /// Whether the server has closed its end.
    fn go_on(&mut self, size: usize) -> io::Result<bool> {
        if self.connected.is_none() {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            match self.socket.peer_addr() {
                Ok(_) => self.connected = Some(clock::now()),
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        while self.sent.is_none() {
            let mut socket = &self.socket;
            match socket.write(&self.message[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.written == self.message.len() {
                self.socket.shutdown(Shutdown::Write)?;
                self.sent = Some(clock::now());
            }
        }
        let mut chunk = [0; 1 << 14];
        loop {
            let mut socket = &self.socket;
            match socket.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(length) => {
                    // What comes beyond the answer makes it another one, however much it is.
                    let room = (size + 1).saturating_sub(self.answer.len());
                    self.answer.extend_from_slice(&chunk[..length.min(room)]);
                    if self.answer.len() >= size && self.answered.is_none() {
                        self.answered = Some(clock::now());
                    }
                    if self.answer.len() > size {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Wire for Exchanges {
    fn open(&mut self, _: &mut Books) -> Result<(), Failure> {
        Ok(())
    }

    fn send(&mut self, books: &mut Books) {
        let begun = clock::now();
        match open(&self.target, &self.common, None) {
            Ok(opened) => {
                let sequence = books.sent(begun, 0, 0);
                let mut message = vec![0; books.probes.size()];
                books.probes.write(sequence, begun - self.start, &mut message);
                self.under_way.push(Exchange {
                    sequence,
                    socket: opened.socket,
                    message,
                    written: 0,
                    answer: Vec::new(),
                    begun,
                    connected: opened.is_connected.then(clock::now),
                    is_counted: false,
                    sent: None,
                    answered: None,
                    is_over: false,
                });
                if opened.is_connected {
                    self.go_on(self.under_way.len() - 1, books);
                }
            }
            Err(OpenError::Unreachable(error)) => {
                let sequence = books.sent(begun, 0, 0);
                refuse(sequence, &error, books);
            }
            Err(OpenError::Local(failure)) => books.unsent(begun, 0, failure.message),
        }
    }

    fn watch<'a>(&'a self, watched: &mut Vec<(BorrowedFd<'a>, PollFlags)>) {
        watched.extend(self.under_way.iter().map(|exchange| {
            let more = if exchange.sent.is_none() { PollFlags::POLLOUT } else { PollFlags::empty() };
            (exchange.socket.as_fd(), PollFlags::POLLIN | more)
        }));
    }

    fn ready(&mut self, index: usize, _: PollFlags, books: &mut Books) {
        self.go_on(index, books);
    }

    fn expire(&mut self, now: u64, books: &mut Books) {
        for index in 0..self.under_way.len() {
            let exchange = &self.under_way[index];
            if !exchange.is_over && self.until(exchange) <= now {
                self.finish(index, None, books);
            }
        }
        self.under_way.retain(|exchange| !exchange.is_over);
    }

    fn next_expiry(&self) -> Option<u64> {
        self.under_way.iter().map(|exchange| self.until(exchange)).min()
    }

    fn connections(&self) -> Connections<'_> {
        Connections { connect: Some(&self.connect), close: Some(&self.close) }
    }
}
