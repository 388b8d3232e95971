//! The keys of a `[[listener]]`, and of `[defaults]`. A key is declared here once; the reader, `--print-config`, the parameters of
//! a URL, the manual, the reference and the schema follow from this table (`keys/mod.rs` says how).

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::config::{
    Address, DontFragment, Dscp, Fallback, FaultPlan, Keepalive, Mode, Offload, Owner, Payload, Protocol,
    ProxyProtocol, Rate, ServiceKind, SourcePorts, SourceRate, Trigger, WhenFull, Workers,
    applicability::{
        Need::{self, ClientAddresses, Modes, NoMptcp, Protocols, Service, SocketFile},
        Profile,
    },
    dscp::DSCP,
    embedded::plain,
    everybody,
    faults::PLAN,
    keepalive::KEEPALIVE,
    keys::{
        Int, IntOrOff, Key,
        Preset::{Required, Unset, Value},
        Quiet,
        Reload::{Live, Rebind},
        Word, keys,
    },
    loopback,
    owners::{GROUP, GROUPS, USER, USERS},
    values::{
        Addresses, BUSY_POLL, CONNECTION_RATE, DEVICE, DURATION, FILES, LOOP_BREAKER, MAX_BYTES, NAME,
        NETWORKS, PERMISSIONS, PROXY_HEADER_TIMEOUT, QUOTE, REFUSAL, SIZE, SOURCE_PORTS, SOURCE_RATE, SWITCH,
        TIME_LIMIT, WORKERS,
    },
};
use Protocol::{Tcp, Udp, Unix, UnixDatagram, UnixSeqpacket};

const TCP: Need = Protocols(&[Tcp], "only `tcp` has it");
const TCP_PROXIES: Need = Protocols(&[Tcp], "a unix listener trusts whoever may connect");
const STREAM: Need = Protocols(&[Tcp, Unix], "only `tcp` and `unix` carry streams");
const CONNECTIONS: Need = Protocols(&[Tcp, Unix, UnixSeqpacket], "datagrams have no connection");
const NO_RECORDS: Need = Protocols(
    &[Tcp, Udp, Unix, UnixDatagram],
    "a plan cuts streams and drops datagrams, it has nothing for records",
);
const QUEUE: Need = Protocols(&[Tcp, Unix, UnixSeqpacket], "datagrams have no connection that waits");
const INET: Need = Protocols(&[Tcp, Udp], "only `tcp` and `udp` have it");
const IPV6: Need = Protocols(&[Tcp, Udp], "only `tcp` and `udp` have IPv6");
const UDP: Need = Protocols(&[Udp], "only `udp` has it");
const DATAGRAMS: Need = Protocols(&[Udp, UnixDatagram], "only datagrams can be amplified");
const SOURCES: Need = Protocols(&[Tcp, Udp, Unix, UnixSeqpacket], "who sends such a datagram is not known");
const USER_KNOWN: Need = Protocols(&[Unix, UnixSeqpacket], "only of a unix connection is the user known");
const UNIX_FILE: Need =
    Protocols(&[Unix, UnixSeqpacket, UnixDatagram], "only a unix socket file has permissions");
const EPOLL: Need = Modes(&[Mode::Epoll]);
const IO_URING: Need = Modes(&[Mode::IoUring]);
const EVENT_LOOP: Need = Modes(&[Mode::Select, Mode::Poll, Mode::Epoll, Mode::IoUring]);

