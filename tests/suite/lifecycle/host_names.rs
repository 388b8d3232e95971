//! Host names: how often they are looked up, and what goes on while a name server is silent. In a network of their own, whose name
//! server is the test.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Echod, Launch, Manager, PATIENCE, eventually, fitted, may_mount, netns::in_namespace};

const NOT_DONE: &str = "no name server was asked";

/// Lets the daemon ask the name server of the test only, and for long. Its process id is in the file `pid`.
const RESOLVER: &str = "exec unshare --mount sh -ec '
    echo nameserver 127.0.0.1 >resolv.conf; echo options timeout:30 attempts:1 >>resolv.conf
    echo hosts: files dns >nsswitch.conf
    for each in resolv nsswitch; do mount --bind $each.conf /etc/$each.conf; done
    echo $$ >pid; exec \"$0\" \"$@\"' \"$0\" \"$@\"";

const NAMED: &str = "[[listener]]\nname = \"named\"\nprotocol = \"tcp\"\naddress = \"echo.test:7001\"\n";

const NUMBER: &str = "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:7000\"\n";

/// A name server that says of every name that it is 127.0.0.1; or nothing, but it tells `asked` of each question.
fn name_server(answers: bool, asked: Sender<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..length];
            if answers {
                let _ = socket.send_to(&answer(question), from);
            }
            if asked.send(question[2..].to_vec()).is_err() {
                return;
            }
        }
    });
}

/// RFC 1035, section 4: the question, and for type A the address.
fn answer(question: &[u8]) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = question[end - 3] == 1;
    let header = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
    let record: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];
    let record = if is_a { record } else { &[] };
    [header.as_slice(), &question[12..end], record].concat()
}

/// Runs `test` with the questions that a name server is asked.
fn with_name_server(answers: bool, test: impl FnOnce(Receiver<Vec<u8>>) + Send + 'static) {
    if !may_mount(NOT_DONE) {
        return;
    }
    in_namespace("true", move || {
        let (asked, questions) = channel();
        name_server(answers, asked);
        test(questions);
    });
}

fn launch(toml: &str) -> Launch {
    Launch::new().config(toml).shell(RESOLVER)
}

fn pid(dir: &Path) -> Pid {
    let read = || fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok();
    Pid::from_raw(eventually("the process id", read))
}

#[test]
fn a_name_is_looked_up_once() {
    with_name_server(true, |questions| {
        let listener = |name: &str, protocol: &str, ports: &str| {
            format!(
                "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"echo.test:{ports}\"\n"
            )
        };
        let toml = listener("range", "tcp", "7001-7020") + &listener("udp", "udp", "7001") + NUMBER;
        let mut echod = launch(&toml).start();
        assert_eq!(echod.endpoints("range").len(), 20);
        echod.client("udp").echo(b"hello");
        // One for IPv4 and one for IPv6. A question may be asked again where the machine is slow, under its old number.
        let asked = |questions: &Receiver<Vec<u8>>| questions.try_iter().collect::<HashSet<_>>().len();
        assert_eq!(asked(&questions), 2);
        echod.reload(&toml.replace("7001-7020", "7001-7021"));
        let at: SocketAddr = (Ipv4Addr::LOCALHOST, 7021).into();
        std::net::TcpStream::connect(at).unwrap();
        assert_eq!(asked(&questions), 2);
        echod.stop();
    });
}

/// Whatever a start is waiting for.
#[test]
fn a_start_can_be_stopped() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        with_name_server(false, move |questions| {
            let launch = launch(&format!("[daemon]\npid-file = \"it.pid\"\n{NAMED}"));
            let dir = launch.dir().to_owned();
            let started = thread::spawn(move || launch.run());
            questions.recv_timeout(PATIENCE).expect("a question for the name server");
            kill(pid(&dir), signal).unwrap();
            let ended = started.join().unwrap();
            ended.expect(0, &["told to stop before anything was served"]);
            assert!(!ended.stderr.contains("cannot"), "{}", ended.stderr);
            assert!(!ended.dir.path().join("it.pid").exists());
        });
    }
}

#[test]
fn whoever_detaches_is_told_of_a_start_that_was_stopped() {
    with_name_server(false, |questions| {
        let head = "[daemon]\npid-file = \"it.pid\"\n[log]\ntarget = \"file\"\nfile = \"echod.log\"\n";
        let launch = launch(&format!("{head}{NAMED}")).args(&["--daemonize"]);
        let file = launch.dir().join("it.pid");
        let started = thread::spawn(move || launch.detach());
        questions.recv_timeout(PATIENCE).expect("a question for the name server");
        let daemon = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(daemon), Signal::SIGTERM).unwrap();
        started.join().unwrap().expect(75, &["told to stop before anything was served"]);
    });
}

#[test]
fn a_name_without_an_answer_is_told() {
    with_name_server(false, |_questions| {
        let words = "listener \"named\": cannot look up host `echo.test`: there was no answer within 5s";
        launch(NAMED).try_start().err().expect("nothing to bind").expect(69, &[words]);

        let mut echod = launch(NUMBER).start();
        echod.reload(&format!("{NUMBER}{NAMED}"));
        let log = echod.log();
        assert!(log.contains(words) && log.contains("not reloaded: the configuration before stays"), "{log}");
        echod.client("it").echo(b"served as before");
        echod.stop();
    });
}

/// A daemon that waits for a name server serves, lives and ends.
#[test]
fn a_reload_does_not_wait_for_names() {
    with_name_server(false, |questions| {
        let manager = Manager::new();
        let start = || {
            let echod =
                launch(NUMBER).env("NOTIFY_SOCKET", &manager.name).env("WATCHDOG_USEC", 200_000).start();
            fs::write(echod.path("echod.toml"), fitted(&format!("{NUMBER}{NAMED}"))).unwrap();
            echod.signal(Signal::SIGHUP);
            questions.recv_timeout(PATIENCE).expect("a question for the name server");
            echod
        };
        let pings = |count: usize| {
            let is_ping = |message: &String| message.contains("WATCHDOG=1");
            std::iter::repeat_with(|| manager.next()).filter(is_ping).take(count).for_each(drop);
        };
        let has_ended = |echod: &Echod| echod.log().contains("reloaded: ");

        let mut echod = start();
        echod.client("it").echo(b"hello");
        pings(3);
        assert!(!has_ended(&echod), "{}", echod.log());
        // Another one that needs no name server.
        echod.reload(&NUMBER.replace("\"it\"", "\"other\""));
        assert!(echod.log().contains("reloaded: serving 1 listener"), "{}", echod.log());
        echod.stop();

        let mut echod = start();
        echod.signal(Signal::SIGTERM);
        assert!(echod.wait_exit().success());
        assert!(!has_ended(&echod), "{}", echod.log());
        assert!(echod.log().contains("told to stop (SIGTERM): draining"), "{}", echod.log());
    });
}
