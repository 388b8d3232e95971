//! The command line and the configuration file: what is accepted, what is refused, and in which words.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use crate::common::{Echod, Finished, Launch};

const LISTENER: &str = "[[listener]]\nname = \"web\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";

#[test]
fn every_file_of_the_project_passes_its_check() {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap();
    let mut checked = 0;
    for path in
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        let checked_file = Launch::new().args(&["--check", "--config", path.to_str().unwrap()]).run();
        checked_file.expect(0, &[]);
        checked += 1;
    }
    assert!(checked > 0);
}

/// Says what would run, and does not: the address is taken.
#[test]
fn check_binds_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml =
        format!("{}[[listener]]\nname = \"file\"\nprotocol = \"unix\"\naddress = \"it.sock\"\n", LISTENER)
            .replace("127.0.0.1:0", &address);
    let checked = Launch::new().config(&toml).args(&["--check"]).run();
    checked.expect(0, &[]);
    for word in ["web", &address, "it.sock", "epoll", "echo"] {
        assert!(checked.stdout.contains(word), "no {word:?} in {}", checked.stdout);
    }
    assert!(!checked.dir.path().join("it.sock").exists());
}

#[test]
fn check_works_without_a_file() {
    let checked = Launch::new().args(&["--check"]).run();
    checked.expect(0, &[]);
    assert!(
        checked.stdout.contains("127.0.0.1:7777") && checked.stdout.contains("[::1]:7777"),
        "{}",
        checked.stdout
    );
}

/// What `--print-config` prints is a file that means the same.
#[test]
fn printed_configuration_prints_itself() {
    let every_key = "[daemon]\ndrain-timeout = \"1m 30s\"\nexit-idle-time = \"2h\"\n\
        [log]\nlevel = \"warn\"\nformat = \"json\"\n[defaults]\nmode = \"forking\"\n\
        [[listener]]\nname = \"all\"\nprotocol = \"tcp\"\naddress = [\"127.0.0.1:7000-7009\", \"[::1]:7\", \"localhost:0\"]\n\
        optional = true\nmode = \"threading\"\nworkers = \"auto\"\nservice = \"qotd\"\nquote = \"so \\\"it\\\" goes\"\n\
        max-connections = 7\nmax-requests = 9\npayload = \"hex\"\nv6-only = true\nbacklog = 3\nreuse-address = false\n\
        reuse-port = true\nnodelay = false\nkeepalive = \"75s\"\nreceive-buffer = \"64KiB\"\nsend-buffer = 5000\n\
        [[listener]]\nname = \"u\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\nworkers = 3\nallow-amplification = true\n\
        [[listener]]\nname = \"x\"\nprotocol = \"unix\"\naddress = \"it.sock\"\nsocket-mode = \"0600\"\nsocket-user = \"root\"\n\
        [[listener]]\nname = \"y\"\nprotocol = \"unix-datagram\"\naddress = \"@name\"\nworkers = \"per-request\"\n\
        [[listener]]\nname = \"off\"\nenabled = false\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n";
    for toml in ["", LISTENER, every_key] {
        let launch = if toml.is_empty() { Launch::new() } else { Launch::new().config(toml) };
        let first = print(launch);
        let again = print(Launch::new().config(&first));
        assert_eq!(first, again);
        let table = first.parse::<toml::Table>().unwrap();
        assert!(table.contains_key("listener") && table.contains_key("daemon"), "{first}");
    }
    let printed = print(Launch::new().config(every_key)).parse::<toml::Table>().unwrap();
    let all = &printed["listener"][0];
    assert_eq!(all["name"].as_str(), Some("all"));
    assert_eq!(all["mode"].as_str(), Some("threading"));
    assert_eq!(all["workers"].as_str(), Some("auto"));
    assert_eq!(all["max-connections"].as_integer(), Some(7));
    assert_eq!(all["quote"].as_str(), Some("so \"it\" goes"));
    assert_eq!(printed["listener"][1]["mode"].as_str(), Some("forking"));
    assert_eq!(printed["listener"].as_array().unwrap().len(), 4);
}

