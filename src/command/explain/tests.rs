//! `explain` and the daemon decide alike: the same questions to both, over random listeners.

use std::{net::SocketAddr, os::unix::net::UnixStream, sync::Arc};

use proptest::{prelude::*, sample::select};
use socket2::Socket;

use super::*;
use crate::{
    access::{
        checks::Access,
        guard::{AddressScope, BatchContext, own_ports},
    },
    config::{self, Environment, Inputs},
    report::stats::Stats,
    serve::context::ListenerContext,
    socket::address::Peer,
    sys::{clock, shared::Shared},
};

/// No other test binds a socket to this port.
const OWN: u16 = 7777;

const ADDRESSES: &[&str] = &[
    "127.0.0.1",
    "127.0.0.2",
    "10.0.0.1",
    "192.0.2.7",
    "198.51.100.5",
    "224.0.0.1",
    "0.0.0.1",
    "::1",
    "2001:db8::7",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::10.0.0.1",
    "240.0.0.1",
    "fe80::7",
];

fn loaded(url: &str) -> Loaded {
    config::load(&Inputs { file: None, listen: vec![url.to_owned()] }, &Environment::default()).unwrap()
}

fn any_networks(key: &'static str) -> impl Strategy<Value = String> {
    let networks = [
        "127.0.0.0/8",
        "127.0.0.2",
        "10.0.0.0/8",
        "192.0.2.0/24",
        "198.51.100.5",
        "::1",
        "2001:db8::/32",
        "0.0.0.0/0",
    ];
    prop::option::of(select(networks.to_vec()))
        .prop_map(move |network| network.map_or(String::new(), |network| format!("&{key}={network}")))
}

/// The refusal reason in an answer.
fn reason(answer: &Explanation) -> Option<String> {
    let text = &answer.refusal.as_ref()?.message;
    Some(text.split_once('(').map_or(text.as_str(), |(_, rest)| rest.split(')').next().unwrap()).to_owned())
}

fn explained(loaded: &Loaded, from: &str, proxy: Option<&str>) -> Result<Option<String>, Failure> {
    let question = cli::Explain {
        config: None,
        listen: Vec::new(),
        listener: "it".into(),
        from: from.into(),
        proxy: proxy.map(str::to_owned),
        #[cfg(feature = "observe")]
        now: Default::default(),
    };
    explain(loaded, &question).map(|answer| reason(&answer))
}

fn context(loaded: &Loaded) -> ListenerContext {
    ListenerContext::new(loaded.config.listeners[0].clone(), Arc::new(Shared::<Stats>::new().unwrap()))
        .unwrap()
}

/// The daemon's decision about a connection from `peer`, whose PROXY header carries `proxied_source`.
fn admitted(
    context: &ListenerContext,
    peer: &Peer,
    proxied_source: Option<IpAddr>,
) -> Result<(), RefusalReason> {
    let (socket, _other) = UnixStream::pair().unwrap();
    context.admit(&Socket::from(socket), peer, &mut None)?;
    if context.connection(peer.clone()).awaits_proxy_header() {
        let own = match peer {
            Peer::Inet(address) => Some(plain(address.ip())),
            _ => None,
        };
        proxied_source.or(own).map_or(Ok(()), |source| context.access.admit_address(source).map(|_| ()))?;
    }
    Ok(())
}

fn reason_text(decided: Result<(), RefusalReason>) -> Option<String> {
    decided.err().map(|reason| reason.to_string())
}

