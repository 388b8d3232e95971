//! A service that panics at a datagram of a batch; the length of answers.

use std::{net::UdpSocket, sync::Arc};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    config::{self, Environment, Inputs, ServiceKind},
    report::refusal_reason::RefusalReason,
    service::tests::{Fragile, KINDS, request, room_for_a_datagram, service},
    socket::{address::Peer, bind, host_names::HostNames},
    sys::shared::Shared,
};

#[test]
fn a_panic_costs_one_datagram_of_a_batch() {
    let inputs = Inputs { file: None, listen: vec!["udp://127.0.0.1:0?name=it".into()] };
    let settings = config::load(&inputs, &Environment::default()).unwrap().config.listeners.remove(0);
    let listener = bind::bind(
        &settings,
        bind::sites(&settings, &HostNames::default()).unwrap(),
        Duration::ZERO,
        &mut Vec::new(),
    );
    let listener = listener.unwrap().remove(0);
    let mut context = ListenerContext::new(settings, Arc::new(Shared::new().unwrap())).unwrap();
    context.service = Box::new(Fragile);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let Peer::Inet(address) = *listener.address() else { unreachable!("it is UDP") };
    client.connect(address).unwrap();
    for sent in [["boo", "b", "c", "d"], ["a", "boo", "boo", "d"], ["a", "b", "c", "boo"]] {
        sent.iter().for_each(|word| assert_eq!(client.send(word.as_bytes()).unwrap(), word.len()));
        let mut batch = Batch::new(8, false).unwrap();
        assert_eq!(take(&context, &listener, &mut batch, true).unwrap(), sent.len());
        answer(&context, &listener, &mut batch);
        for word in sent.into_iter().filter(|word| *word != "boo") {
            let mut buffer = [0; 8];
            let n = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], word.as_bytes());
        }
    }
    let counts = [&context.stats.served, &context.stats.errors].map(|count| count.load(Relaxed));
    assert_eq!((counts, context.stats.died.load(Relaxed)), ([12, 4], 4));
}

proptest! {
    #[test]
    fn an_answer_is_never_longer_than_its_request(
        kind in select(&KINDS[..]),
        quote in "[ -~]{0,500}",
        request in prop_oneof![request(0..8), request(0..64), request(0..600), request(0..65_508)],
    ) {
        let mut buffer = room_for_a_datagram(&request);
        match answer::reply(&*service(kind, quote, false), &mut buffer, request.len(), false) {
            Ok(Some(length)) => prop_assert!(length <= request.len()),
            Ok(None) => prop_assert_eq!(kind, ServiceKind::Discard),
            Err(reason) => prop_assert_eq!(reason, RefusalReason::Amplifying),
        }
    }
}