/// c29, d09: how many are served at once where nobody says.
#[test]
fn c29_d09_default_limits() {
    for (mode, limit) in [
        ("iterative", 1),
        ("threading", 1024),
        ("forking", 40),
        ("select", 960),
        ("poll", 10_000),
        ("epoll", 10_000),
    ] {
        let printed = print(Launch::new().config(&format!("{LISTENER}mode = \"{mode}\"\n")));
        let table = printed.parse::<toml::Table>().unwrap();
        assert_eq!(table["listener"][0]["max-connections"].as_integer(), Some(limit), "{mode}");
    }
}

#[test]
fn a_misspelt_key_is_cited_with_the_nearest_one() {
    let failed = Launch::new().config(&format!("{LISTENER}max-conections = 3\n")).run();
    failed.expect(
        78,
        &[
            "max-conections",
            "echod.toml:5:1",
            "^^^^^^^^^^^^^^",
            "did you mean `max-connections`",
            "max-conections = 3",
        ],
    );
}

#[test]
fn all_faults_are_reported_in_one_run() {
    let toml = format!(
        "[daemon]\ndrain-timeout = \"soon\"\n{LISTENER}{LISTENER}[[listener]]\nname = \"u\"\nprotocol = \"udp\"\n\
         address = \"nonsense\"\nsocket-mode = \"9\"\n"
    );
    refused(&toml, &["drain-timeout", "soon", "web", "nonsense", "socket-mode"]);
}

#[test]
fn faulty_values_are_refused() {
    for (key, word) in [
        ("mode = \"threaded\"", "threading"),
        ("service = \"ehco\"", "echo"),
        ("workers = 0", "workers"),
        ("workers = \"many\"", "workers"),
        ("max-connections = -1", "max-connections"),
        ("keepalive = \"-3s\"", "keepalive"),
        ("payload = \"yes\"", "payload"),
        ("nodelay = \"perhaps\"", "nodelay"),
        ("receive-buffer = \"64 bananas\"", "receive-buffer"),
        ("socket-mode = \"0666\"", "socket-mode"),
        ("allow-amplification = true", "allow-amplification"),
    ] {
        let toml = format!("{LISTENER}{key}\n");
        refused(&toml, &[key.split(' ').next().unwrap(), word, "echod.toml:5:"]);
    }
}