proptest! {
    #[test]
    fn a_tcp_listener_decides_as_it_is_explained(
        proxy_protocol in select(vec!["off", "optional", "required"]),
        lists in (any_networks("allow"), any_networks("deny"), any_networks("trusted-proxies")),
        from in select(ADDRESSES), proxy in prop::option::of(select(ADDRESSES)),
    ) {
        let trusted = if lists.2.is_empty() { "&trusted-proxies=127.0.0.0/8".to_owned() } else { lists.2 };
        let url = format!("tcp://[::]:7?name=it&proxy-protocol={proxy_protocol}{}{}{trusted}", lists.0, lists.1);
        let loaded = loaded(&url);
        let settings = &loaded.config.listeners[0];
        let explained = explained(&loaded, from, proxy);
        prop_assume!(explained.is_ok() || proxy_protocol != "off");
        let peer = |ip: IpAddr| Peer::Inet(SocketAddr::new(ip, 4711));
        let ip: IpAddr = from.parse().unwrap();
        let decided = match proxy {
            Some(proxy) => admitted(&context(&loaded), &peer(proxy.parse().unwrap()), Some(ip)),
            // Any trusted proxy.
            None if proxy_protocol == "required" => {
                admitted(&context(&loaded), &peer(settings.trusted_proxies[0].addr()), Some(ip))
            }
            None => admitted(&context(&loaded), &peer(ip), None),
        };
        prop_assert_eq!(explained.unwrap(), reason_text(decided), "{}", url);
    }

    #[test]
    fn a_unix_listener_decides_as_it_is_explained(
        proxy_protocol in select(vec!["off", "optional", "required"]),
        lists in (any_networks("allow"), any_networks("deny")),
        users in select(vec!["", "&allow-users=4242", "&allow-users=OWN"]),
        from in prop::option::of(select(ADDRESSES)), wants_proxy in any::<bool>(),
    ) {
        // The test's own user is at the other end of the socket pair.
        let own = nix::unistd::getuid().to_string();
        let lists = if proxy_protocol == "off" { String::new() } else { lists.0 + &lists.1 };
        let url = format!("unix:/x?name=it&proxy-protocol={proxy_protocol}{lists}{}", users.replace("OWN", &own));
        let loaded = loaded(&url);
        prop_assume!(from.is_none() || proxy_protocol != "off");
        // Without `--proxy`, the explanation assumes a proxy that may connect.
        let names_proxy = wants_proxy || users == "&allow-users=4242";
        let proxy = (from.is_some() && names_proxy).then_some(own.as_str());
        let explained = explained(&loaded, from.unwrap_or(&own), proxy).unwrap();
        let proxied_source = from.map(|from| from.parse().unwrap());
        let decided = admitted(&context(&loaded), &Peer::Unnamed, proxied_source);
        prop_assert_eq!(explained, reason_text(decided), "{}", url);
    }

    #[test]
    fn a_udp_listener_decides_as_it_is_explained(
        host in select(vec!["[::]", "[::1]", "[2001:db8::1]"]),
        service in select(vec!["echo", "discard"]),
        lists in (any_networks("allow"), any_networks("deny"), any_networks("trusted")),
        ports in select(vec!["", "&deny-source-ports=none", "&deny-source-ports=privileged", "&deny-source-ports=reflectors,4000-4009"]),
        from in select(ADDRESSES), port in select(vec![0, 7, 19, 53, 4005, OWN, 9999]),
    ) {
        let own = SocketAddr::new([0_u16; 8].into(), OWN);
        own_ports().unwrap().insert(own);
        let url = format!("udp://{host}:{OWN}?name=it&service={service}{}{}{}{ports}", lists.0, lists.1, lists.2);
        let more = format!("udp://[::]:{OWN}?name=own&device=lo");
        let inputs = Inputs { file: None, listen: vec![url.replace("?", "?device=eth0&"), more] };
        let loaded = config::load(&inputs, &Environment::default()).unwrap();
        let from = SocketAddr::new(from.parse().unwrap(), port);
        let explained = explained(&loaded, &from.to_string(), None).unwrap();
        // A client that cannot reach the listener has no decision.
        prop_assume!(explained.as_deref().is_none_or(|text| !text.contains("cannot be reached")));

        let access = Access::of(&loaded.config.listeners[0], &Shared::<Stats>::new().unwrap()).unwrap();
        let address = SocketAddr::new(host.trim_matches(['[', ']']).parse().unwrap(), OWN);
        let round = BatchContext::new(AddressScope::of(address), clock::now());
        let source = plain(from.ip());
        let decide = || {
            let Some(guard) = &access.guard else { return access.judge(source) };
            if port == 0 {
                return Err(RefusalReason::Unanswerable);
            }
            guard.addresses(&round, source, None)?;
            access.judge(source)?;
            guard.port(&round, source, port)
        };
        prop_assert_eq!(explained, reason_text(decide()), "{} {}", url, from);
    }
}
