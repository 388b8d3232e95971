//! Properties of every service, whatever the peer sends.

use std::ops::Range;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::config::{Address, Listener, Mode, Protocol};

pub(crate) const KINDS: [ServiceKind; 8] = [
    ServiceKind::Echo,
    ServiceKind::Upper,
    ServiceKind::Discard,
    ServiceKind::Chargen,
    ServiceKind::Qotd,
    ServiceKind::Daytime,
    ServiceKind::Time,
    ServiceKind::Whoami,
];

/// Echoes, but panics at one message, for those who test what becomes of a panic.
pub(crate) struct Fragile;

impl Service for Fragile {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Fragile)
    }

    fn datagram(&self, buffer: &mut [u8], request: usize) -> Option<usize> {
        assert_ne!(&buffer[..request], b"boo", "on purpose");
        Some(request)
    }
}

impl Session for Fragile {
    fn respond(&mut self, event: SessionEvent, buffer: &mut [u8]) -> Next {
        match event {
            SessionEvent::Received(n) if buffer[..n].starts_with(b"boo") => panic!("on purpose"),
            SessionEvent::Received(n) => Next::Send(n),
            SessionEvent::Opened | SessionEvent::Drained => Next::Listen,
        }
    }
}

proptest! {
    #[test]
    fn an_answer_fits_its_buffer(
        kind in select(&KINDS[..]),
        quote in "[ -~]{0,500}",
        request in request(0..600),
        amplify: bool,
    ) {
        let mut buffer = room_for_a_datagram(&request);
        let answer = service(kind, quote, amplify).datagram(&mut buffer, request.len());
        let most = if kind == ServiceKind::Whoami { 1200 } else { 512 };
        prop_assert!(answer.is_none_or(|answer| answer <= request.len().max(most)));
        prop_assert_eq!(answer.is_some(), kind != ServiceKind::Discard);
    }

    #[test]
    fn a_session_sends_no_more_than_its_buffer_holds(
        kind in select(&KINDS[..]),
        quote in "[ -~]{0,500}",
        messages in prop::collection::vec(request(1..3000), 0..8),
        room in 4096_usize..65_537,
    ) {
        let mut session = service(kind, quote, false).connect();
        let mut buffer = vec![0xa5; room];
        let mut next = session.respond(SessionEvent::Opened, &mut buffer);
        for message in &messages {
            match next {
                Next::Listen => {
                    buffer[..message.len()].copy_from_slice(message);
                    next = session.respond(SessionEvent::Received(message.len()), &mut buffer);
                }
                Next::Send(n) => {
                    prop_assert!(0 < n && n <= room);
                    next = session.respond(SessionEvent::Drained, &mut buffer);
                }
                Next::SendThenClose(n) => {
                    prop_assert!(n <= room);
                    return Ok(());
                }
            }
        }
    }
}

#[test]
fn a_session_without_state_makes_no_allocation() {
    for kind in [ServiceKind::Echo, ServiceKind::Upper, ServiceKind::Discard] {
        let session = service(kind, String::new(), false).connect();
        assert_eq!(size_of_val(&*session), 0, "{kind:?}");
    }
}

pub(crate) fn request(length: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), length)
}

pub(crate) fn room_for_a_datagram(request: &[u8]) -> Vec<u8> {
    let mut buffer = request.to_vec();
    buffer.resize(LARGEST_DATAGRAM, 0xa5);
    buffer
}

pub(crate) fn service(kind: ServiceKind, quote: String, allow_amplification: bool) -> Box<dyn Service> {
    new(&Listener {
        name: "test".into(),
        address: vec![Address::Abstract("test".into())],
        service: kind,
        quote,
        allow_amplification,
        ..Listener::usual(Protocol::Udp, Mode::Iterative)
    })
}
