//! The socket from which probes leave: connected, non-blocking, and set up as the user asked.

use std::{fmt, io, net::SocketAddr};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    options::{Common, Timestamps},
    target::Target,
};
use crate::{
    access::guard,
    config::Protocol,
    report::error::{Exit, Failure},
    socket::{address::Peer, resolve::error_text},
    sys::stamps,
};

/// How often the kernel is asked for another source port, if it gives one from which nobody is answered.
const TRIES: u32 = 64;

/// A socket to a target.
#[derive(Debug)]
pub struct ProbeSocket {
    /// Non-blocking, closed in programs that are started.
    pub socket: Socket,
    /// Whether it is connected. A stream becomes writable when it is, or when that has failed (`SO_ERROR`).
    pub is_connected: bool,
    /// Whether the kernel stamps what arrives.
    pub has_stamps: bool,
}

impl ProbeSocket {
    /// Where probes come from.
    pub fn source(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// Why there is no socket.
#[derive(Debug)]
pub enum OpenError {
    /// This machine does not give the socket that was asked for; it will not next time either.
    Local(Failure),
    /// The target cannot be reached, now.
    Unreachable(io::Error),
}

impl OpenError {
    /// The failure of a command that cannot go on without this socket.
    pub fn failure(self, target: &Target) -> Failure {
        match self {
            Self::Local(failure) => failure,
            Self::Unreachable(error) => unreachable(target, &error),
        }
    }
}

/// Nobody can be reached: the exit code of a measurement without an answer.
pub fn unreachable(target: &Target, error: &io::Error) -> Failure {
    let cure = match &target.peer {
        Peer::Inet(_) => "check that the server runs, and the route to it",
        _ => "check that the server runs, and the name of its socket",
    };
    let is_forbidden = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    let (exit, cure) = match is_forbidden {
        true => (Exit::NoPermission, "check the rights of the socket, or the firewall of this machine"),
        false => (Exit::Unavailable, cure),
    };
    Failure::new(exit, format!("cannot reach {}: {}; {cure}", target.url, error_text(error)))
}

/// Checks that the options fit the target.
///
/// # Errors
/// 64 if one of them would have no effect, or no effect that can be meant.
pub fn check(target: &Target, common: &Common) -> Result<(), Failure> {
    let usage = |what: fmt::Arguments<'_>| Err(Failure::new(Exit::Usage, what.to_string()));
    let Peer::Inet(address) = &target.peer else {
        let given = [
            ("--source", common.source.is_some()),
            ("--device", common.device.is_some()),
            ("--dscp", common.dscp.is_some()),
            ("--ttl", common.ttl.is_some()),
            ("--dont-fragment", common.dont_fragment),
        ];
        return match given.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => usage(format_args!(
                "{option} has no effect on {}: a unix socket has no network; leave it out",
                target.url
            )),
            None => Ok(()),
        };
    };
    match common.source {
        Some(source) if source.is_ipv4() != address.is_ipv4() => usage(format_args!(
            "cannot send from {} to {address}: one is an IPv4 address, the other an IPv6 one; name a source of the same family, or \
             choose the target's by -4 or -6",
            source.ip()
        )),
        _ => Ok(()),
    }
}

/// Opens a socket to `target`, and connects it. `flow` is the number of this one of several: a source port that the user named is the
/// first one's, and the next ones have those that follow.
///
/// Datagrams leave from a port from which servers answer: none below 1024, and none of those that this daemon's guard refuses.
///
/// # Errors
/// See [`OpenError`].
pub fn open(target: &Target, common: &Common, flow: Option<u16>) -> Result<ProbeSocket, OpenError> {
    let may_choose =
        target.protocol == Protocol::Udp && common.source.is_none_or(|source| source.port() == 0);
    // Those that do not fit are held until one does, so that the kernel gives others.
    let mut unfit = Vec::new();
    loop {
        let opened = open_once(target, common, flow)?;
        let fits = opened.source().is_none_or(|source| guard::is_source_of_clients(source.port()));
        if fits || !may_choose || unfit.len() as u32 == TRIES {
            return Ok(opened);
        }
        unfit.push(opened);
    }
}

fn open_once(target: &Target, common: &Common, flow: Option<u16>) -> Result<ProbeSocket, OpenError> {
    let failed = |step: &str, error: io::Error| OpenError::Local(refused(target, step, &error));
    let address = target.peer.socket_address().map_err(OpenError::Unreachable)?;
    let domain = Domain::from(i32::from(address.family()));
    let socket = Socket::new(domain, target.protocol.socket_type(), None)
        .map_err(|error| failed("have a socket", error))?;
    socket.set_nonblocking(true).map_err(|error| failed("have a socket that does not block", error))?;
    let mut has_stamps = false;
    match target.protocol {
        Protocol::Tcp => {
            socket.set_tcp_nodelay(true).map_err(|error| failed("send without delay", error))?;
        }
        // To be answered it needs an address: binding to an empty one autobinds ("Autobind feature" in unix(7)).
        Protocol::UnixDatagram => {
            let nameless = SockAddr::unix("").map_err(|error| failed("have a name", error))?;
            socket.bind(&nameless).map_err(|error| failed("have a name", error))?;
        }
        _ => {}
    }
    if !target.protocol.is_stream() {
        has_stamps = common.timestamps == Timestamps::Kernel && stamps::enable(&socket);
        stamps::enable_notes(&socket, address.is_ipv6());
    }
    if let Peer::Inet(peer) = &target.peer {
        prepare(&socket, *peer, common, flow, &failed)?;
    }
    let is_connected = match socket.connect(&address) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => false,
        Err(error) => return Err(OpenError::Unreachable(error)),
    };
    Ok(ProbeSocket { socket, is_connected, has_stamps })
}

