//! The SYN of a connection, which a listening socket can have the kernel keep (`TCP_SAVE_SYN`, Linux 4.3).

use std::{ffi::c_int, io, os::fd::AsFd};

use super::socket_option;

/// The longest headers of IP and TCP, with extension headers of IPv6 that are rarely there at all.
const ROOM: usize = 512;

/// The type of service, or the traffic class, of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynTos {
    /// It came over IPv4.
    V4(u8),
    /// It came over IPv6.
    V6(u8),
}

/// Has the kernel keep the SYN of each connection that `listener` accepts from now on, or not.
pub fn save(listener: &impl AsFd, keep: bool) -> io::Result<()> {
    let wanted = c_int::from(keep);
    // A kernel without the option keeps none.
    if socket_option::get(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN).unwrap_or(0) == wanted {
        return Ok(());
    }
    socket_option::set(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, wanted)
}

/// The type of service of the SYN of `connection`, which the kernel then forgets. `None` if it has not kept it: the listener did not ask
/// for it in time, or the kernel answered with a SYN cookie.
pub fn tos(connection: &impl AsFd) -> Option<SynTos> {
    let mut headers = [0; ROOM];
    let length =
        socket_option::read(connection, libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, &mut headers).ok()?;
    traffic_class(&headers[..length])
}

/// RFC 791, section 3.1, and RFC 8200, section 3.
fn traffic_class(header: &[u8]) -> Option<SynTos> {
    let [first, second, ..] = *header else { return None };
    match first >> 4 {
        4 => Some(SynTos::V4(second)),
        6 => Some(SynTos::V6(first << 4 | second >> 4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt::{set_ip_tos, set_ipv6_tclass};
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn the_syn_of_a_connection_is_kept_where_that_was_asked_for() {
        for (bound, asked) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let Ok(listener) = TcpListener::bind(bound) else {
                eprintln!("SKIPPED: nothing can be bound to {bound}");
                continue;
            };
            let to =
                (asked.parse::<std::net::IpAddr>().unwrap(), listener.local_addr().unwrap().port()).into();
            let connect = || {
                let client = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
                // ECN bits of a SYN are the kernel's.
                let _ = set_ip_tos(&client, 0xb8);
                let _ = set_ipv6_tclass(&client, 0xb8);
                client.connect(&to.into()).unwrap();
                (TcpStream::from(client), listener.accept().unwrap().0)
            };
            let expected = if to.is_ipv6() { SynTos::V6(0xb8) } else { SynTos::V4(0xb8) };
            assert_eq!(tos(&connect().1), None);
            save(&listener, true).unwrap();
            let (_client, accepted) = connect();
            assert_eq!((tos(&accepted), tos(&accepted)), (Some(expected), None));
            save(&listener, false).unwrap();
            assert_eq!(tos(&connect().1), None);
        }
    }
}
