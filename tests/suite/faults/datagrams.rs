//! What becomes of replies to datagrams.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{plan, start};
use crate::harness::{Client, Echod, Launch, Patient, eventually, listener};

/// Datagrams that are on their way at once: far fewer than any receive buffer holds.
const WINDOW: u64 = 32;

/// What the plan decides about the datagrams from this source, by its preview.
fn preview(toml: &str, from: &str, count: u64) -> Vec<Value> {
    let count = count.to_string();
    let asked = ["faults", "preview", "--listener", "it", "--from", from, "--count", &count, "-o", "json"];
    let told = Launch::new().config(toml).args(&asked).run();
    told.expect(0, &[]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&told["plan"], &told["seed"], &told["hits"]), (&"plan".into(), &42.into(), &true.into()));
    told["decisions"].as_array().unwrap().clone()
}

fn fault(decision: &Value) -> &str {
    decision["fault"].as_str().unwrap_or("none")
}

/// The number, several times: one flipped bit does not make it another request.
fn request(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(4)
}

/// Sends as many datagrams as there are decisions, and returns every reply by the number of its request, as far as that can still be
/// read, and in the order of arrival.
fn exchange(socket: &Patient<UdpSocket>, to: SocketAddr, decisions: &[Value]) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    let mut buffer = [0; 100];
    let mut expected = 0;
    for (at, decision) in decisions.iter().enumerate() {
        let number = decision["number"].as_u64().unwrap();
        socket.send_to(&request(number), to).unwrap();
        expected += match fault(decision) {
            "drop" => 0,
            "duplicate" => 2,
            _ => 1,
        };
        if number.is_multiple_of(WINDOW) || at + 1 == decisions.len() {
            while replies.len() < expected {
                let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
                    panic!("{} replies of {expected} after {number} datagrams: {error}", replies.len())
                });
                replies.push(buffer[..length].to_vec());
            }
        }
    }
    replies
}

/// Two runs with one worker and two with four, of one mode: the same datagrams are lost as the preview says.
fn the_lost_ones_are_those_of_the_preview(mode: &str) {
    let client = Patient::udp(("127.0.0.1", 0));
    let port = client.local_addr().unwrap().port();
    for workers in ["1", "4"] {
        if workers == "4" && mode.contains("iterative") {
            continue;
        }
        let workers =
            if mode.contains("iterative") { String::new() } else { format!("workers = {workers}\n") };
        let toml =
            plan("drop = \"2%\"") + &listener("it", "udp", &format!("{mode}{workers}faults = \"plan\""));
        let decisions = preview(&toml, &format!("127.0.0.1:{port}"), 2000);
        let lost = decisions.iter().filter(|decision| fault(decision) == "drop").count() as u64;
        assert!((10..80).contains(&lost), "{lost}");
        for _ in 0..2 {
            let daemon = Echod::start(&toml);
            let replies = exchange(&client, daemon.endpoint("it").inet(), &decisions);
            let mut numbers: Vec<u64> =
                replies.iter().map(|reply| u64::from_be_bytes(reply[..8].try_into().unwrap())).collect();
            numbers.sort_unstable();
            let kept = decisions.iter().filter(|decision| fault(decision) != "drop");
            let kept: Vec<u64> = kept.map(|decision| decision["number"].as_u64().unwrap()).collect();
            assert_eq!(numbers, kept, "{mode}{workers}");
            daemon.wait_state("it", |state| state["fault-drop"] == lost && state["served"] == 2000);
        }
    }
}

