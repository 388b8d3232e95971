//! What is said about what people write who know other programs, or make a slip of the pen: each message has the cure in it.

use std::fs;

use super::LISTENER;
use crate::harness::Launch;

#[test]
fn a_faulty_line_is_told_with_its_cure() {
    for (line, cure) in [
        ("idle-timeout = 5", "write \"5s\""),
        ("idle-timeout = 5s", "put it in quotes: \"5s\""),
        ("idle-timeout = \"5\"", "`5s` are seconds"),
        ("idle-timeout = false", "write \"off\""),
        ("max-connections = 1e6", "a whole number from 1 to 1000000"),
        ("max-connections = \"100\"", "write `100`, without quotes"),
        ("max-connections = 0", "write a whole number from 1 to 1000000"),
        ("max-requests = \"unlimited\"", "write \"off\""),
        ("receive-buffer = \"64k\"", "`64KiB`"),
        ("connection-rate = 50", "write \"50/s\""),
        ("connection-rate = \"50/m\"", "did you mean `50/min`?"),
        ("nodelay = yes", "write `true`"),
        ("nodelay = \"true\"", "write `true`, without quotes"),
        ("mode = epoll", "put it in quotes: \"epoll\""),
        ("mode = \"async\"", "did you mean `epoll`?"),
        ("workers = \"4\"", "write `4`, without quotes"),
        ("keepalive = 60", "write \"60s\""),
        ("keepalive = \"yes\"", "write \"on\""),
        ("idle-timeout = \"yes\"", "write for example `30s`"),
        ("allow = 10.0.0.0/8, ::1", "[\"10.0.0.0/8\", \"::1\"]"),
        ("[listener]", "write `[[listener]]`, one for each"),
        ("allow = \"10.0.0.0/255.0.0.0\"", "did you mean `10.0.0.0/8`?"),
        ("allow = [10.0.0.0/8]", "put each in quotes: [\"10.0.0.0/8\"]"),
        ("allow = \"localhost\"", "`127.0.0.0/8`"),
        ("port = 7", "did you mean `address`?"),
        ("host = \"h\"", "did you mean `address`?"),
        ("listen = \":7\"", "did you mean `address`?"),
        ("type = \"tcp\"", "did you mean `protocol`?"),
        ("threads = 4", "did you mean `workers`?"),
        ("tls = true", "echod has no TLS"),
        ("backlog =", "write for example `backlog = 4`"),
        ("name: web", "write `name = \"web\"`"),
        ("; comment", "begin it with `#`"),
    ] {
        let told =
            Launch::new().config(&format!("{}{line}\n", LISTENER.replace("name = \"web\"\n", ""))).run();
        told.expect(78, &["echod.toml:4:", cure]);
        assert_eq!(told.stderr.matches("error: ").count(), 1, "{line}: {}", told.stderr);
    }
}

#[test]
fn a_faulty_address_is_told_with_its_cure() {
    for (address, cure) in [
        ("127.0.0.1:7777", "did you mean `tcp://127.0.0.1:7777`?"),
        ("7777", "did you mean `tcp://127.0.0.1:7777`?"),
        ("/run/x.sock", "did you mean `unix:/run/x.sock`?"),
        ("tcp//127.0.0.1:7", "did you mean `tcp://127.0.0.1:7`?"),
        ("udp://[fe80::1]:7", "`[fe80::1%eth0]:7`"),
        ("tcp://127.0.0.1:7777/", "drop the slash"),
        ("tcp://127.0.0.1:7777/24", "`allow = \"127.0.0.0/24\"`"),
        ("tcp://10.0.0.0/8", "who may come in is said by `allow`"),
        ("tcp://127.0.0.1:-1", "`-1` is no port"),
        ("tcp://127.0.0.1:echo", "write its number, `7`"),
        ("tcp://127.0.0.1:7000:7009", "or a range like"),
        ("tcp://127.0.0.1", "a port is missing"),
        ("tcp://127.0.0.1:7,127.0.0.2:7", "`?address=`"),
        ("tcp://127.0.0.1:7&mode=forking", "follows a `?`"),
        ("http://127.0.0.1:7", "did you mean `tcp`?"),
        ("unix:~/x", "write the whole path"),
    ] {
        for option in ["--listen", "--probe"] {
            Launch::new().args(&[option, address]).run().expect(64, &[cure, &format!("{option}:1:")]);
        }
    }
    let of_file = |protocol: &str, address: &str| {
        Launch::new().config(&format!("[[listener]]\nprotocol = {protocol}\naddress = {address}\n")).run()
    };
    of_file("tcp", "127.0.0.1:7")
        .expect(78, &["put it in quotes: \"tcp\"", "put it in quotes: \"127.0.0.1:7\""]);
    of_file("\"tcp\"", "\"tcp://127.0.0.1:7\"").expect(78, &["write `127.0.0.1:7`", "`protocol = \"tcp\"`"]);
    of_file("\"udp\"", "\"[fe80::1]:7\"").expect(78, &["`[fe80::1%eth0]:7`"]);
    of_file("\"tcp\"", "7777").expect(78, &["\"127.0.0.1:7777\""]);
    // With a device the kernel knows the link.
    let device = "\"[fe80::1]:7\"\ndevice = \"lo\"\nenabled = false\n";
    assert!(!of_file("\"tcp\"", device).stderr.contains("%eth0"));
}

