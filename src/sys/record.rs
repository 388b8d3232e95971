//! Receiving records (SOCK_SEQPACKET, unix(7)): an empty record, one that is longer than the buffer, and the end of file are told
//! apart.
//!
//! recv(2) returns 0 for an empty record as for the end of file, and Linux sets no `MSG_EOR`. But to a socket with `SO_PASSCRED` each
//! record comes with the credentials of its sender, and the end of file with none. Nobody wants these credentials: where the caller
//! gives no buffer for them, the kernel sets `MSG_CTRUNC` instead, and that is the sign of a record.

use std::io::IoSliceMut;

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg, sockopt::set_socket_passcred},
};
use socket2::Socket;

/// Has the kernel mark the records that `socket` receives. A connection inherits this from its listening socket.
///
/// # Errors
/// As setsockopt(2).
pub fn mark(socket: &Socket) -> Result<(), Errno> {
    set_socket_passcred(socket, true)
}

/// Receives a record, and returns its length, which is greater than that of `buffer` if the record is; `None` is the end of file.
///
/// # Errors
/// As recvmsg(2).
pub fn receive(socket: &Socket, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Errno> {
    let first = receive_once(socket, buffer, flags)?;
    if first.is_some() {
        return Ok(first);
    }
    // The kernel looks for a record first and for the peer's shutdown then, so it reports an end too early if both came in between.
    // Behind a shutdown no record comes, so the second report is true.
    match receive_once(socket, buffer, flags | RecvFlags::DONTWAIT) {
        // There was no shutdown: an empty record at a socket that was not marked.
        Err(Errno::AGAIN) => Ok(Some(0)),
        second => second,
    }
}

/// Throws away a record, or the next bytes of a stream, and returns how many bytes those were; `None` is the end of file. Does not
/// wait.
///
/// # Errors
/// As recvmsg(2).
pub fn discard(socket: &Socket) -> Result<Option<usize>, Errno> {
    receive(socket, &mut [0; 4096], RecvFlags::DONTWAIT)
}

fn receive_once(socket: &Socket, buffer: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Errno> {
    let into = &mut [IoSliceMut::new(buffer)];
    let received = recvmsg(socket, into, &mut RecvAncillaryBuffer::default(), flags | RecvFlags::TRUNC)?;
    let is_record = received.bytes > 0 || received.flags.contains(ReturnFlags::CTRUNC);
    Ok(is_record.then_some(received.bytes))
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use socket2::{Domain, Type};

    use super::*;

    fn pair() -> (Socket, Socket) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        mark(&ours).unwrap();
        (ours, theirs)
    }

    fn next(socket: &Socket) -> Result<Option<usize>, Errno> {
        receive(socket, &mut [0; 8], RecvFlags::DONTWAIT)
    }

    #[test]
    fn empty_records_are_no_end() {
        let (ours, theirs) = pair();
        for record in ["", "one", "", ""] {
            theirs.send(record.as_bytes()).unwrap();
        }
        assert_eq!((next(&ours), next(&ours)), (Ok(Some(0)), Ok(Some(3))));
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!((next(&ours), next(&ours)), (Ok(Some(0)), Ok(Some(0))));
        assert_eq!((next(&ours), next(&ours)), (Ok(None), Ok(None)));
    }

    #[test]
    fn the_length_of_a_record_is_its_own_and_not_that_of_the_buffer() {
        let (ours, theirs) = pair();
        theirs.send(&[7; 9]).unwrap();
        theirs.send(&[7; 8]).unwrap();
        assert_eq!((next(&ours), next(&ours), next(&ours)), (Ok(Some(9)), Ok(Some(8)), Err(Errno::AGAIN)));
    }

    /// The kernel looks for records and for the end one after the other.
    #[test]
    fn no_record_is_lost_that_comes_just_before_the_end() {
        for _ in 0..2000 {
            let (ours, theirs) = pair();
            let sender = std::thread::spawn(move || theirs.send(b"last"));
            let got = loop {
                match next(&ours) {
                    Err(Errno::AGAIN) => {}
                    other => break other,
                }
            };
            assert_eq!(got, Ok(Some(4)));
            sender.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_socket_that_is_not_marked_has_records_all_the_same() {
        let (ours, theirs) = pair();
        set_socket_passcred(&ours, false).unwrap();
        theirs.send(b"one").unwrap();
        theirs.send(b"").unwrap();
        assert_eq!((next(&ours), next(&ours), next(&ours)), (Ok(Some(3)), Ok(Some(0)), Err(Errno::AGAIN)));
        drop(theirs);
        assert_eq!(next(&ours), Ok(None));
    }
}