keys! {
    /// One `[[listener]]`: where (protocol, address), how (mode, workers) and what (service).
    Listener, WrittenListener, ListenerKeys = LISTENER;

    /// What the log and the announcement call it. No two listeners may have the same name.
    name: String = Key {
        value: &NAME, default: Unset("the URL of the first address", |_| String::new()), needs: &[Need::Listener],
        reload: Live, example: "\"lab\"",
    },
    /// `false` keeps the entry in the file and does not serve it.
    enabled: bool = Key {
        value: &Quiet(SWITCH), default: Value(|_| true), needs: &[], reload: Live, example: "false",
    },
    /// The kind of socket: `"tcp"`, `"udp"`, `"unix"` (a stream), `"unix-seqpacket"` (connections that keep records apart) or
    /// `"unix-datagram"`.
    protocol: Protocol = Key {
        value: &Word, default: Required(|_| Tcp), needs: &[], reload: Rebind, example: "\"udp\"",
    },
    /// Where to bind: one address, or several. Those of tcp and udp are a host and a port. Port 0 is any free port, the same for
    /// all addresses of a host name, and `127.0.0.1:7000-7009` is a socket for each port. IPv6 stands in brackets, and `[::]:7` serves IPv4 as well unless `v6-only` is
    /// set. A host name is looked up once for all its ports and listeners, at start and at every reload, within 5 seconds; every
    /// address of it that this machine has is bound. Those of unix sockets are a path, or `@` and a name in the abstract namespace;
    /// `%t` in a path is the runtime directory: $RUNTIME_DIRECTORY as systemd sets it, else $XDG_RUNTIME_DIR, else /run for root.
    address: Vec<Address> = Key {
        value: &Addresses, default: Required(|_| Vec::new()), needs: &[Need::Listener], reload: Rebind,
        example: "[\"127.0.0.1:7\", \"[::1]:7\"]",
    },
    /// Leave out an address that this machine does not have, instead of failing.
    optional: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[], reload: Live, example: "true",
    },
    /// The concurrency mode. `"iterative"` serves one client after the other, `"threading"` has a thread and `"forking"` a process
    /// for each connection. The others are event loops over select(2), poll(2), epoll(7) and io_uring(7): one thread serves many.
    mode: Mode = Key {
        value: &Word, default: Value(|_| Mode::Epoll), needs: &[], reload: Live, example: "\"threading\"",
    },
    /// How many threads, processes or loops share the work. `"auto"` is as many as there are cores, and what modes threading and
    /// forking have for datagrams; `"per-request"` is a thread or process for each connection or datagram, and what they have for
    /// connections. Event loops have 1 to 1024 loops. Mode iterative has one worker.
    workers: Workers = Key {
        value: &WORKERS, default: Value(Profile::workers), needs: &[], reload: Live, example: "4",
    },
    /// When epoll(7) reports a descriptor: as long as there is something to do (`"level"`), or once, when something has changed
    /// (`"edge"`).
    trigger: Trigger = Key {
        value: &Word, default: Value(|_| Trigger::Level), needs: &[EPOLL], reload: Live, example: "\"edge\"",
    },
    /// What takes the place of io_uring where the kernel or a sandbox denies it: nothing (`"off"`: echod says so and does not
    /// start), or mode `"epoll"`, with a warning.
    fallback: Fallback = Key {
        value: &Word, default: Value(|_| Fallback::Off), needs: &[IO_URING], reload: Live, example: "\"epoll\"",
    },
    /// How long an event loop looks for something to do before it sleeps, up to 1 s: less latency for more work of the processor.
    busy_poll: Option<Duration> = Key {
        value: &BUSY_POLL, default: Value(|_| None), needs: &[EVENT_LOOP], reload: Live, example: "\"50us\"",
    },
    /// What is answered: `"echo"` (RFC 862), `"upper"` (the same with ASCII letters in upper case), `"discard"` (RFC 863),
    /// `"chargen"` (RFC 864), `"qotd"` (RFC 865), `"daytime"` (RFC 867), `"time"` (RFC 868) or `"whoami"` (what reached the server,
    /// as a line of JSON).
    service: ServiceKind = Key {
        value: &Word, default: Value(|_| ServiceKind::Echo), needs: &[], reload: Live, example: "\"upper\"",
    },
    /// The text of service qotd, without its line end: at most 510 bytes (RFC 865).
    quote: String = Key {
        value: &QUOTE, default: Value(|_| "What you hear is what you said.".to_owned()), needs: &[Service(ServiceKind::Qotd)],
        reload: Live, example: "\"Nothing is said.\"",
    },
    /// The plan of `[[faults]]` by which the listener misbehaves on purpose, and `"off"` without one. It needs `allow-faults` in
    /// `[daemon]`.
    faults: Option<Arc<FaultPlan>> = Key {
        value: &PLAN, default: Value(|_| None), needs: &[NO_RECORDS], reload: Live, example: "\"wifi\"",
    },
    /// Networks and addresses that clients may come from. The longest network that holds an address decides, and `deny` where both
    /// have the same. A client that is in neither list may not come in.
    allow: Arc<[IpNet]> = Key {
        value: &NETWORKS, default: Value(|_| everybody()), needs: &[ClientAddresses], reload: Live,
        example: "[\"192.0.2.0/24\", \"2001:db8::/32\"]",
    },
    /// Files with more networks for `allow`, one a line; `#` begins a comment. A path counts from the file that it is written in. A list and
    /// its files are one setting: a listener that has either takes neither from `[defaults]`.
    allow_include: Arc<[String]> = Key {
        value: &Quiet(FILES), default: Value(|_| [].into()), needs: &[ClientAddresses], reload: Live,
        example: "\"networks.txt\"",
    },
    /// Networks and addresses that clients may not come from.
    deny: Arc<[IpNet]> = Key {
        value: &NETWORKS, default: Value(|_| [].into()), needs: &[ClientAddresses], reload: Live,
        example: "\"192.0.2.128/25\"",
    },
    /// Files with more networks for `deny`.
    deny_include: Arc<[String]> = Key {
        value: &Quiet(FILES), default: Value(|_| [].into()), needs: &[ClientAddresses], reload: Live,
        example: "\"networks.txt\"",
    },
    /// The users that may connect, as the kernel knows the client.
    allow_users: Arc<[Owner]> = Key {
        value: &USERS, default: Unset("all users", |_| [].into()), needs: &[USER_KNOWN], reload: Live, example: "\"root\"",
    },
    /// The groups whose members may connect. A client passes that is in either list.
    allow_groups: Arc<[Owner]> = Key {
        value: &GROUPS, default: Unset("all groups", |_| [].into()), needs: &[USER_KNOWN], reload: Live,
        example: "[\"root\"]",
    },
    /// How many connections (with a worker per request also datagrams) are served at once; more clients wait.
    max_connections: u32 = Key {
        value: &Int(1, 1_000_000), default: Value(Profile::max_connections), needs: &[], reload: Live, example: "500",
    },
    /// What happens at `max-connections`: clients wait in the backlog (`"wait"`), are accepted and closed (`"refuse"`), or are told so
    /// first (`"message"`). With a fixed number of threads or processes they always wait for one of those.
    when_full: WhenFull = Key {
        value: &Word, default: Value(|_| WhenFull::Wait), needs: &[CONNECTIONS], reload: Live, example: "\"refuse\"",
    },
    /// What a client is told with `when-full = "message"`: a line of at most 1000 bytes.
    refusal: String = Key {
        value: &REFUSAL, default: Value(|_| "too many connections, try again later".to_owned()), needs: &[CONNECTIONS],
        reload: Live, example: "\"come again later\"",
    },
    /// How many connections one source may have open; 0 and `"off"` are no limit. A source is an IPv4 address, an IPv6 network of
    /// `source-prefix` bits, or the user of a unix connection.
    max_connections_per_source: u32 = Key {
        value: &IntOrOff(0, 1_000_000), default: Value(|_| 0), needs: &[CONNECTIONS], reload: Live, example: "10",
    },
    /// How fast connections may come in, for example `"50/s"` or `"50/s burst 200"`. Without a burst as many may come at once as the
    /// number says.
    connection_rate: Option<Rate> = Key {
        value: &CONNECTION_RATE, default: Value(|_| None), needs: &[CONNECTIONS], reload: Live, example: "\"50/s burst 200\"",
    },
    /// How fast connections or datagrams of one source may come in; of datagrams also how many bytes: `"1000/s, 1MB/s"`.
    rate_per_source: SourceRate = Key {
        value: &SOURCE_RATE, default: Value(|_| SourceRate::default()), needs: &[SOURCES], reload: Live,
        example: "\"1000/s\"",
    },
    /// How long a source that was over its rate is refused.
    cool_down: Duration = Key {
        value: &DURATION, default: Value(|_| Duration::from_secs(10)), needs: &[SOURCES], reload: Live, example: "\"1m\"",
    },
    /// How many bits of an IPv6 address make a source. An IPv4 address is one.
    source_prefix: u8 = Key {
        value: &Int(1, 128), default: Value(|_| 64), needs: &[IPV6], reload: Live, example: "56",
    },
    /// Serve so many connections or datagrams, then close the listener; 0 and `"off"` are no limit. echod exits with its last
    /// listener.
    max_requests: u64 = Key {
        value: &IntOrOff(0, i64::MAX), default: Value(|_| 0), needs: &[], reload: Live, example: "1",
    },
    /// End a connection on which nothing has moved for so long, in either direction. RFC 862 knows no such end: the client decides.
    idle_timeout: Option<Duration> = Key {
        value: &TIME_LIMIT, default: Value(|_| None), needs: &[CONNECTIONS], reload: Live, example: "\"10m\"",
    },
    /// End a connection that is so old, whatever it does.
    max_lifetime: Option<Duration> = Key {
        value: &TIME_LIMIT, default: Value(|_| None), needs: &[CONNECTIONS], reload: Live, example: "\"1h\"",
    },
    /// End a connection that has sent so many bytes, once they are answered; 0 and `"off"` are no limit.
    max_bytes: u64 = Key {
        value: &MAX_BYTES, default: Value(|_| 0), needs: &[CONNECTIONS], reload: Live, example: "\"10MB\"",
    },
    /// Whether connections begin with a header of the PROXY protocol (version 1 or 2), in which a proxy tells the address of its
    /// client; rules, limits and the log see that address. With `"optional"` a client that sends no header is served as well.
    proxy_protocol: ProxyProtocol = Key {
        value: &Word, default: Value(|_| ProxyProtocol::Off), needs: &[STREAM], reload: Live, example: "\"optional\"",
    },
    /// The proxies whose headers are believed. A listener that other machines can reach must name them. Others are refused
    /// (`"required"`), or served as if `proxy-protocol` were off (`"optional"`). A unix listener trusts every client that may connect.
    trusted_proxies: Arc<[IpNet]> = Key {
        value: &NETWORKS, default: Value(|_| loopback()), needs: &[TCP_PROXIES], reload: Live,
        example: "[\"192.0.2.10\", \"2001:db8::/64\"]",
    },
    /// How long such a header may take to come, up to 1 m.
    proxy_header_timeout: Duration = Key {
        value: &PROXY_HEADER_TIMEOUT, default: Value(|_| Duration::from_secs(3)), needs: &[STREAM], reload: Live,
        example: "\"500ms\"",
    },
    /// Show in the log what clients write, as `"text"` (control characters escaped) or as `"hex"`; at most 256 bytes of each message.
    payload: Payload = Key {
        value: &Word, default: Value(|_| Payload::Off), needs: &[], reload: Live, example: "\"text\"",
    },
    /// Log at level info also the end of a connection whose client has left without a byte in either direction, as a health check or
    /// a port scan does. Otherwise its line is at level debug; it is counted as `empty` in any case.
    log_empty_connections: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[CONNECTIONS], reload: Live, example: "true",
    },
    /// Let a datagram's answer be longer than its request. A sender with a forged address could use that to flood a third machine.
    allow_amplification: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[DATAGRAMS], reload: Live, example: "true",
    },
    /// Source ports that are not answered, because a service may sit there that answers the answer, and so on for ever.
    /// `"reflectors"` are those of services that answer whatever reaches them, such as 7, 19 and 53, and the ports of this daemon;
    /// `"privileged"` all below 1024; `"none"` none.
    deny_source_ports: SourcePorts = Key {
        value: &SOURCE_PORTS, default: Value(|_| SourcePorts::default()), needs: &[UDP], reload: Live,
        example: "[\"reflectors\", 4000, \"5000-5009\"]",
    },
    /// Answer what was sent to a broadcast or multicast address, that is to many machines at once.
    allow_multicast: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[UDP], reload: Live, example: "true",
    },
    /// Withhold every answer of this number in a row to one source, that is without a pause of a second: it ends a loop of two servers
    /// that answer each other, and costs an honest client 15 of a million. 0 and `"off"` withhold none. Clients of a listener
    /// at a loopback address and sources in `trusted` get every answer.
    loop_breaker: u32 = Key {
        value: &LOOP_BREAKER, default: Value(|_| 65_536), needs: &[UDP], reload: Live, example: "1024",
    },
    /// Networks whose hosts are answered without end, for measurements, and from any UDP port of this daemon; their loopback addresses
    /// may come to any listener. No host there may run a server that answers an answer.
    trusted: Arc<[IpNet]> = Key {
        value: &NETWORKS, default: Value(|_| [].into()), needs: &[UDP], reload: Live, example: "[\"192.0.2.0/24\"]",
    },
    /// Let the kernel drop what the source address or port alone condemns (`SO_ATTACH_FILTER`, socket(7)): no process is woken for it,
    /// and it is counted as undelivered, not by its reason.
    kernel_filter: bool = Key {
        value: &SWITCH, default: Value(|_| true), needs: &[UDP], reload: Live, example: "false",
    },
    /// Let the kernel answer datagrams itself, without the socket and without waking a process: where it can (`"auto"`, and the log
    /// says why not), or else echod does not start (`"on"`). It needs Linux 6.6, CAP_BPF and CAP_NET_ADMIN at the start, and bypasses
    /// the packet filter, so that `"auto"` does without where that has rules. What the kernel is not sure of reaches the socket.
    offload: Offload = Key {
        value: &Word, default: Value(|_| Offload::Off), needs: &[UDP, Service(ServiceKind::Echo)], reload: Live,
        example: "\"auto\"",
    },
    /// Send answers that follow each other to one peer as one, for the kernel or the interface to cut apart (generic segmentation
    /// offload, `UDP_SEGMENT`, udp(7)). The peer sees no difference; a capture on this machine may show them in one piece.
    gso: bool = Key {
        value: &SWITCH, default: Value(|_| true), needs: &[UDP], reload: Live, example: "false",
    },
    /// Whether answers forbid routers to fragment them (the DF bit of IPv4; `IP_MTU_DISCOVER`, ip(7)). With `"auto"` they do, and the
    /// kernel itself fragments an answer that is longer than the path MTU it has learned by ICMP. With `"on"` such an answer is
    /// not sent, and counted as `oversize`. With `"off"` routers may: answers then pass a narrow path that loses its ICMP errors.
    /// IPv6 routers never fragment.
    dont_fragment: DontFragment = Key {
        value: &Word, default: Value(|_| DontFragment::Auto), needs: &[UDP], reload: Live, example: "\"off\"",
    },
    /// The DSCP of answers, which asks routers for a treatment (RFC 2474; `IP_TOS`, ip(7), and `IPV6_TCLASS`): a number from 0 to 63, or
    /// a name such as `"EF"`, `"AF41"` or `"CS1"`. `"reflect"` answers each datagram with the DSCP and the ECN bits of the request, and a
    /// connection with the DSCP of its first segment.
    dscp: Option<Dscp> = Key {
        value: &DSCP, default: Unset("the kernel's choice", |_| None), needs: &[INET, NoMptcp], reload: Live, example: "\"EF\"",
    },
    /// How many routers answers may pass (`IP_TTL`, ip(7), and `IPV6_UNICAST_HOPS`, ipv6(7)); 0 is the kernel's choice.
    ttl: u8 = Key {
        value: &Int(0, 255), default: Value(|_| 0), needs: &[INET, NoMptcp], reload: Live, example: "5",
    },
    /// Keep an IPv6 address from serving IPv4 clients too (`IPV6_V6ONLY`, ipv6(7)).
    v6_only: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[INET], reload: Rebind, example: "true",
    },
    /// How many connections may wait to be accepted (listen(2)); 0 is as many as the kernel allows.
    backlog: u32 = Key {
        // listen(2) takes an `int`.
        value: &Int(0, i32::MAX as i64), default: Value(|_| 0), needs: &[QUEUE], reload: Live, example: "128",
    },
    /// Bind although old connections of the port have not quite ended (`SO_REUSEADDR`, socket(7)).
    reuse_address: bool = Key {
        // On a UDP socket it would let another daemon take the port without a word.
        value: &SWITCH, default: Value(|_| true), needs: &[TCP], reload: Live, example: "false",
    },
    /// Share the port with other processes of the same user, each with its share of the clients (`SO_REUSEPORT`, socket(7)).
    reuse_port: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[INET], reload: Live, example: "true",
    },
    /// Bind an address before the machine has it (`IP_FREEBIND`, ip(7), and `IPV6_FREEBIND`), for one that comes later or moves between
    /// machines. It counts when a socket is bound.
    freebind: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[INET], reload: Live, example: "true",
    },
    /// Let clients use several paths for one connection (MPTCP, RFC 8684; `IPPROTO_MPTCP`). Others are served over TCP as usual, and so are
    /// all of them where the kernel has no MPTCP, with a warning.
    mptcp: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[TCP], reload: Rebind, example: "true",
    },
    /// Send small answers at once instead of collecting them (`TCP_NODELAY`, tcp(7)).
    nodelay: bool = Key {
        value: &SWITCH, default: Value(|_| true), needs: &[TCP], reload: Live, example: "false",
    },
    /// Probe silent clients: after the kernel's idle time (`"on"`), or after one in whole seconds (`TCP_KEEPIDLE`, tcp(7)). An interval
    /// (`TCP_KEEPINTVL`) and a number of probes (`TCP_KEEPCNT`), after which the connection ends, may follow: `"60s every 10s, 3 times"`.
    keepalive: Keepalive = Key {
        value: &KEEPALIVE, default: Value(|_| Keepalive::Off), needs: &[TCP], reload: Live,
        example: "\"60s every 10s, 3 times\"",
    },
    /// The size of the socket's receive buffer (`SO_RCVBUF`, socket(7)); 0 is the kernel's choice.
    receive_buffer: u32 = Key {
        value: &SIZE, default: Value(|_| 0), needs: &[], reload: Live, example: "\"64KiB\"",
    },
    /// The size of the socket's send buffer (`SO_SNDBUF`, socket(7)); 0 is the kernel's choice.
    send_buffer: u32 = Key {
        value: &SIZE, default: Value(|_| 0), needs: &[], reload: Live, example: "65536",
    },
    /// Serve on one network interface only (`SO_BINDTODEVICE`, socket(7)); `""` is all of them.
    device: String = Key {
        value: &DEVICE, default: Value(|_| String::new()), needs: &[INET], reload: Rebind, example: "\"lo\"",
    },
    /// Permission bits of the socket file: a client needs write permission to connect.
    socket_mode: u32 = Key {
        value: &PERMISSIONS, default: Value(|_| 0o666), needs: &[UNIX_FILE, SocketFile], reload: Live,
        example: "\"0660\"",
    },
    /// Owner of the socket file.
    socket_user: Option<Owner> = Key {
        value: &USER, default: Unset("the user that echod runs as", |_| None), needs: &[UNIX_FILE, SocketFile], reload: Live,
        example: "\"root\"",
    },
    /// Group of the socket file.
    socket_group: Option<Owner> = Key {
        value: &GROUP, default: Unset("the group that echod runs as", |_| None), needs: &[UNIX_FILE, SocketFile], reload: Live,
        example: "\"root\"",
    },
}

impl Listener {
    /// The size of the pool of threads, processes or loops: more could not be let in anyway.
    pub fn pool(&self) -> usize {
        self.workers.count().min(self.max_connections as usize).max(1)
    }

    /// Whether a header of the PROXY protocol that comes from `proxy` is believed.
    pub fn trusts_proxy(&self, proxy: IpAddr) -> bool {
        let proxy = plain(proxy);
        self.trusted_proxies.iter().any(|network| network.contains(&proxy))
    }

    /// What a listener is without any other key.
    #[cfg(test)]
    pub(crate) fn usual(protocol: Protocol, mode: Mode) -> Self {
        let it = Profile { protocol: Some(protocol), mode: Some(mode), ..Profile::default() };
        WrittenListener::default().or(&WrittenListener::default(), &it)
    }
}
