//! Listeners that may have a key, for tests that go through all of them.

/// Listeners of every protocol with `example`, each beside one of the keys that some keys need.
pub(crate) fn listeners_with(key: &str, example: &str) -> Vec<String> {
    let companions = [
        "",
        "mode = \"threading\"",
        "mode = \"io-uring\"",
        "service = \"qotd\"",
        "when-full = \"message\"",
        "rate-per-source = \"9/s\"",
        "proxy-protocol = \"required\"",
    ];
    let other = listener("tcp", "name = \"other\"\n");
    let mut found = Vec::new();
    for companion in companions {
        for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
            let listener = listener(protocol, &format!("{companion}\n{example}\n"));
            found.push(other.clone() + &without_double(&listener, key));
        }
    }
    found
}

fn listener(protocol: &str, rest: &str) -> String {
    let address = if protocol.starts_with("unix") { "it.sock" } else { "127.0.0.1:0" };
    format!("[[listener]]\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{rest}")
}

/// Of two lines for `key` the last: that of the example.
fn without_double(toml: &str, key: &str) -> String {
    let is_key = |line: &str| line.starts_with(&format!("{key} = "));
    let lines: Vec<_> = toml.lines().collect();
    let last = lines.iter().rposition(|line| is_key(line));
    let kept = lines.iter().enumerate().filter(|(at, line)| !is_key(line) || Some(*at) == last);
    kept.map(|(_, line)| format!("{line}\n")).collect()
}
