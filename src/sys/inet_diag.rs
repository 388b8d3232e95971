//! The kernel's list of TCP connections (sock_diag(7)), with what it knows of each. Any user may read it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::ControlFlow,
};

use super::netlink::{attributes, dump, half, long, word};

/// The size of an `inet_diag_req_v2`.
const REQUEST: usize = 56;
/// The size of an `inet_diag_msg`.
const MESSAGE: usize = 72;
/// Where the `inet_diag_sockid` begins in a message.
const ID: usize = 4;

/// The attribute with the `tcp_info`.
const INET_DIAG_INFO: u16 = 2;

/// Connections that are open or being closed, as bits of the states of TCP: neither listening sockets nor those that only wait
/// for late segments.
const STATES: u32 = 1 << ESTABLISHED | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
const ESTABLISHED: u8 = 1;

/// A TCP connection of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetConnection {
    /// The address at this end. IPv4 in a socket of IPv6 is IPv4.
    pub local: SocketAddr,
    /// The address at the other end.
    pub peer: SocketAddr,
    /// Whether neither end has closed.
    pub is_open: bool,
    /// Received bytes that were not read.
    pub receive_queue: u32,
    /// Bytes that were not acknowledged.
    pub send_queue: u32,
    /// What TCP knows; `None` if the kernel does not tell.
    pub figures: Option<TcpFigures>,
}

/// Some of a `tcp_info`. A field that this kernel does not have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFigures {
    /// The smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Segments that were sent again.
    pub retransmits: u32,
    /// Milliseconds since the last segment with data was sent.
    pub since_sent_ms: u32,
    /// Milliseconds since the last segment with data was received.
    pub since_received_ms: u32,
    /// Bytes that were sent and acknowledged.
    pub bytes_acked: u64,
    /// Bytes that were received.
    pub bytes_received: u64,
}

/// Gives every TCP connection of this network namespace whose local port is `port` to `take`; with 0, every one.
///
/// # Errors
/// If the kernel does not answer the request.
pub fn connections(port: u16, mut take: impl FnMut(InetConnection)) -> io::Result<()> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        dump(&request(family, port), &mut |message| {
            if let Some(found) = connection(message) {
                take(found);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(())
}

fn request(family: i32, port: u16) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0] = family as u8;
    request[1] = libc::IPPROTO_TCP as u8;
    request[2] = 1 << (INET_DIAG_INFO - 1);
    request[4..8].copy_from_slice(&STATES.to_ne_bytes());
    request[8..10].copy_from_slice(&port.to_be_bytes());
    request
}

fn connection(message: &[u8]) -> Option<InetConnection> {
    let port = |at: usize| half(message, ID + at).map(u16::from_be);
    let family = i32::from(*message.first()?);
    let address = |at: usize| address(family, message.get(ID + at..ID + at + 16)?);
    let mut found = InetConnection {
        local: SocketAddr::new(address(4)?, port(0)?),
        peer: SocketAddr::new(address(20)?, port(2)?),
        is_open: *message.get(1)? == ESTABLISHED,
        receive_queue: word(message, ID + 52)?,
        send_queue: word(message, ID + 56)?,
        figures: None,
    };
    let info = attributes(message.get(MESSAGE..)?).find(|(kind, _)| *kind == INET_DIAG_INFO);
    found.figures = info.map(|(_, info)| figures(info));
    Some(found)
}

fn address(family: i32, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?).into()),
        libc::AF_INET6 => {
            let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            Some(v6.to_ipv4_mapped().map_or(v6.into(), IpAddr::V4))
        }
        _ => None,
    }
}

/// Reads a `tcp_info`, which grows from kernel to kernel.
fn figures(info: &[u8]) -> TcpFigures {
    let word = |at| word(info, at).unwrap_or_default();
    let long = |at| long(info, at).unwrap_or_default();
    TcpFigures {
        rtt_us: word(68),
        retransmits: word(100),
        since_sent_ms: word(44),
        since_received_ms: word(52),
        bytes_acked: long(120),
        bytes_received: long(128),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        mem::offset_of,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn the_fields_are_where_the_kernel_has_them() {
        assert_eq!(offset_of!(libc::tcp_info, tcpi_last_data_sent), 44);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_last_data_recv), 52);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_rtt), 68);
        assert_eq!(offset_of!(libc::tcp_info, tcpi_total_retrans), 100);
    }

    #[test]
    fn a_connection_is_listed_with_its_bytes_at_either_end() {
        for listener in ["127.0.0.1:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(listener) else { continue };
            let port = listener.local_addr().unwrap().port();
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut accepted, peer) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            accepted.read_exact(&mut [0; 5]).unwrap();
            client.write_all(b"unread").unwrap();
            let mut all = Vec::new();
            if let Err(error) = connections(port, |found| all.push(found)) {
                eprintln!("SKIPPED: the kernel cannot be asked about connections: {error}");
                return;
            }
            let mine: Vec<_> = all.iter().filter(|found| found.local.port() == port).collect();
            assert_eq!(mine.len(), 1, "{all:?}");
            assert_eq!((mine[0].peer.port(), mine[0].peer.ip()), (peer.port(), Ipv4Addr::LOCALHOST.into()));
            assert!(mine[0].is_open);
            assert_eq!(mine[0].receive_queue, 6);
            let figures = mine[0].figures.unwrap();
            assert_eq!((figures.bytes_received, figures.bytes_acked), (11, 0));
        }
    }

    #[test]
    fn an_answer_that_is_too_short_is_none() {
        for length in 0..MESSAGE {
            let mut message = vec![0; length];
            if let Some(family) = message.first_mut() {
                *family = libc::AF_INET as u8;
            }
            assert_eq!(connection(&message), None, "{length}");
        }
        assert_eq!(figures(&[]), TcpFigures::default());
    }
}