/// A reply is lost, doubled, spoilt, cut, late or behind later ones exactly where the preview says, and each is counted.
fn every_fault_is_that_of_the_preview(mode: &str) {
    let client = Patient::udp(("127.0.0.1", 0));
    let port = client.local_addr().unwrap().port();
    let keys = "drop = \"3%\"\nduplicate = \"3%\"\ncorrupt = \"3%\"\ntruncate = \"3% to 10B\"\nreorder = \"3% by 3\"\n\
                delay = \"2ms +-1ms\"\n";
    let toml = plan(keys) + &listener("it", "udp", &format!("{mode}faults = \"plan\""));
    let decisions = preview(&toml, &format!("127.0.0.1:{port}"), 640);
    let daemon = Echod::start(&toml);
    let replies = exchange(&client, daemon.endpoint("it").inet(), &decisions);
    let mut found: BTreeMap<u64, usize> = BTreeMap::new();
    let (mut spoilt, mut short) = (0, 0);
    for reply in &replies {
        if reply.len() == 10 {
            short += 1;
            continue;
        }
        let number = u64::from_be_bytes(reply[..8].try_into().unwrap());
        if *reply == request(number) {
            *found.entry(number).or_default() += 1;
            continue;
        }
        let differs = |number: u64| {
            let bits = reply.iter().zip(request(number)).map(|(a, b)| (a ^ b).count_ones());
            reply.len() == request(number).len() && bits.sum::<u32>() == 1
        };
        let of_one = decisions.iter().filter(|decision| fault(decision) == "corrupt");
        assert!(of_one.map(|decision| decision["number"].as_u64().unwrap()).any(differs), "{reply:?}");
        spoilt += 1;
    }
    let count = |word: &str| decisions.iter().filter(|decision| fault(decision) == word).count();
    assert_eq!((spoilt, short), (count("corrupt"), count("truncate")), "{mode}");
    for decision in &decisions {
        let expected = match fault(decision) {
            "duplicate" => 2,
            "none" | "reorder" => 1,
            _ => 0,
        };
        let number = decision["number"].as_u64().unwrap();
        assert_eq!(found.get(&number).copied().unwrap_or_default(), expected, "{mode}: {decision}");
    }
    let state = daemon.state("it");
    for word in ["drop", "duplicate", "corrupt", "truncate", "reorder"] {
        assert_eq!(state[&format!("fault-{word}")], count(word) as u64, "{mode}: {word}");
    }
    assert_eq!(state["fault-delay"], (640 - count("drop")) as u64);
}

/// Three later replies go first.
fn a_held_reply_comes_behind_later_ones(mode: &str) {
    let client = Patient::udp(("127.0.0.1", 0));
    let port = client.local_addr().unwrap().port();
    let toml = plan("reorder = \"6% by 3\"") + &listener("it", "udp", &format!("{mode}faults = \"plan\""));
    let decisions = preview(&toml, &format!("127.0.0.1:{port}"), 320);
    let held = decisions.iter().filter(|decision| fault(decision) == "reorder");
    let held: Vec<u64> = held.map(|decision| decision["number"].as_u64().unwrap()).collect();
    assert!(!held.is_empty());
    // At the end of a window none may follow.
    let window_of = |number: u64| number.div_ceil(WINDOW);
    let may_follow = |number: u64| {
        let later = (number + 1..=320).take_while(|later| window_of(*later) == window_of(number));
        later.filter(|later| fault(&decisions[*later as usize - 1]) == "none").count() >= 3
    };
    once_of_some("a held reply comes too early", || {
        let daemon = Echod::start(&toml);
        let replies = exchange(&client, daemon.endpoint("it").inet(), &decisions);
        let numbers: Vec<u64> =
            replies.iter().map(|reply| u64::from_be_bytes(reply[..8].try_into().unwrap())).collect();
        held.iter().filter(|number| may_follow(**number)).all(|number| {
            let before = numbers.iter().take_while(|other| *other != number);
            before.filter(|other| *other > number).count() >= 3
        })
    });
}

/// Tries it a few times: a reply is held for 100 ms at most, and the machine may stand still for longer while the requests are sent.
fn once_of_some(what_else: &str, is_right: impl FnMut() -> bool) {
    assert!(std::iter::repeat_with(is_right).take(5).any(|is_right| is_right), "each time {what_else}");
}