/// Sets what only the internet protocols have.
fn prepare(
    socket: &Socket,
    peer: SocketAddr,
    common: &Common,
    flow: Option<u16>,
    failed: &impl Fn(&str, io::Error) -> OpenError,
) -> Result<(), OpenError> {
    if let Some(device) = &common.device {
        let bound = socket.bind_device(Some(device.as_bytes()));
        bound.map_err(|error| failed(&format!("send through interface `{device}`"), error))?;
    }
    if let Some(dscp) = common.dscp {
        let mark = u32::from(dscp) << 2;
        let set = if peer.is_ipv4() { socket.set_tos_v4(mark) } else { socket.set_tclass_v6(mark) };
        set.map_err(|error| failed(&format!("mark packets with DSCP {dscp}"), error))?;
    }
    if let Some(ttl) = common.ttl {
        let hops = u32::from(ttl);
        let set = if peer.is_ipv4() { socket.set_ttl_v4(hops) } else { socket.set_unicast_hops_v6(hops) };
        set.map_err(|error| failed(&format!("allow packets {ttl} hops"), error))?;
    }
    if common.dont_fragment {
        let set = match peer {
            SocketAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO),
            SocketAddr::V6(_) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO),
        };
        set.map_err(|error| failed("forbid fragments", error.into()))?;
    }
    if let Some(mut source) = common.source {
        if source.port() != 0 {
            let port = source.port().checked_add(flow.unwrap_or_default());
            let port =
                port.ok_or_else(|| failed("have as many ports", io::ErrorKind::AddrNotAvailable.into()));
            source.set_port(port?);
        }
        // A connection that ended a moment ago may have had the same port.
        socket
            .set_reuse_address(source.port() != 0 && socket.r#type().is_ok_and(|kind| kind == Type::STREAM))
            .map_err(|error| failed("use a port again", error))?;
        socket.bind(&source.into()).map_err(|error| failed(&format!("send from {source}"), error))?;
    }
    Ok(())
}

/// The failure of a socket that cannot be had as it was asked for.
fn refused(target: &Target, step: &str, error: &io::Error) -> Failure {
    let (exit, cure) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (
            Exit::NoPermission,
            "leave the option out, or run it as root or with the capability that it needs",
        ),
        Some(libc::ENODEV) => (Exit::System, "`ip link` lists the interfaces"),
        Some(libc::EADDRNOTAVAIL) => (Exit::System, "`ip address` lists the addresses of this machine"),
        Some(libc::EADDRINUSE) => (Exit::System, "leave the port out, and the kernel chooses a free one"),
        Some(libc::EMFILE | libc::ENFILE) => (Exit::System, "raise the limit of open files (`ulimit -n`)"),
        Some(libc::EAFNOSUPPORT) => {
            (Exit::System, "the kernel lacks that family; -4 or -6 chooses the other one")
        }
        _ => (Exit::System, "the kernel refuses it"),
    };
    Failure::new(exit, format!("cannot {step} to reach {}: {}; {cure}", target.url, error_text(error)))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use clap::{Args, Command, FromArgMatches};

    use super::{super::target::Families, *};

    fn common(line: &str) -> Common {
        let command = Common::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.get_matches_from(line.split_whitespace());
        Common::from_arg_matches(&matches).unwrap()
    }

    fn target(url: &str) -> Target {
        Target::read("ping", url, Families::Any).unwrap()
    }

    fn failure(url: &str, line: &str) -> Failure {
        match open(&target(url), &common(line), None) {
            Err(OpenError::Local(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_datagram_leaves_from_a_port_of_clients() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("udp://{}", server.local_addr().unwrap());
        let opened = open(&target(&url), &common("--dscp EF --ttl 3 --dont-fragment"), Some(3)).unwrap();
        assert!(opened.is_connected && opened.has_stamps);
        assert!(opened.source().unwrap().port() >= 1024);
        assert_eq!(opened.socket.tos_v4().unwrap(), 46 << 2);
        assert_eq!(opened.socket.ttl_v4().unwrap(), 3);
        assert!(!open(&target(&url), &common("--timestamps user"), None).unwrap().has_stamps);
    }

    #[test]
    fn what_cannot_be_had_is_told() {
        let failure = |line| failure("udp://127.0.0.1:9", line);
        let no_interface = failure("--device nothing0");
        assert!([Exit::System, Exit::NoPermission].contains(&no_interface.exit), "{no_interface}");
        assert!(no_interface.message.contains("interface `nothing0`"), "{no_interface}");
        let elsewhere = failure("--source 192.0.2.254");
        assert_eq!(elsewhere.exit, Exit::System);
        assert!(elsewhere.message.contains("cannot send from 192.0.2.254:0"), "{elsewhere}");
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = failure(&format!("--source {}", taken.local_addr().unwrap()));
        assert!(taken.message.contains("leave the port out"), "{taken}");
    }

    #[test]
    fn options_without_effect_are_refused() {
        for option in ["--source 127.0.0.1", "--device lo", "--dscp EF", "--ttl 3", "--dont-fragment"] {
            assert_eq!(check(&target("unix:@x"), &common(option)).unwrap_err().exit, Exit::Usage, "{option}");
            let fits = check(&target("udp://127.0.0.1:7"), &common(option));
            assert_eq!(fits, Ok(()), "{option}");
        }
        assert!(check(&target("tcp://[::1]:7"), &common("--source 127.0.0.1")).is_err());
    }

    #[test]
    fn nobody_at_a_unix_socket_is_the_targets_fault() {
        let error = open(&target("unix:@echod-nobody"), &common(""), None).unwrap_err();
        let failure = error.failure(&target("unix:@echod-nobody"));
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains("cannot reach unix:@echod-nobody: "), "{failure}");
    }
}
