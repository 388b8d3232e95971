//! Servers that lose, change, repeat, delay or end: each probe has the fate that its server gave it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;

use super::{LONG_ENOUGH, adds_up, answered, count, ping, probes, replies, report, text::summary};
use crate::{
    client::strangers::{Stranger, echo},
    harness::port_of_nobody,
};

/// What the server does with a datagram that it gets for the `n`th time from 1.
pub(super) fn faulty(fault: impl Fn(&mut dyn FnMut(&[u8]), u64, &[u8]) + Send + 'static) -> Stranger {
    let seen = AtomicU64::new(0);
    Stranger::udp(move |socket, datagram, from| {
        // An empty one only wakes the server.
        if !datagram.is_empty() {
            let n = seen.fetch_add(1, Relaxed) + 1;
            fault(&mut |answer| drop(socket.send_to(answer, from)), n, datagram);
        }
        Ok(0)
    })
}

/// The books balance: what the server has done is what the client has seen.
#[test]
fn every_fault_is_counted_for_what_it_is() {
    let done = Arc::new(Mutex::new([0; 5]));
    let counts = Arc::clone(&done);
    let server = faulty(move |answer, n, datagram| {
        let mut counts = counts.lock().unwrap();
        let mut changed = datagram.to_vec();
        match n % 8 {
            1 => counts[0] += 1, // lost
            3 => {
                counts[1] += 1;
                answer(datagram);
            }
            4 => {
                counts[2] += 1;
                changed[40] ^= 0x20;
                return answer(&changed);
            }
            5 => {
                counts[3] += 1;
                return answer(&datagram[..63]);
            }
            6 => {
                counts[4] += 1;
                answer(&[b'?'; 64]);
            }
            _ => {}
        }
        if n % 8 != 1 {
            answer(datagram);
        }
    });
    let report = report(0, &["-c", "32", "-i", "10ms", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 32);
    let [lost, duplicate, flipped, cut, stray] = *done.lock().unwrap();
    assert_eq!(probes(&report, "lost"), lost + flipped + cut, "{report:#}");
    assert_eq!(answered(&report), probes(&report, "sent") - lost - flipped - cut, "{report:#}");
    assert_eq!(
        (replies(&report, "duplicate"), replies(&report, "corrupt")),
        (duplicate, flipped + cut),
        "{report:#}"
    );
    assert_eq!((replies(&report, "stray"), replies(&report, "reordered")), (stray, 0), "{report:#}");
}

/// The server holds an answer back until it has given that to the next probe.
#[test]
fn the_later_one_of_two_is_reordered() {
    let held = Mutex::new(None);
    let server = faulty(move |answer, n, datagram| {
        let mut held = held.lock().unwrap();
        if n == 2 {
            *held = Some(datagram.to_vec());
            return;
        }
        answer(datagram);
        if let Some(held) = held.take() {
            answer(&held);
        }
    });
    let report = report(0, &["-c", "5", "-i", "20ms", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 5);
    // If the machine was so busy that no third one was sent, the second has no answer.
    let sent = probes(&report, "sent");
    let expected = if sent > 2 { (sent, 1) } else { (1, 0) };
    assert_eq!((answered(&report), replies(&report, "reordered")), expected, "{report:#}");
}

/// An answer that comes after its time, to a client that is still there.
#[test]
fn a_late_answer_is_late_and_not_lost() {
    let held = Mutex::new(Vec::new());
    let server = faulty(move |answer, n, datagram| {
        let mut held = held.lock().unwrap();
        held.push(datagram.to_vec());
        if n == 3 {
            held.drain(..).for_each(|datagram| answer(&datagram));
        }
    });
    // Probes are this far apart, or skipped.
    let finished = ping(&["-o", "jsonl", "-c", "3", "-i", "400ms", "-W", "200ms", &server.url]);
    let mut lines: Vec<Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let report = lines.pop().unwrap();
    adds_up(&report, 3);
    // The line that calls a probe late replaces an earlier one that called it lost.
    let mut told = std::collections::BTreeMap::new();
    for line in &lines {
        let Value::String(fate) = &line["probe"]["fate"] else { panic!("{line}") };
        let before = told.insert(line["probe"]["seq"].as_u64(), fate.as_str());
        assert!(before.is_none() || before == Some("lost") && fate == "late", "{lines:#?}");
    }
    let late = told.values().filter(|fate| **fate == "late").count() as u64;
    assert_eq!((told.len(), late), (3, probes(&report, "late")), "{lines:#?}");
    // Else the machine was too busy to send a third one, for which the server waits.
    if probes(&report, "sent") == 3 && answered(&report) > 0 {
        finished.expect(0, &[]);
        assert!(probes(&report, "late") >= 2, "{report:#}");
        assert_eq!(probes(&report, "lost"), 0, "{report:#}");
    }
}

#[test]
fn a_stream_that_changes_bytes_is_corrupt() {
    // A byte of the second message, however the stream is cut into pieces.
    let server = Stranger::echo(|piece, before| {
        if let Some(byte) = 104_usize.checked_sub(before).and_then(|at| piece.get_mut(at)) {
            *byte ^= 1;
        }
    });
    let report = report(0, &["-c", "4", "-i", "20ms", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 4);
    let corrupt = u64::from(probes(&report, "sent") > 1);
    assert_eq!((replies(&report, "corrupt"), probes(&report, "lost")), (corrupt, corrupt), "{report:#}");
}

#[test]
fn a_connection_that_breaks_is_seen_and_made_again() {
    // Every connection ends after its second message.
    let server = Stranger::tcp(|connection| {
        let mut message = [0; 64];
        for _ in 0..2 {
            std::io::Read::read_exact(&mut &connection, &mut message)?;
            std::io::Write::write_all(&mut &connection, &message)?;
        }
        Ok(())
    });
    let text = ping(&["-c", "6", "-i", "100ms", "-W", "2s", &server.url]);
    text.expect(0, &[]);
    assert!(text.stdout.contains("connection closed: by the server"), "{}", text.stdout);
    let report = report(0, &["-c", "6", "-i", "100ms", "-W", "2s", &server.url]);
    adds_up(&report, 6);
    assert!(answered(&report) >= 2, "{report:#}");
    assert!(count(&report, "connect_ns", "n") >= 2, "{report:#}");
}

#[test]
fn nobody_there_is_refused_and_silence_is_lost() {
    let tcp = format!("tcp://127.0.0.1:{}", port_of_nobody("tcp"));
    let udp = format!("udp://127.0.0.1:{}", port_of_nobody("udp"));
    let unix = "unix:nothing.sock".to_owned();
    let datagram = "unix-datagram:@echod-ping-nobody".to_owned();
    let options = ["-c", "3", "-i", "10ms", "-W", "2s"];
    for url in [&tcp, &udp, &unix, &datagram] {
        let report = report(69, &[&options[..], &[url]].concat());
        adds_up(&report, 3);
        assert_eq!(probes(&report, "refused"), probes(&report, "sent"), "{url}: {report:#}");
    }
    let report = report(69, &[&options[..], &["--connect", &tcp]].concat());
    assert_eq!(probes(&report, "refused"), probes(&report, "sent"), "{report:#}");
    let silent = faulty(|_, _, _| {});
    let text = ping(&["-c", "2", "-i", "10ms", "-W", "100ms", &silent.url]);
    text.expect(69, &["no answer from udp://"]);
    let sent = summary(&text.stdout);
    assert_eq!((sent.received, sent.loss.as_str(), sent.rtt), (0, "100", None), "{}", text.stdout);
    assert_eq!(text.stdout.matches("no answer for seq=").count() as u64, sent.transmitted, "{}", text.stdout);
}

/// An echo that closes its end first is still an echo.
#[test]
fn a_server_that_does_not_close_has_no_time_for_it() {
    let server = Stranger::tcp(|connection| {
        echo(&connection, &|_, _| {})?;
        // The client goes when it has waited long enough.
        let mut rest = [0; 1];
        let _ = std::io::Read::read(&mut &connection, &mut rest);
        std::mem::forget(connection);
        Ok(())
    });
    let report = report(0, &["--connect", "-c", "1", "-W", LONG_ENOUGH, &server.url]);
    adds_up(&report, 1);
    assert_eq!((answered(&report), count(&report, "connect_ns", "n")), (1, 1), "{report:#}");
}
