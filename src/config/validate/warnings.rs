//! What is legal but unwise.

use std::net::IpAddr;

use crate::config::{Address, Host, Listener, Mode, Note, Protocol, ServiceKind, everybody};

/// Some descriptors below 1024 are in use otherwise.
const MOST_FOR_SELECT: u32 = 1000;

/// A note for each thing that an administrator should look at.
pub(super) fn warnings(listener: &Listener) -> impl Iterator<Item = Note> + '_ {
    let all = [too_many_for_select(listener), open_to_everybody(listener), amplifier(listener)];
    all.into_iter().flatten()
}

fn too_many_for_select(listener: &Listener) -> Option<Note> {
    let most = listener.max_connections;
    (listener.mode == Mode::Select && most > MOST_FOR_SELECT).then(|| {
        let text = format_args!(
            "max-connections is {most}, but select watches no descriptor from 1024 on: connections above will be closed; \
             lower it to {MOST_FOR_SELECT}, or use mode epoll"
        );
        Note::of(&listener.name, text).about("max-connections, mode")
    })
}

/// A datagram may claim to come from anybody, and is answered there.
fn open_to_everybody(listener: &Listener) -> Option<Note> {
    let answers = listener.protocol == Protocol::Udp && listener.service != ServiceKind::Discard;
    let public = listener.address.iter().find(|address| is_public(address));
    let address = public.filter(|_| answers && listener.allow == everybody())?;
    let url = listener.protocol.url(address);
    let text = format_args!(
        "{url} answers datagrams from everywhere, and a sender's address is easily forged; name in `allow` who may use it"
    );
    Some(Note::of(&listener.name, text).at(&url).about("allow"))
}

/// A name is looked up when it is bound; its author is trusted to know where it leads.
fn is_public(address: &Address) -> bool {
    match address {
        Address::Inet { host: Host::Ip(IpAddr::V4(ip)), .. } => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local())
        }
        Address::Inet { host: Host::Ip(IpAddr::V6(ip)), .. } => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        _ => false,
    }
}

fn amplifier(listener: &Listener) -> Option<Note> {
    let floods = listener.protocol == Protocol::Udp
        && listener.service == ServiceKind::Chargen
        && listener.allow_amplification;
    floods.then(|| {
        let text = "chargen with allow-amplification answers an empty datagram with up to 512 bytes: who forges a sender's \
                    address floods a third machine with it (CVE-1999-0103); take out `allow-amplification`";
        Note::of(&listener.name, text).about("allow-amplification")
    })
}