#[test]
fn faulty_listeners_are_refused() {
    let listener = |protocol: &str, address: &str| {
        format!("[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n")
    };
    refused(&listener("sctp", "127.0.0.1:0"), &["sctp"]);
    refused(&listener("tcp", "127.0.0.1"), &["127.0.0.1"]);
    refused(&listener("tcp", "127.0.0.1:70000"), &["70000"]);
    refused(&listener("tcp", "127.0.0.1:7009-7000"), &["7009-7000"]);
    refused("[[listener]]\nname = \"it\"\naddress = \"127.0.0.1:0\"\n", &["protocol"]);
    refused("[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\n", &["address"]);
    refused("[[listener]\n", &["echod.toml:1:"]);
    refused(
        &listener("unix", "it.sock").replace("[[", "[daemon]\nsocket-user = \"nobody\"\n[["),
        &["socket-user"],
    );
    refused(
        &(listener("unix", "it.sock") + "socket-user = \"no-such-user-here\"\n"),
        &["no-such-user-here", "echod.toml:5:"],
    );
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let two = LISTENER.replace(":0", ":7777") + &LISTENER.replace(":0", ":7777").replace("web", "other");
    refused(&two, &["127.0.0.1:7777", "web", "other"]);
    // Port 0 is another one each time, and protocols do not share their ports.
    let fine = LISTENER.to_owned()
        + &LISTENER.replace("web", "other")
        + &LISTENER.replace("web", "u").replace("tcp", "udp");
    Launch::new().config(&fine).args(&["--check"]).run().expect(0, &[]);
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    for args in [&["--no-such-flag"][..], &["--log-level", "loud"], &["surplus"]] {
        Launch::new().args(args).run().expect(64, &[args[args.len() - 1].trim_start_matches('-')]);
    }
    for args in [&["--help"][..], &["-h"]] {
        let help = Launch::new().args(args).run();
        help.expect(0, &[]);
        for flag in [
            "--config",
            "--listen",
            "--check",
            "--print-config",
            "--announce",
            "--verbose",
            "--quiet",
            "--log-level",
            "--log-format",
        ] {
            assert!(help.stdout.contains(flag), "no {flag} in the help");
        }
    }
    let version = Launch::new().args(&["--version"]).run();
    assert_eq!(version.stdout.trim(), concat!("echod ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_missing_file_is_66() {
    Launch::new().args(&["--config", "nowhere.toml"]).run().expect(66, &["cannot read", "nowhere.toml"]);
}

#[test]
fn a_port_in_use_is_69() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for (protocol, port) in
        [("tcp", tcp.local_addr().unwrap().port()), ("udp", udp.local_addr().unwrap().port())]
    {
        let url = format!("{protocol}://127.0.0.1:{port}");
        let failed = Launch::new().args(&["--announce", "-l", &url]).run();
        failed.expect(69, &["cannot bind", &url, "in use"]);
        assert!(failed.stdout.is_empty(), "{}", failed.stdout);
        assert_eq!(failed.stderr.matches("cannot bind").count(), 1, "{}", failed.stderr);
    }
}

#[test]
fn listen_takes_every_key_as_a_parameter() {
    let daemon = Echod::with_args(&[
        "--listen",
        "tcp://127.0.0.1:0?name=loud&mode=forking&service=upper&max-connections=3&nodelay=false",
        "-l",
        "udp://[::1]:0?name=u&workers=2",
        "-l",
        "unix:it.sock?name=x&socket-mode=0600&payload=text",
        "-l",
        "unix-datagram:d.sock?mode=iterative&name=d",
    ]);
    assert_eq!(daemon.announced.len(), 4);
    let loud = &daemon.announced[0];
    assert_eq!((loud["mode"].as_str(), loud["service"].as_str()), (Some("forking"), Some("upper")));
    assert_eq!(daemon.client("loud").ask(b"hello"), b"HELLO");
    ["u", "x", "d"].iter().for_each(|name| daemon.client(name).echo(b"hello"));
}

#[test]
fn faulty_urls_are_refused() {
    for (url, word) in [
        ("ftp://127.0.0.1:0", "ftp"),
        ("tcp://127.0.0.1:0?mdoe=forking", "mode"),
        ("tcp://127.0.0.1:0?mode=fork", "fork"),
        ("tcp://127.0.0.1", "127.0.0.1"),
        ("nonsense", "nonsense"),
    ] {
        let failed = Launch::new().args(&["-l", url]).run();
        assert!(matches!(failed.status.code(), Some(64 | 78)), "{url}: {} {}", failed.status, failed.stderr);
        assert!(failed.stderr.contains(word), "{url}: {}", failed.stderr);
    }
}

#[test]
fn a_file_and_listen_are_added_up() {
    let daemon = Launch::new().config(LISTENER).args(&["-l", "udp://127.0.0.1:0?name=more"]).start();
    daemon.client("web").echo(b"from the file");
    daemon.client("more").echo(b"from the command line");
}

/// One object for each socket, with all that a script needs; then the end of standard output.
#[test]
fn announcement_tells_where_to_connect() {
    let daemon = Echod::start(&format!(
        "{LISTENER}[[listener]]\nname = \"x\"\nprotocol = \"unix\"\naddress = \"it.sock\"\nmode = \"iterative\"\n"
    ));
    let port = daemon.port("web");
    let expected = serde_json::json!({
        "name": "web", "url": format!("tcp://127.0.0.1:{port}"), "protocol": "tcp",
        "address": format!("127.0.0.1:{port}"), "mode": "epoll", "service": "echo",
    });
    assert_eq!(daemon.announced[0], expected);
    let address = daemon.announced[1]["address"].as_str().unwrap();
    assert_eq!(daemon.announced[1]["url"], format!("unix:{address}"));
    assert_eq!(daemon.announced.len(), 2);
}

fn print(launch: Launch) -> String {
    let printed: Finished = launch.args(&["--print-config"]).run();
    printed.expect(0, &[]);
    printed.stdout
}

#[track_caller]
fn refused(toml: &str, words: &[&str]) {
    // The check and the start refuse alike, and nothing is announced.
    for flag in ["--check", "--announce"] {
        let failed = Launch::new().config(toml).args(&[flag]).run();
        failed.expect(78, words);
        assert!(failed.stdout.is_empty(), "{}", failed.stdout);
    }
}

/// Legal but unwise: said, and no error.
#[test]
fn select_is_warned_of_more_than_it_can_watch() {
    let config = format!("{LISTENER}mode = \"select\"\nmax-connections = 5000\n");
    let checked = Launch::new().config(&config).args(&["--check"]).run();
    checked.expect(0, &["max-connections is 5000", "select"]);
    let quiet = Launch::new().config(&format!("{LISTENER}mode = \"select\"\n")).args(&["--check"]).run();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_udp_listener_that_is_open_to_everybody_is_warned_of() {
    let check = |listener: &str| {
        let checked = Launch::new()
            .config(&format!("[[listener]]\nname = \"it\"\n{listener}\n"))
            .args(&["--check"])
            .run();
        checked.expect(0, &[]);
        checked.stderr
    };
    let open = "answers datagrams from everywhere";
    for (listener, warned) in [
        ("protocol = \"udp\"\naddress = \"0.0.0.0:7\"", true),
        ("protocol = \"udp\"\naddress = [\"127.0.0.1:7\", \"[::]:7\"]", true),
        ("protocol = \"udp\"\naddress = \"192.0.2.1:7\"\ndeny = \"192.0.2.2\"", true),
        ("protocol = \"udp\"\naddress = \"0.0.0.0:7\"\nallow = \"10.0.0.0/8\"", false),
        ("protocol = \"udp\"\naddress = \"0.0.0.0:9\"\nservice = \"discard\"", false),
        ("protocol = \"udp\"\naddress = [\"192.168.1.1:7\", \"[fd00::1]:7\", \"[::1]:7\"]", false),
        ("protocol = \"tcp\"\naddress = \"0.0.0.0:7\"", false),
    ] {
        let told = check(listener);
        assert_eq!(told.contains(open), warned, "{listener}: {told}");
        assert_eq!(told.contains("name in `allow` who may use it"), warned, "{listener}: {told}");
    }
    let chargen = "protocol = \"udp\"\naddress = \"127.0.0.1:19\"\nservice = \"chargen\"";
    assert_eq!(check(chargen), "");
    assert!(check(&format!("{chargen}\nallow-amplification = true")).contains("CVE-1999-0103"));
}

#[test]
fn files_that_everybody_may_write_are_warned_of() {
    let listener = format!("{LISTENER}deny-include = \"nets\"\n");
    let warn = |config: u32, nets: u32| {
        let launch = Launch::new().config(&listener).args(&["--check"]);
        fs::write(launch.dir().join("nets"), "::1\n").unwrap();
        for (file, mode) in [("echod.toml", config), ("nets", nets)] {
            fs::set_permissions(launch.dir().join(file), Permissions::from_mode(mode)).unwrap();
        }
        let checked = launch.run();
        checked.expect(0, &[]);
        checked.stderr
    };
    assert_eq!(warn(0o664, 0o640), "");
    let told = warn(0o666, 0o602);
    assert!(told.contains("echod.toml can be written by everybody"), "{told}");
    assert!(told.contains("try `chmod o-w nets`"), "{told}");
}

/// A loop that looks for work before it sleeps still serves, and sleeps in the end.
#[test]
fn busy_poll_serves_and_ends() {
    let daemon = Echod::start(&format!("{LISTENER}mode = \"epoll\"\nbusy-poll = \"1ms\"\n"));
    let client = daemon.client("web");
    (0..100).for_each(|_| client.echo(b"soon"));
    for wrong in ["0s", "2s", "-1us"] {
        let config = format!("{LISTENER}mode = \"epoll\"\nbusy-poll = \"{wrong}\"\n");
        Launch::new().config(&config).args(&["--check"]).run().expect(78, &["busy-poll"]);
    }
    let config = format!("{LISTENER}mode = \"threading\"\nbusy-poll = \"1ms\"\n");
    Launch::new()
        .config(&config)
        .args(&["--check"])
        .run()
        .expect(78, &["`busy-poll` does not fit mode `threading`"]);
}
