//! The other end of the endpoint: where that of a daemon is, and how a command asks it.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{
    config::{self, Address, EndpointAddress, Environment, Inputs},
    report::error::{Exit, Failure},
    socket::{
        address::Peer,
        host_names::HostNames,
        resolve::{error_text, resolve},
    },
};

/// The configuration of the installed service.
const SERVICE: &str = "/etc/echod/echod.toml";

/// Where the installed service has its endpoint, as its configuration suggests. `%t` is another directory for its user than
/// for the user who asks.
const SERVICE_SOCKET: &str = "/run/echod/observe.sock";

/// The longest response that is read, in bytes.
const LONGEST: usize = 16 << 20;

/// How to switch the endpoint on.
const CURE: &str = "add to its configuration, for example, `[observe]` and `address = \"unix:/run/echod/observe.sock\"`, and restart it";

/// Where the endpoint of a daemon may be, in the order of the attempts.
#[derive(Clone, Debug)]
pub struct Places(Vec<EndpointAddress>);

/// A response.
#[derive(Debug)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Finds the endpoint: at `address` if one is given, else where the configuration has it, which is that of the service if none is
/// given.
///
/// # Errors
/// The address or the configuration is wrong, or the configuration has no endpoint.
pub fn find(file: Option<&Path>, address: Option<&str>) -> Result<Places, Failure> {
    if let Some(address) = address {
        let place = EndpointAddress::parse(address)
            .map_err(|what| Failure::new(Exit::Usage, format!("--address: {what}")))?;
        return Ok(Places(vec![place]));
    }
    let environment = Environment::from_process();
    let load = |file: &Path| {
        let inputs = Inputs { file: Some(file.to_owned()), listen: Vec::new() };
        config::load(&inputs, &environment).map(|loaded| loaded.config.observe.address)
    };
    let written = match file {
        Some(file) => {
            let written = load(file)?;
            if written.is_empty() {
                let text = format!(
                    "{} has no [observe]: a daemon with it cannot be observed; {CURE}",
                    file.display()
                );
                return Err(Failure::new(Exit::Unavailable, text));
            }
            written
        }
        // It may be the configuration of a daemon that has another one, or none.
        None => load(Path::new(SERVICE)).unwrap_or_else(|_| [].into()),
    };
    let (local, inet): (Vec<_>, Vec<_>) =
        written.iter().cloned().partition(|place| matches!(place, EndpointAddress::Unix(_)));
    let mut places = local;
    // Another file is that of another daemon, which the service must not answer for.
    if file.is_none_or(|file| file == Path::new(SERVICE) && !places.is_empty()) {
        let own = environment.runtime_directory.filter(|_| file.is_none());
        let own = own.map(|directory| directory.join("observe.sock"));
        for path in own.into_iter().chain([SERVICE_SOCKET.into()]) {
            let place = EndpointAddress::Unix(Address::Path(path));
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places.extend(inet);
    Ok(Places(places))
}

impl Places {
    /// Asks the first endpoint that is there for `path`.
    ///
    /// # Errors
    /// Nobody answers within `timeout`, or not as an endpoint does.
    pub fn get(&self, path: &str, timeout: Duration) -> Result<Fetched, Failure> {
        let end = Instant::now() + timeout;
        let mut failures: Vec<(String, io::Error)> = Vec::new();
        for place in &self.0 {
            for (name, peer) in peers(place)? {
                match connect(&peer, end) {
                    Ok(socket) => {
                        return exchange(&socket, path, end)
                            .map_err(|error| failure(&[(name, error)], self.is_guessed()));
                    }
                    Err(error) => failures.push((name, error)),
                }
            }
        }
        Err(failure(&failures, self.is_guessed()))
    }

    /// The same, for what must be there.
    ///
    /// # Errors
    /// As above, or the status is not 200.
    pub fn get_ok(&self, path: &str, timeout: Duration) -> Result<String, Failure> {
        let Fetched { status, body } = self.get(path, timeout)?;
        match status {
            200 => Ok(body),
            status => {
                let first = body.lines().next().unwrap_or_default();
                let text = format!("the daemon answers {path} with status {status}: {first}");
                Err(Failure::new(Exit::Unavailable, text))
            }
        }
    }

    /// Whether the daemon is on this machine.
    pub fn are_local(&self) -> bool {
        let is_local = |place: &EndpointAddress| match place.address() {
            Address::Inet { host: config::Host::Ip(ip), .. } => ip.is_loopback(),
            Address::Inet { .. } => place.address().to_string().starts_with("localhost:"),
            Address::Path(_) | Address::Abstract(_) => true,
        };
        self.0.iter().all(is_local)
    }

    fn is_guessed(&self) -> bool {
        self.0.iter().any(|place| place.to_string() == format!("unix:{SERVICE_SOCKET}"))
    }
}

/// The addresses of a place, each with its name.
fn peers(place: &EndpointAddress) -> Result<Vec<(String, Peer)>, Failure> {
    let settings = place.listener();
    let names = HostNames::look_up([&settings], || false).unwrap_or_default();
    let peers = resolve(&settings, place.address(), &names)?;
    Ok(peers.into_iter().map(|peer| (peer.url(settings.protocol).to_string(), peer)).collect())
}

fn failure(failures: &[(String, io::Error)], is_guessed: bool) -> Failure {
    let mut text = "no daemon can be observed".to_owned();
    for (name, error) in failures {
        // A String takes whatever is written.
        let _ = write!(text, "; {name}: {}", error_text(error));
    }
    let denied = failures.iter().any(|(_, error)| error.kind() == ErrorKind::PermissionDenied);
    if denied {
        text += "; ask as its user or as root, or widen `socket-mode` of [observe]";
    } else if is_guessed {
        let _ = write!(text, "; {CURE}, or say where it is by --config or --address");
    }
    Failure::new(if denied { Exit::NoPermission } else { Exit::Unavailable }, text)
}

fn connect(peer: &Peer, end: Instant) -> io::Result<Socket> {
    let address = peer.socket_address()?;
    let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
    match peer {
        Peer::Inet(_) => socket.connect_timeout(&address, left(end)?)?,
        // It connects at once, or its queue is full.
        _ => {
            socket.set_write_timeout(Some(left(end)?))?;
            socket.connect(&address)?;
        }
    }
    Ok(socket)
}

fn exchange(socket: &Socket, path: &str, end: Instant) -> io::Result<Fetched> {
    socket.set_write_timeout(Some(left(end)?))?;
    (&*socket).write_all(format!("GET {path} HTTP/1.1\r\nHost: echod\r\nAccept: */*\r\n\r\n").as_bytes())?;
    let (mut response, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        socket.set_read_timeout(Some(left(end)?))?;
        match (&*socket).read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => response.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
        if response.len() > LONGEST {
            return Err(io::Error::other("the response does not end"));
        }
    }
    read(&response).ok_or_else(|| io::Error::other("this is no endpoint of echod"))
}

fn read(response: &[u8]) -> Option<Fetched> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(response).ok()? else { return None };
    let body = String::from_utf8_lossy(response.get(length..)?).into_owned();
    let wanted = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let wanted: Option<usize> =
        wanted.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    // A response that was cut short is none.
    (wanted.is_none_or(|wanted| wanted == body.len())).then_some(Fetched { status: head.code?, body })
}

/// The time that is left, which is never zero: a socket would wait for ever.
fn left(end: Instant) -> io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// What becomes of a request that is answered with these bytes, and then by nothing or by the end.
    fn answered(bytes: &'static [u8], ends: bool) -> Result<Fetched, Failure> {
        answered_within(bytes, ends, Duration::from_millis(300))
    }

    fn answered_within(bytes: &'static [u8], ends: bool, timeout: Duration) -> Result<Fetched, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = socket.read(&mut request);
            let _ = socket.write_all(bytes);
            if !ends {
                // Until the client gives up.
                let _ = socket.read(&mut request);
            }
        });
        let fetched = find(None, Some(&address)).unwrap().get("/status", timeout);
        server.join().unwrap();
        fetched
    }

    #[test]
    fn a_response_is_read_to_its_end() {
        let fetched = answered(b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nab\n", true).unwrap();
        assert_eq!((fetched.status, fetched.body.as_str()), (503, "ab\n"));
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for (bytes, ends, told) in [
            (&b""[..], true, "no endpoint of echod"),
            (b"SSH-2.0-x\r\n", true, "no endpoint of echod"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nab\n", true, "no endpoint of echod"),
            (b"HTTP/1.1 200 OK\r\n", false, "timed out"),
        ] {
            let error = answered(bytes, ends).unwrap_err();
            assert!(error.plain().contains(told), "{}", error.plain());
        }
    }

    #[test]
    fn a_response_without_end_is_not_kept() {
        let endless = vec![b'x'; LONGEST + (1 << 20)].leak();
        let error = answered_within(endless, false, Duration::from_secs(20)).unwrap_err();
        assert!(error.plain().contains("does not end"), "{}", error.plain());
    }

    #[test]
    fn an_address_may_be_a_url() {
        for text in ["127.0.0.1:1", "http://127.0.0.1:1/", "http://127.0.0.1:1", "unix:/nowhere", "/nowhere"]
        {
            assert!(find(None, Some(text)).is_ok(), "{text}");
        }
        assert!(find(None, Some("nonsense")).unwrap_err().plain().contains("--address"));
    }
}
