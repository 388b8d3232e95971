//! `--inetd`: serves one connection, or the datagrams of one socket, on standard input, as inetd and a socket unit with
//! `Accept=yes` start a server for each client. There is nothing to bind, nothing to supervise, and one thread that serves. Where
//! standard input is no socket, the answers go to standard output.

use std::{
    io::{self, ErrorKind},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    time::Instant,
};

use nix::sys::stat::fstat;
use socket2::{Domain, Socket, Type};

use crate::{
    command::{cli::Cli, pipes::Pumps},
    config::{self, Environment, Inputs, LogLevel},
    report::{
        error::{Exit, Failure},
        logging,
    },
    serve::{
        context::{Accepted, ListenerContext},
        datagram,
    },
    socket::{
        address::Peer,
        listener::{Listener, SocketOwner},
        options,
    },
    sys::{interrupt, shared::Shared},
};

/// Serves the client on standard input to the end.
pub fn serve(cli: &Cli) -> Result<(), Failure> {
    let (socket, far_end) = socket().map_err(unusable)?;
    let (domain, kind) = (socket.domain().map_err(unusable)?, socket.r#type().map_err(unusable)?);
    let stream = kind != Type::DGRAM;
    if stream && socket.is_listener().map_err(unusable)? {
        return Err(unusable(io::Error::other(
            "it listens; start echod with `--config` or `--listen` for that",
        )));
    }
    let address = match (domain, kind) {
        (Domain::IPV4 | Domain::IPV6, Type::STREAM) => "tcp://127.0.0.1:0",
        (Domain::IPV4 | Domain::IPV6, Type::DGRAM) => "udp://127.0.0.1:0",
        (Domain::UNIX, Type::STREAM) => "unix:@inetd",
        (Domain::UNIX, Type::SEQPACKET) => "unix-seqpacket:@inetd",
        (Domain::UNIX, Type::DGRAM) => "unix-datagram:@inetd",
        _ => return Err(unusable(io::Error::other("a socket of a kind that echod does not serve"))),
    };
    let service = cli.service.as_deref().unwrap_or("echo");
    let listen = vec![format!("{address}?name=inetd&mode=iterative&service={service}")];
    let inputs = Inputs { file: None, listen };
    let mut config = config::load(&inputs, &Environment::default())?.config;
    let level = std::env::var("ECHOD_LOG").ok();
    cli.adjust(&mut config.log, level.as_deref()).map_err(|e| Failure::new(Exit::Usage, e))?;
    if is_same_file(&io::stdin(), &io::stderr())
        || (far_end.is_some() && is_same_file(&io::stdout(), &io::stderr()))
    {
        // inetd connects standard error to the client, too: a log line would be sent to it.
        config.log.level = LogLevel::Off;
    }
    logging::install(&config.log)?;
    logging::log_panics();
    interrupt::on(libc::SIGTERM);
    let listener = Listener::adopt(socket, config.listeners[0].protocol).map_err(unusable)?;
    // Owned by the service manager, as a passed socket is: it lives on when this process exits.
    let listener = listener.of(SocketOwner::Activated);
    listener.reconfigure(&config.listeners[0]).map_err(unusable)?;
    let context =
        ListenerContext::new(config.listeners.remove(0), Arc::new(Shared::new().map_err(internal)?));
    let mut context = context.map_err(internal)?;
    context.drain = Some(config.daemon.drain_timeout);
    match (stream, far_end) {
        (true, None) => connection(&context, listener.into_socket()),
        (true, Some(far_end)) => {
            let pumps = Pumps::start(far_end).map_err(unusable)?;
            connection(&context, listener.into_socket())?;
            pumps.finish()
        }
        (false, _) => datagrams(&context, &listener),
    }
}

/// The client: the socket on standard input; or where that is none, one end of a pair, and the other.
fn socket() -> io::Result<(Socket, Option<UnixStream>)> {
    let stdin = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
    match stdin.r#type() {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            let (near, far) = UnixStream::pair()?;
            Ok((near.into(), Some(far)))
        }
        _ => Ok((stdin, None)),
    }
}

fn connection(context: &ListenerContext, socket: Socket) -> Result<(), Failure> {
    let address = match socket.peer_addr() {
        Ok(address) => address,
        // The client has left again, which is no error.
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => return Ok(()),
        Err(error) => return Err(unusable(error)),
    };
    // The process that accepted it may have made it non-blocking.
    socket.set_nonblocking(false).map_err(unusable)?;
    options::when_accepted(&socket, context.settings.protocol);
    let mut scratch = context.scratch().map_err(internal)?;
    let Some(permit) = context.slots.try_acquire() else { return Ok(()) };
    // It has no configuration file, so no plan of faults.
    let (peer, faults) = (Peer::from(&address), None);
    context.serve(Accepted { socket, peer, permit, opened: Instant::now(), faults }, &mut scratch);
    Ok(())
}

/// Answers the datagrams that have arrived, and leaves the socket to the next process that is started for it.
fn datagrams(context: &ListenerContext, listener: &Listener) -> Result<(), Failure> {
    let mut batch = datagram::batch(context, std::iter::once(listener), datagram::MOST).map_err(internal)?;
    loop {
        match datagram::take(context, listener, &mut batch, false) {
            Ok(0) => return Ok(()),
            Ok(_) => datagram::answer(context, listener, &mut batch),
            // An ICMP error for an earlier answer.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(()),
        }
    }
}

fn is_same_file(one: &impl AsFd, other: &impl AsFd) -> bool {
    match (fstat(one), fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn unusable(error: io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot serve standard input: {error}"))
}

fn internal(error: io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("cannot serve standard input: {error}"))
}
