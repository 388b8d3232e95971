//! Configurations as tests write them.

/// A listener of this name, at any port or in a file named after it; `more` are further keys.
pub(crate) fn listener(name: &str, protocol: &str, more: &str) -> String {
    let address = match protocol {
        "tcp" | "udp" => "127.0.0.1:0".to_owned(),
        _ => format!("{name}.sock"),
    };
    format!("[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"{address}\"\n{more}\n")
}

/// A tcp listener called `it`.
pub(crate) fn it(more: &str) -> String {
    listener("it", "tcp", more)
}
