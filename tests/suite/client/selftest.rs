//! `echod selftest`: this daemon is as the RFCs say, and each way of being otherwise is found by the check that is for it.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use super::strangers::{Stranger, echo, reset};
use crate::{
    cli::probe::url,
    harness::{Echod, Finished, Launch, has_mode, listener, port_of_nobody},
};

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

/// So long a step may take where an answer is due: more than it ever needs.
const PATIENT: &str = "10s";

fn selftest(timeout: &str, args: &[&str]) -> Finished {
    Launch::new().args(&["selftest", "--timeout", timeout]).args(args).run()
}

/// The claims of the checks that are not ok. The plan holds, and each says what to do.
#[track_caller]
fn not_ok(report: &Finished) -> Vec<String> {
    let lines: Vec<&str> = report.stdout.lines().collect();
    let numbered = |line: &&&str| line.starts_with("ok ") || line.starts_with("not ok ");
    let checks: Vec<&str> = lines.iter().filter(numbered).copied().collect();
    assert_eq!(lines[..2], ["TAP version 14", &format!("1..{}", checks.len())], "{}", report.stdout);
    for (number, line) in checks.iter().enumerate() {
        let number = format!("ok {} - ", number + 1);
        assert!(line.trim_start_matches("not ").starts_with(&number), "{line}");
    }
    let wrong: Vec<&str> = checks.into_iter().filter(|line| line.starts_with("not ok ")).collect();
    assert_eq!(report.stdout.matches("\n  cure: \"").count(), wrong.len(), "{}", report.stdout);
    let claim =
        |line: &str| Some(line.split_once(" - ")?.1.split_once(": ")?.1.rsplit_once(" (RFC ")?.0.to_owned());
    wrong.into_iter().map(|line| claim(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

#[track_caller]
fn passes(urls: &[String], service: &str) {
    for url in urls {
        let report = selftest(PATIENT, &["--service", service, url]);
        assert_eq!(not_ok(&report), [""; 0], "{}", report.stdout);
        report.expect(0, &[]);
    }
}

/// The check that finds it, and what the report says.
#[track_caller]
fn finds(stranger: &Stranger, service: &str, claims: &[&str], words: &[&str]) {
    finds_within(PATIENT, stranger, service, claims, words);
}

/// The same, where nothing comes.
#[track_caller]
fn finds_within(timeout: &str, stranger: &Stranger, service: &str, claims: &[&str], words: &[&str]) {
    let report = selftest(timeout, &["--service", service, &stranger.url]);
    assert_eq!(not_ok(&report), claims, "{}", report.stdout);
    report.expect(1, &["checks not ok"]);
    for word in words {
        assert!(report.stdout.contains(word), "no {word:?} in:\n{}", report.stdout);
    }
}

macro_rules! passed_by_the_daemon {
    ($($service:ident)*) => {$(
        mod $service {
            #[test] fn iterative() { super::daemon_passes(stringify!($service), "iterative") }
            #[test] fn threading() { super::daemon_passes(stringify!($service), "threading") }
            #[test] fn forking() { super::daemon_passes(stringify!($service), "forking") }
            #[test] fn epoll() { super::daemon_passes(stringify!($service), "epoll") }
            #[test] fn io_uring() { super::daemon_passes(stringify!($service), "io-uring") }
        }
    )*};
}

passed_by_the_daemon! { echo discard chargen qotd daytime time whoami }

#[track_caller]
fn daemon_passes(service: &str, mode: &str) {
    if !has_mode(mode) {
        return;
    }
    let keys = format!("service = \"{service}\"\nmode = \"{mode}\"");
    let toml = PROTOCOLS.map(|protocol| listener(protocol, protocol, &keys)).concat();
    let echod = Echod::start(&toml);
    passes(&PROTOCOLS.map(|protocol| url(&echod, protocol)), service);
}

/// With amplification an empty datagram is answered, as the RFCs have it, and nothing is skipped.
#[test]
fn empty_datagrams_are_answered_where_amplification_is_allowed() {
    for service in ["chargen", "qotd", "daytime", "time"] {
        let keys = format!("service = \"{service}\"\nallow-amplification = true");
        let echod = Echod::start(&listener("it", "udp", &keys));
        let report = selftest(PATIENT, &["--service", service, &url(&echod, "it")]);
        assert_eq!(not_ok(&report), [""; 0]);
        assert!(!report.stdout.contains("# SKIP"), "{}", report.stdout);
    }
}

const END: &str = "a client that ends its side gets the rest, then the end";

#[test]
fn an_echo_that_minds_the_end_of_the_client() {
    let kept = Mutex::new(Vec::new());
    let stays = Stranger::tcp(move |connection| {
        echo(&connection, &|_, _| ())?;
        kept.lock().unwrap().push(connection);
        Ok(())
    });
    finds_within("5s", &stays, "echo", &[END], &["found: \"100000 bytes, then nothing for 5s\""]);
    let resets = Stranger::tcp(|connection| {
        echo(&connection, &|_, _| ())?;
        reset(&connection)
    });
    finds(&resets, "echo", &[END], &["found: \"a reset after "]);
    let says_bye = Stranger::tcp(|connection| {
        echo(&connection, &|_, _| ())?;
        (&connection).write_all(b"bye")
    });
    finds(&says_bye, "echo", &[END], &["more than the 100000 bytes that were due, beginning with 0x62"]);
}

#[test]
fn an_echo_that_changes_what_it_is_sent() {
    let upper = Stranger::echo(|piece, _| piece.make_ascii_uppercase());
    let claims = [
        "a line comes back as it was sent",
        "every byte value comes back",
        "pieces of any size come back as one stream",
        "1,000 messages sent ahead come back in their order",
        "256 KiB come back while they are sent",
        "1 MiB of which nothing is read at first comes back whole",
        END,
        "connections that are open at once keep their bytes apart",
        "a client that resets its connection harms no other",
    ];
    finds(&upper, "echo", &claims, &["byte 0 was sent as 0x65 and came back as 0x45"]);
    // The commands of telnet are two bytes.
    let telnet = Stranger::echo(|piece, _| piece.retain(|byte| *byte != 0xff));
    finds(&telnet, "echo", &[&claims[1..=2], &claims[4..=6]].concat(), &["byte 255 was sent as 0xff"]);
}

/// A byte that is lost, and one that is doubled, deep in a stream.
#[test]
fn an_echo_that_loses_or_doubles_a_byte() {
    let deep = |change: fn(&mut Vec<u8>)| {
        Stranger::echo(move |piece, before| {
            if (before..before + piece.len()).contains(&200_000) {
                change(piece);
            }
        })
    };
    let claims =
        ["256 KiB come back while they are sent", "1 MiB of which nothing is read at first comes back whole"];
    finds(&deep(|piece| _ = piece.remove(0)), "echo", &claims, &["came back as"]);
    finds(&deep(|piece| piece.insert(0, piece[0])), "echo", &claims, &["came back as"]);
}

#[test]
fn a_server_that_never_reads() {
    let kept = Mutex::new(Vec::new());
    let deaf = Stranger::tcp(move |connection| {
        kept.lock().unwrap().push(connection);
        Ok(())
    });
    let report = selftest("200ms", &[&deaf.url]);
    assert_eq!(not_ok(&report).len(), 9, "{}", report.stdout);
    report.expect(1, &["9 of 9 checks not ok"]);
    let report = selftest("200ms", &["--service", "discard", &deaf.url]);
    let claims = ["1 MiB is read", "a client that ends its side gets the end"];
    assert_eq!(not_ok(&report)[..2], claims, "{}", report.stdout);
}

/// What is kept of an answer has a limit, and so has the time that one may take.
#[test]
fn a_server_that_never_ends() {
    let endless = || {
        Stranger::tcp(|mut connection| {
            loop {
                connection.write_all(&[b'x'; 8192])?;
            }
        })
    };
    for service in ["qotd", "daytime", "time"] {
        let report = selftest(PATIENT, &["--service", service, &endless().url]);
        assert!(not_ok(&report).len() >= 3, "{}", report.stdout);
        assert!(report.stdout.contains("found: \"more than 4096 bytes\""), "{}", report.stdout);
        report.expect(1, &[]);
    }
    let report = selftest(PATIENT, &["--service", "echo", &endless().url]);
    report.expect(1, &["9 of 9 checks not ok"]);
}

#[test]
fn a_discard_that_answers_or_leaves() {
    let silence = "64 KiB of every byte value are taken without an answer";
    let echoes = Stranger::echo(|piece, _| piece.truncate(1));
    let claims = [silence, "1 MiB is read", "a client that ends its side gets the end", RUDE];
    finds(&echoes, "discard", &claims, &["an answer that begins with"]);
    let udp = Stranger::udp(|socket, bytes, from| socket.send_to(bytes, from));
    finds(&udp, "discard", &["datagrams of any length get no answer"], &["an answer of 5 bytes to 5 bytes"]);
}

const RUDE: &str = "a client that resets its connection harms no other";

#[test]
fn a_chargen_that_stops() {
    let stops = Stranger::tcp(|mut connection| {
        connection.write_all(&[b'x'; 30_000])?;
        drain(&mut connection)
    });
    let claims = ["what the client sends is thrown away", "characters go on behind a pause of the reader"];
    finds(&stops, "chargen", &claims, &["# SKIP another pattern", "the end of the stream after "]);
}

/// Reads until the client has ended its side, after the end of ours.
fn drain(connection: &mut TcpStream) -> io::Result<()> {
    connection.shutdown(Shutdown::Write)?;
    io::copy(connection, &mut io::sink()).map(drop)
}

/// A server of one answer.
fn says(answer: Vec<u8>) -> Stranger {
    Stranger::tcp(move |mut connection| {
        connection.write_all(&answer)?;
        drain(&mut connection)
    })
}

#[test]
fn answers_that_are_not_as_the_rfc_has_them() {
    finds(&says(vec![b'x'; 513]), "qotd", &["the quote has at most 512 characters"], &["found: \"513\""]);
    let line = "the time is one line of ASCII";
    finds(&says(b"one\r\ntwo\r\n".to_vec()), "daytime", &[line], &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    let (right, claim) =
        (now.wrapping_add(2_208_988_800), "the time is that of this machine within 10 minutes");
    finds(&says(right.to_le_bytes().to_vec()), "time", &[claim], &["the most significant byte first"]);
    finds(&says(now.to_be_bytes().to_vec()), "time", &[claim], &[" s behind"]);
    let long = says(u64::from(right).to_be_bytes().to_vec());
    finds(&long, "time", &["32 bits come without being asked for, then the end", claim], &["8 bytes"]);
}

#[test]
fn datagrams_that_are_not_as_the_rfc_has_them() {
    let short = Stranger::udp(|socket, bytes, from| socket.send_to(&bytes[..bytes.len().min(8192)], from));
    finds(&short, "echo", &["65,507 bytes come back as one datagram"], &["found: \"8192 bytes\""]);
    let busy = Stranger::udp(|socket, bytes, from| match bytes {
        [] => Ok(0),
        _ => socket.send_to(bytes, from),
    });
    finds_within("5s", &busy, "echo", &["an empty datagram comes back empty"], &["nothing within 15s"]);
    let twice = Stranger::udp(|socket, bytes, from| {
        socket.send_to(bytes, from)?;
        socket.send_to(bytes, from)
    });
    finds(&twice, "echo", &["each datagram gets one answer, as long as itself"], &[]);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let elsewhere = Stranger::udp(move |_, bytes, from| other.send_to(bytes, from));
    let claim = "the answer comes from the address and port that were asked";
    finds(&elsewhere, "echo", &[claim], &["found: \"one from 127.0.0.1:"]);
    let amplifies = Stranger::udp(|socket, _, from| socket.send_to(&[b'x'; 600], from));
    finds(&amplifies, "chargen", &["the answer has 0 to 512 characters"], &["found: \"600\""]);
}

#[test]
fn nobody_is_told_from_a_server_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let urls = [
        format!("tcp://127.0.0.1:{}", port_of_nobody("tcp")),
        format!("udp://127.0.0.1:{}", port_of_nobody("udp")),
        format!("unix:{}", dir.path().join("none").display()),
        format!("unix-datagram:{}", dir.path().join("none").display()),
    ];
    for (url, service) in urls.iter().flat_map(|url| [(url, "echo"), (url, "discard"), (url, "time")]) {
        let report = selftest(PATIENT, &["--service", service, url]);
        report.expect(69, &["checks not ok"]);
        let wrong = not_ok(&report);
        assert_eq!(wrong.len(), 1, "{}", report.stdout);
        assert!(report.stdout.contains("nobody is there: "), "{}", report.stdout);
    }
    let silent = Stranger::udp(|_, _, _| Ok(0));
    let report = selftest("100ms", &[&silent.url]);
    report.expect(69, &[]);
    assert!(report.stdout.contains("no answer to 3 datagrams within 300ms"), "{}", report.stdout);
    // One that is wrong counts for more.
    let upper = Stranger::echo(|piece, _| piece.make_ascii_uppercase());
    selftest(PATIENT, &[&urls[0], &upper.url]).expect(1, &[]);
}

#[test]
fn a_command_line_that_is_wrong_is_told() {
    Launch::new().args(&["selftest"]).run().expect(64, &["URL"]);
    for (args, words) in [
        (["--service", "echo", "tcp://127.0.0.1:0"], "write its number"),
        (["--service", "echo", "tcp://127.0.0.1:7?mode=epoll"], "take it out"),
        (["--service", "upper", "tcp://127.0.0.1:7"], "upper"),
        (["--timeout", "soon", "tcp://127.0.0.1:7"], "is no time"),
    ] {
        Launch::new().args(&["selftest"]).args(&args).run().expect(64, &[words]);
    }
}
