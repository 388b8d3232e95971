//! `RefusalReason::applies_to` says for which protocols a reason is counted. It is held to the keys, which say what a listener can
//! have, and to the places in the source that refuse.

use std::collections::BTreeSet;

use echod::{
    config::{Protocol, reference},
    report::refusal_reason::RefusalReason,
};

use crate::docs::house::{code, name, sources};

const PROTOCOLS: [(Protocol, &str); 5] = [
    (Protocol::Tcp, "tcp"),
    (Protocol::Udp, "udp"),
    (Protocol::Unix, "unix"),
    (Protocol::UnixSeqpacket, "unix-seqpacket"),
    (Protocol::UnixDatagram, "unix-datagram"),
];

fn applies_to(reason: RefusalReason) -> BTreeSet<&'static str> {
    let fits = PROTOCOLS.iter().filter(|(protocol, _)| reason.applies_to(*protocol));
    fits.map(|(_, word)| *word).collect()
}

/// A reason that follows from a key applies where a listener may have that key.
#[test]
fn a_reason_applies_to_the_listeners_that_have_its_key() {
    let keys = reference();
    let mut held = 0;
    for reason in RefusalReason::ALL {
        let named = reason.line().split('`').skip(1).step_by(2);
        // Every listener has some keys, and what they cause depends on more.
        for key in keys.iter().filter(|key| named.clone().any(|name| name == key.name)) {
            let Some(needs) = &key.needs else { continue };
            let mut protocols: BTreeSet<&str> = key.protocols.iter().copied().collect();
            if needs.contains("unix with `proxy-protocol`") {
                protocols.insert("unix");
            }
            assert_eq!(applies_to(reason), protocols, "{reason} and `{}`", key.name);
            held += 1;
        }
    }
    assert!(held >= 9, "only {held} reasons name a key that not every listener may have");
}

/// Which protocols pass through each place that refuses. What is missing here is checked for all, and held by its key.
const PLACES: [(&str, &[&str]); 6] = [
    ("src/serve/admit.rs", &["tcp", "unix", "unix-seqpacket"]),
    ("src/serve/admit_proxied.rs", &["tcp", "unix"]),
    ("src/stream/", &["tcp", "unix", "unix-seqpacket"]),
    ("src/modes/event_loop/accept.rs", &["tcp", "unix", "unix-seqpacket"]),
    ("src/serve/datagram/", &["udp", "unix-datagram"]),
    ("src/access/guard", &["udp"]),
];

#[test]
fn a_reason_applies_where_the_source_refuses_for_it() {
    for reason in RefusalReason::ALL {
        let constructed = format!("RefusalReason::{reason:?}");
        let is_raised = |code: &str| {
            let ends = |rest: &str| !rest.starts_with(char::is_alphanumeric);
            let raised = ["Err(", "return Err(", "refuse(", "let reason = ", ".ok_or(", "{ "];
            code.match_indices(&constructed).any(|(at, found)| {
                ends(&code[at + found.len()..]) && raised.iter().any(|before| code[..at].ends_with(before))
            })
        };
        let raised = sources().into_iter().filter(|file| !name(file).contains("/tests"));
        let raised: Vec<String> =
            raised.filter(|file| is_raised(&code(file))).map(|file| name(&file)).collect();
        let served = raised.iter().filter(|file| !file.starts_with("src/command/"));
        let places: Vec<_> = served
            .map(|file| {
                PLACES.iter().find(|(place, _)| file.starts_with(place)).map(|(_, protocols)| *protocols)
            })
            .collect();
        assert!(!places.is_empty(), "nothing refuses for {reason}");
        let Some(passes) = places.into_iter().collect::<Option<Vec<_>>>() else { continue };
        let passes: BTreeSet<&str> = passes.concat().into_iter().collect();
        let applies = applies_to(reason);
        assert!(applies.is_subset(&passes), "{reason} applies to {applies:?}, but is raised in {raised:?}");
        assert!(!applies.is_empty(), "{reason} applies to nothing");
    }
}
