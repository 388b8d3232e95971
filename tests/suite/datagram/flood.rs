//! A flood of datagrams from very many sources: memory stays bounded, and an honest client is answered all the while.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use socket2::{MsgHdr, SockRef};

use crate::{
    access::lists::datagrams,
    harness::{Client, Echod, poll, proc},
};

/// More than the table of sources holds.
const SOURCES: u32 = 75_000;

/// Kilobytes: the table has 2.6 MB, and the rest are pages that serving touches.
const GROWTH: u64 = 8 << 10;

#[test]
fn a_flood_of_sources_takes_no_memory_and_locks_nobody_out() {
    for way in datagrams("127.0.0.1:0").filter(|way| !way.workers.contains("per-request")) {
        // Not at level debug, which has a line for each datagram.
        let daemon =
            Echod::start(&format!("{}rate-per-source = \"1000000/s, 100MB/s\"\n", way.listener("it")));
        let honest = daemon.client("it");
        honest.echo(b"before");
        let before = largest(&daemon);
        let over = AtomicBool::new(false);
        let answered = thread::scope(|scope| {
            scope.spawn(|| {
                flood(daemon.endpoint("it").inet());
                over.store(true, Relaxed);
            });
            let mut answered = 0;
            while !over.load(Relaxed) {
                // In the crowd the kernel may lose one of ours.
                honest.send(b"meanwhile");
                answered += u32::from(!honest.hears_nothing_for(Duration::from_millis(20)));
            }
            answered
        });
        assert!(answered > 0, "{way:?}: the honest client was locked out");
        let after = poll(|| {
            honest.send(b"after");
            (!honest.hears_nothing_for(Duration::from_millis(20))).then_some(())
        });
        daemon.or_log(after, "an answer after the flood");
        let (state, grown) = (daemon.state("it"), largest(&daemon).saturating_sub(before));
        // On a busy machine the kernel drops most of them.
        assert!(state["served"] > 2000, "{way:?}: {state:?}");
        assert_eq!(state["refused"], 0, "{way:?}");
        assert!(grown < GROWTH, "{way:?}: {grown} kB more");
    }
}

/// The memory of the largest process, in KiB.
fn largest(daemon: &Echod) -> u64 {
    daemon.group().into_iter().filter_map(proc::own_memory).max().unwrap()
}

/// A datagram from each of many addresses, all of which are this machine's: ip(7), `IP_PKTINFO`.
fn flood(to: SocketAddr) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    for number in 0..SOURCES {
        let from = Ipv4Addr::from_bits(u32::from_be_bytes([127, 64, 0, 0]) + number);
        let control = packet_info(from);
        let (address, buffers) = (to.into(), [std::io::IoSlice::new(b"flood")]);
        let message = MsgHdr::new().with_addr(&address).with_buffers(&buffers).with_control(&control);
        // It is the daemon's socket that is full, not ours.
        let _ = SockRef::from(&socket).sendmsg(&message, 0);
    }
}

/// A `cmsghdr` and an `in_pktinfo`: the length, level and type; the interface, the source and nothing.
fn packet_info(from: Ipv4Addr) -> Vec<u8> {
    let (length, level, kind): (usize, i32, i32) = (size_of::<usize>() + 8 + 12, 0, 8);
    let parts = [
        &length.to_ne_bytes()[..],
        &level.to_ne_bytes(),
        &kind.to_ne_bytes(),
        &[0; 4],
        &from.octets(),
        &[0; 4],
    ];
    let mut control = parts.concat();
    control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
    control
}

/// Each of those sources may have so much, and no more: the flood cannot be made in the name of one.
#[test]
fn one_source_of_many_is_limited_by_itself() {
    for way in datagrams("127.0.0.1:0").filter(|way| !way.workers.contains("per-request")) {
        let daemon = way.start_with("", "rate-per-source = \"3/h\"");
        let endpoint = daemon.endpoint("it");
        for source in 1..=20 {
            let client = Client::connect_from(&endpoint, &format!("127.1.1.{source}"));
            (0..3).for_each(|_| client.echo(b"welcome"));
            client.send(b"once more");
        }
        daemon.wait_state("it", |state| ["refused", "rate"].map(|key| state[key]) == [20, 20]);
    }
}