#[test]
fn what_is_no_text_has_a_place() {
    let launch = || Launch::new().args(&["--config", "it.toml", "--check"]);
    let told = |bytes: &[u8]| {
        let launch = launch();
        fs::write(launch.dir().join("it.toml"), bytes).unwrap();
        launch.run()
    };
    told(b"# ok\nname = \"caf\xe9\"\n").expect(78, &["it.toml:2:12", "byte 0xe9 is not UTF-8"]);
    told(b"\xff\xfe[\0[\0").expect(78, &["it.toml:1:1", "UTF-16"]);
    told(format!("\u{feff}{LISTENER}").as_bytes()).expect(0, &[]);

    let include = |bytes: &[u8]| {
        let launch = launch();
        fs::write(launch.dir().join("it.toml"), format!("{LISTENER}allow-include = \"nets\"\n")).unwrap();
        fs::write(launch.dir().join("nets"), bytes).unwrap();
        launch.run()
    };
    include(b"10.0.0.0/8\n  ::1 # caf\xe9\n")
        .expect(78, &["it.toml:5:", "line 2, column 12: byte 0xe9 is not UTF-8"]);
    include("\u{feff}10.0.0.0/8\n".as_bytes()).expect(0, &[]);
}

/// The keys of a table that is there twice are in one table, so that one of them may be there twice as well.
#[test]
fn a_table_that_is_there_twice_has_no_key_twice() {
    let told = |toml: &str| {
        let launch = Launch::new().args(&["--config", "it.toml", "--check"]);
        fs::write(launch.dir().join("it.toml"), toml.to_owned() + LISTENER).unwrap();
        launch.run()
    };
    let twice =
        told("[daemon]\ndrain-timeout = \"1s\"\n[log]\nlevel = \"info\"\n[daemon]\ndrain-timeout = \"2s\"\n");
    twice.expect(
        78,
        &["it.toml:5:1", "this table is there twice", "it.toml:6:1", "duplicate key", "take one out"],
    );
    assert!(!twice.stderr.contains("this is not TOML"), "{}", twice.stderr);
}

#[test]
fn words_of_other_daemons_are_answered() {
    for (args, tip) in [
        (&["serve"][..], "echod --config FILE"),
        (&["start"], "systemctl start echod"),
        (&["stop"], "kill -TERM"),
        (&["reload"], "kill -HUP"),
        (&["my.toml"], "echod --config my.toml"),
        (&["tcp://127.0.0.1:7"], "echod --listen tcp://127.0.0.1:7"),
        (&["127.0.0.1:7"], "echod --listen tcp://127.0.0.1:7"),
        (&["--port", "7"], "echod --listen"),
        (&["--reload"], "kill -HUP"),
        (&["--listen", "my.toml"], "did you mean `--config my.toml`?"),
        (&["--service", "upper", "-l", "tcp://127.0.0.1:0"], "cannot be used with"),
        (&["--service", "upper", "-c", "it.toml"], "cannot be used with"),
    ] {
        Launch::new().args(args).run().expect(64, &[tip]);
    }
    let no_file = |name: &str| Launch::new().args(&["--config", name]).run();
    no_file("tcp://127.0.0.1:7").expect(66, &["did you mean `--listen tcp://127.0.0.1:7`?"]);
    no_file("nowhere.toml").expect(66, &["without `--config` the default is used"]);
    for args in [["--help"], ["-h"]] {
        let help = Launch::new().args(&args).run().stdout;
        assert!(help.contains("man echod.toml") && help.contains("echod --print-config"), "{help}");
        assert!(!help.contains("config/echod.toml"), "{help}");
    }
}
