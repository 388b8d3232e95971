//! One client at the endpoint: its request, the wait for a snapshot, the response, and the end.

use std::{
    io::{ErrorKind, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::observe::{
    explain::ClientQuery,
    http::{self, HttpRequest, HttpResponse, LONGEST_REQUEST, Misrequest, Status},
    requests::{RequestCounts, Route, Seen},
    routes,
};

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Bytes of the peer.
    Read,
    /// Room for bytes.
    Write,
    /// A snapshot that is asked for after the request came.
    Snapshot,
}

pub(super) struct Client {
    socket: Socket,
    timeout: Duration,
    deadline: Instant,
    state: State,
}

enum State {
    Reading(Vec<u8>),
    Waiting {
        route: Route,
        request: HttpRequest,
        /// The client that is asked about.
        about: Option<ClientQuery>,
        /// The number of the snapshot that is asked for on its behalf.
        ask: Option<u64>,
    },
    Writing {
        bytes: Vec<u8>,
        written: usize,
    },
    /// All is written. The peer closes first, or a reset could overtake the response.
    Lingering,
    Ended,
}

impl Client {
    pub(super) fn new(socket: Socket, timeout: Duration) -> Client {
        Client { socket, timeout, deadline: Instant::now() + timeout, state: State::Reading(Vec::new()) }
    }

    /// Ends the client that has gone longest without a whole request; if all have one, the one that was due first.
    pub(super) fn make_room(clients: &mut Vec<Client>) {
        let is_silent = |client: &Client| matches!(client.state, State::Reading(_));
        let oldest =
            clients.iter().enumerate().min_by_key(|(_, client)| (!is_silent(client), client.deadline));
        if let Some((oldest, _)) = oldest {
            clients.swap_remove(oldest);
        }
    }

    pub(super) fn wants(&self) -> Wants {
        match self.state {
            State::Reading(_) | State::Lingering | State::Ended => Wants::Read,
            State::Waiting { .. } => Wants::Snapshot,
            State::Writing { .. } => Wants::Write,
        }
    }

    /// When it is over, or its request is answered with what is known.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The number of the snapshot that it waits for; `None` if that was not asked for yet, or it waits for none.
    pub(super) fn ask(&self) -> Option<u64> {
        if let State::Waiting { ask, .. } = self.state { ask } else { None }
    }

    /// Whether it waits for a snapshot that was not asked for yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, State::Waiting { ask: None, .. })
    }

    /// Whether its request asks for signs of life.
    pub(super) fn pings(&self) -> bool {
        matches!(self.state, State::Waiting { route, .. } if route.pings())
    }

    /// The client that its request is about.
    pub(super) fn about(&self) -> Option<&ClientQuery> {
        if let State::Waiting { about, .. } = &self.state { about.as_ref() } else { None }
    }

    /// Notes that snapshot `number` is asked for on its behalf, if it waits for one.
    pub(super) fn is_asked_for(&mut self, number: u64) {
        if let State::Waiting { ask: ask @ None, .. } = &mut self.state {
            *ask = Some(number);
        }
    }

    /// Goes on as far as that is possible now.
    pub(super) fn advance(&mut self, counts: &mut RequestCounts) {
        match &mut self.state {
            State::Reading(_) => self.read(counts),
            State::Writing { .. } => self.write(),
            State::Lingering => self.linger(),
            State::Waiting { .. } | State::Ended => {}
        }
    }

    /// Ends what has taken too long.
    pub(super) fn check_time(&mut self, now: Instant) {
        if self.deadline <= now && !matches!(self.state, State::Waiting { .. }) {
            self.state = State::Ended;
        }
    }

    /// Answers its request by what was seen: nothing, if the supervisor has not answered yet.
    pub(super) fn answer(&mut self, seen: Option<&Seen<'_>>, now: Instant, counts: &mut RequestCounts) {
        let State::Waiting { route, request, about, .. } = &self.state else { return };
        let is_last = self.deadline <= now;
        let response = match seen {
            Some(seen) => routes::answer(*route, request, about.as_ref(), seen, is_last),
            None if is_last => {
                Some(HttpResponse::text(Status::Unavailable, "the supervisor does not answer\n"))
            }
            None => None,
        };
        if let Some(response) = response {
            let (route, is_head) = (Some(*route), request.is_head);
            self.respond(route, &response, is_head, counts);
        }
    }

    /// Answers whatever it asks for in this way.
    pub(super) fn refuse(&mut self, response: &HttpResponse, counts: &mut RequestCounts) {
        self.respond(None, response, false, counts);
    }

    fn respond(
        &mut self,
        route: Option<Route>,
        response: &HttpResponse,
        is_head: bool,
        counts: &mut RequestCounts,
    ) {
        counts.count(route, response.status);
        self.deadline = Instant::now() + self.timeout;
        self.state = State::Writing { bytes: response.encode(is_head), written: 0 };
        self.write();
    }

    fn read(&mut self, counts: &mut RequestCounts) {
        let State::Reading(bytes) = &mut self.state else { return };
        let mut chunk = [0; 2048];
        loop {
            let room = chunk.len().min(LONGEST_REQUEST - bytes.len());
            match (&self.socket).read(&mut chunk[..room]) {
                Ok(0) => {
                    self.state = State::Ended;
                    return;
                }
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.state = State::Ended;
                    return;
                }
            }
            match http::parse(bytes) {
                Err(Misrequest::Partial) => {}
                Err(Misrequest::Refused(status)) => {
                    let response = HttpResponse::text(status, routes::refusal(status));
                    return self.refuse(&response, counts);
                }
                Ok(request) => {
                    match Route::of(&request.path) {
                        Some(route) => match routes::client(route, &request) {
                            Ok(about) => self.state = State::Waiting { route, request, about, ask: None },
                            Err(wrong) => {
                                let response = HttpResponse::text(Status::BadRequest, wrong + "\n");
                                self.respond(Some(route), &response, request.is_head, counts);
                            }
                        },
                        None => self.respond(None, &routes::nothing_here(), request.is_head, counts),
                    }
                    return;
                }
            }
        }
    }

    fn write(&mut self) {
        let State::Writing { bytes, written } = &mut self.state else { return };
        while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
            match (&self.socket).write(rest) {
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.state = State::Ended;
                    return;
                }
            }
        }
        self.state = match self.socket.shutdown(std::net::Shutdown::Write) {
            Ok(()) => State::Lingering,
            Err(_) => State::Ended,
        };
        self.linger();
    }

    fn linger(&mut self) {
        let mut ignored = [0; 2048];
        // A peer that keeps sending is left when its time is over.
        match (&self.socket).read(&mut ignored) {
            Ok(0) => self.state = State::Ended,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.state = State::Ended;
            }
            _ => {}
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