/// The numbers in the order in which their replies should leave: a held one goes behind the third later one that has gone.
fn order(decisions: &[Value]) -> Vec<u64> {
    let (mut gone, mut waiting): (Vec<u64>, Vec<u64>) = Default::default();
    for decision in decisions {
        let number = decision["number"].as_u64().unwrap();
        match fault(decision) {
            "reorder" => waiting.push(number),
            _ => gone.push(number),
        }
        while let Some(at) =
            waiting.iter().position(|held| gone.iter().filter(|later| *later > held).count() >= 3)
        {
            gone.push(waiting.remove(at));
        }
    }
    gone.extend(waiting);
    gone
}

/// Late replies have gone when they leave, not when they begin to be late.
fn late_replies_are_out_of_order_as_the_preview_says(mode: &str) {
    let client = Patient::udp(("127.0.0.1", 0));
    let port = client.local_addr().unwrap().port();
    let workers = if mode.contains("iterative") { "" } else { "workers = 1\n" };
    let keys = "reorder = \"20% by 3\"\ndelay = \"300ms\"";
    let toml = plan(keys) + &listener("it", "udp", &format!("{mode}{workers}faults = \"plan\""));
    let decisions = preview(&toml, &format!("127.0.0.1:{port}"), WINDOW);
    let expected = order(&decisions);
    once_of_some(&format!("another order than {expected:?}"), || {
        let mut daemon = Echod::start(&toml);
        let replies = exchange(&client, daemon.endpoint("it").inet(), &decisions);
        let held = decisions.iter().filter(|decision| fault(decision) == "reorder").count() as u64;
        assert_eq!(daemon.state("it")["fault-reorder"], held, "{mode}");
        daemon.stop();
        let numbers = replies.iter().map(|reply| u64::from_be_bytes(reply[..8].try_into().unwrap()));
        numbers.collect::<Vec<_>>() == expected
    });
}

macro_rules! in_each_mode {
    ($($name:ident)*) => {$(
        mod $name {
            #[test] fn iterative() { super::$name(super::super::MODES[0]) }
            #[test] fn threading() { super::$name(super::super::MODES[1]) }
            #[test] fn forking() { super::$name(super::super::MODES[2]) }
            #[test] fn select() { super::$name(super::super::MODES[3]) }
            #[test] fn poll() { super::$name(super::super::MODES[4]) }
            #[test] fn epoll() { super::$name(super::super::MODES[5]) }
            #[test] fn edge() { super::$name(super::super::MODES[6]) }
            #[test] fn io_uring() { super::$name(super::super::MODES[7]) }
        }
    )*};
}

in_each_mode! {
    the_lost_ones_are_those_of_the_preview every_fault_is_that_of_the_preview a_held_reply_comes_behind_later_ones
    late_replies_are_out_of_order_as_the_preview_says
}

/// With a process or a thread for each datagram too: late replies are sent before a process ends.
#[test]
fn a_worker_for_each_datagram_holds_replies_as_well() {
    for mode in ["threading", "forking"] {
        let listener = format!("mode = \"{mode}\"\nworkers = \"per-request\"\n");
        let mut daemon = start("udp", "delay = \"30ms\"\nduplicate = \"100%\"", &listener);
        let client = daemon.client("it");
        for number in 0..5_u64 {
            let asked = Instant::now();
            client.send(&request(number));
            assert_eq!((client.receive(0), client.receive(0)), (request(number), request(number)), "{mode}");
            assert!(asked.elapsed() >= Duration::from_millis(30), "{mode}");
        }
        daemon.stop();
    }
}

#[test]
fn no_reply_is_early_and_no_later_one_waits_for_it() {
    let daemon = start("udp", "delay = \"50ms\"", "");
    let clients: Vec<_> = (0..20).map(|_| daemon.client("it")).collect();
    let asked = Instant::now();
    clients.iter().enumerate().for_each(|(number, client)| client.send(&request(number as u64)));
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.receive(0), request(number as u64));
    }
    assert!(asked.elapsed() >= Duration::from_millis(50));
    assert_eq!(daemon.state("it")["fault-delay"], 20);
}

