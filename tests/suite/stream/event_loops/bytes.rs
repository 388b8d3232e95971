//! What arrives is answered whole, at once and up to the end: e03, e04, e08.

use std::{io::IoSlice, thread};

use nix::sys::signal::Signal;
use socket2::MsgHdr;

use super::{STREAMS, it};
use crate::harness::{LONG, pattern};

/// What the connection receives at once, at most.
const FULL: usize = 32_768;

in_every_mode! { e03_e04_no_byte_is_lost_or_late e04_a_message_may_end_before_the_input_does e08_half_close }

fn e03_e04_no_byte_is_lost_or_late(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "receive-buffer = 2304");
        let client = daemon.client("it");
        // Byte by byte, each answered before the next, and all in a row.
        pattern(200).iter().for_each(|byte| client.echo(&[*byte]));
        let bytes = pattern(3000);
        thread::scope(|scope| {
            scope.spawn(|| bytes.iter().for_each(|byte| client.send(&[*byte])));
            assert!(client.receive(bytes.len()) == bytes);
        });
        // Many messages in one segment, the last of them half; then its other half.
        let messages = b"hello world\n".repeat(100);
        client.echo(&messages[..messages.len() - 6]);
        client.echo(&messages[messages.len() - 6..]);

        // All that is here arrives before the loop looks: as much as is received at once, and a byte less or more.
        let daemon = it(mode, socket, "");
        for length in [1, FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 1, LONG] {
            let client = daemon.client("it");
            client.echo(b"accepted");
            daemon.signal(Signal::SIGSTOP);
            let written = client.flood(pattern(length));
            daemon.signal(Signal::SIGCONT);
            assert!(client.receive(written) == pattern(written), "{written} bytes at once");
        }
    }
}

/// A receive stops at urgent data (tcp(7)) and at descriptors that were sent along (unix(7)), although there is more: who
/// takes a short receive for the last one leaves the rest until something else happens.
fn e04_a_message_may_end_before_the_input_does(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        let client = daemon.client("it");
        client.echo(b"accepted");
        daemon.signal(Signal::SIGSTOP);
        client.send(b"before");
        if socket.0 == "tcp" {
            assert_eq!(client.socket.send_out_of_band(b"!").unwrap(), 1);
        } else {
            // One SCM_RIGHTS, see cmsg(3): its length, level and type, and standard error to pass on.
            let head = [[20, 0], [1, 1], [2, 0]].map(|words| words.map(i32::to_ne_bytes).concat()).concat();
            let piece = [IoSlice::new(b"!")];
            let message = MsgHdr::new().with_buffers(&piece).with_control(&head);
            assert_eq!(client.socket.sendmsg(&message, 0).unwrap(), 1);
        }
        client.send(b"after");
        client.wait_arrived();
        daemon.signal(Signal::SIGCONT);
        let expected = b"before!after";
        assert_eq!(client.receive(expected.len()), expected);
    }
}

fn e08_half_close(mode: &'static str) {
    for socket in STREAMS {
        let daemon = it(mode, socket, "");
        for length in [0, 1, FULL - 1, FULL, FULL + 1, LONG] {
            // The end of file arrives together with the bytes, behind them, or while they are being sent.
            for stopped in [true, false] {
                let client = daemon.client("it");
                client.echo(b"accepted");
                if stopped {
                    daemon.signal(Signal::SIGSTOP);
                }
                let written = client.flood(pattern(length));
                client.half_close();
                daemon.signal(Signal::SIGCONT);
                assert!(client.rest() == pattern(written), "{written} bytes and the end of file");
            }
        }
        daemon.wait_state("it", |state| state["open"] == 0 && state["resets"] == 0 && state["errors"] == 0);
    }
}
