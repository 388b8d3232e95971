//! `--print-config`: every value that is in effect.

use super::LISTENER;
use crate::harness::{Finished, Launch};

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

fn print(launch: Launch) -> String {
    let printed: Finished = launch.args(&["--print-config"]).run();
    printed.expect(0, &[]);
    printed.stdout
}