/// The line of late replies is bounded in bytes; the daemon ends although it holds replies for an hour.
#[test]
fn too_many_late_replies_are_lost_and_counted() {
    let toml = plan("delay = \"1h\"").replace("[daemon]\n", "[daemon]\ndrain-timeout = \"50ms\"\n");
    let mut daemon =
        Echod::start(&(toml + &listener("it", "unix-datagram", "faults = \"plan\"\nmode = \"epoll\"")));
    let client = daemon.client("it");
    // Of 64 MiB, with more than 60,000 bytes each.
    (0..1_200).for_each(|_| client.send(&vec![7; 60_000]));
    daemon.wait_state("it", |state| state["served"] == 1_200);
    let state = daemon.state("it");
    let overflow = state["fault-overflow"];
    assert!((80..200).contains(&overflow), "{overflow}");
    assert_eq!(state["sent"], 0);
    daemon.stop();
}

/// The faults of unix datagrams go by the name of the client's socket.
#[test]
fn unix_datagrams_are_hit_by_the_name_of_their_socket() {
    let toml = plan("drop = \"20%\"") + &listener("it", "unix-datagram", "faults = \"plan\"");
    let daemon = Echod::start(&toml);
    let path = daemon.path("client.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.connect(daemon.path("it.sock")).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let decisions = preview(&toml, path.to_str().unwrap(), 60);
    let kept = decisions.iter().filter(|decision| fault(decision) != "drop");
    let kept: Vec<u64> = kept.map(|decision| decision["number"].as_u64().unwrap()).collect();
    assert!((30..58).contains(&kept.len()), "{kept:?}");
    for number in 1..=60 {
        socket.send(&request(number)).unwrap();
        if kept.contains(&number) {
            let mut reply = [0; 100];
            let length = crate::harness::uninterrupted(|| socket.recv(&mut reply)).unwrap();
            assert_eq!(reply[..length], request(number));
        }
    }
    daemon.wait_state("it", |state| state["fault-drop"] == 60 - kept.len() as u64);
}

/// A source outside of `from` is answered as if there were no plan.
#[test]
fn only_the_networks_of_from_are_hit() {
    let toml = plan("from = \"127.0.0.9\"\ndrop = \"100%\"") + &listener("it", "udp", "faults = \"plan\"");
    let daemon = Echod::start(&toml);
    let other = Client::connect_from(&daemon.endpoint("it"), "127.0.0.8");
    (0..50).for_each(|number| other.echo(&request(number)));
    let hit = Client::connect_from(&daemon.endpoint("it"), "127.0.0.9");
    hit.send(b"lost");
    eventually("the datagram that is lost", || (daemon.state("it")["fault-drop"] == 1).then_some(()));
    assert!(hit.has_nothing());
    assert_eq!(daemon.state("it")["fault-drop"], 1);
}

/// What a guard refuses stays refused, and takes no number: otherwise numbers would depend on what others send.
#[test]
fn refused_datagrams_are_not_numbered() {
    let keys = "faults = \"plan\"\ndeny = \"127.0.0.7\"\nallow = \"127.0.0.0/8\"";
    let toml = plan("duplicate = \"100%\"") + &listener("it", "udp", keys);
    let daemon = Echod::start(&toml);
    let refused = Client::connect_from(&daemon.endpoint("it"), "127.0.0.7");
    refused.send(b"refused");
    daemon.wait_state("it", |state| state["denied"] == 1);
    let client = daemon.client("it");
    client.echo(b"one");
    assert_eq!(client.receive(0), b"one");
    let state = daemon.state("it");
    assert_eq!((state["fault-duplicate"], state["served"]), (1, 1));
    assert!(refused.has_nothing());
}
