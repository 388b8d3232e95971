//! Servers that a test makes up, to see what the client says about them. Each has a thread, which ends with its test.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use socket2::SockRef;

/// A server on a port of its own.
pub(crate) struct Stranger {
    pub(crate) url: String,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// A server that has a thread for each connection. A connection is over when its client is, or the server.
    pub(crate) fn tcp(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, serve) = (Arc::clone(&is_over), Arc::new(serve));
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Relaxed) {
                    return;
                }
                let serve = Arc::clone(&serve);
                // What goes wrong with it is what the client is to see.
                connection.ok().map(|connection| thread::spawn(move || serve(connection)));
            }
        });
        Self { url: format!("tcp://{address}"), address, is_over, thread: Some(thread) }
    }

    /// A server that does this with each datagram and its sender.
    pub(crate) fn udp(
        serve: impl Fn(&UdpSocket, &[u8], SocketAddr) -> io::Result<usize> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !over.load(Relaxed) {
                // An error is that of an earlier answer, or a signal.
                if let Ok((n, from)) = socket.recv_from(&mut buffer) {
                    let _ = serve(&socket, &buffer[..n], from);
                }
            }
        });
        Self { url: format!("udp://{address}"), address, is_over, thread: Some(thread) }
    }

    /// An echo that does this with each piece and the number of bytes before it.
    pub(crate) fn echo(change: impl Fn(&mut Vec<u8>, usize) + Send + Sync + 'static) -> Self {
        Self::tcp(move |connection| echo(&connection, &change))
    }
}

/// Sends back what arrives, until the client has ended its side.
pub(crate) fn echo(mut connection: &TcpStream, change: &impl Fn(&mut Vec<u8>, usize)) -> io::Result<()> {
    let (mut buffer, mut before) = ([0; 8192], 0);
    loop {
        let n = match connection.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if n == 0 {
            return Ok(());
        }
        let mut piece = buffer[..n].to_vec();
        change(&mut piece, before);
        connection.write_all(&piece)?;
        before += n;
    }
}

/// Closes by a reset.
pub(crate) fn reset(connection: &TcpStream) -> io::Result<()> {
    SockRef::from(connection).set_linger(Some(std::time::Duration::ZERO))
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // Has it look.
        match self.url.starts_with("tcp") {
            true => _ = TcpStream::connect(self.address),
            false => {
                let waker = UdpSocket::bind("127.0.0.1:0");
                let _ = waker.and_then(|waker| waker.send_to(b"", self.address));
            }
        }
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || !matches!(ended, Some(Err(_))), "a stranger panicked");
    }
}
