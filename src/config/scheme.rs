//! Where the protocol of a URL ends. People leave it out, or write one that they know from elsewhere.

use super::{diagnostic::Diagnostic, quoted, synonyms, words};
use crate::config::address::inet;

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"];

/// The place of the colon behind the protocol. An unknown protocol is left to the reader of the key.
pub(super) fn end(url: &str) -> Result<usize, Diagnostic> {
    let colon = url.find(':');
    let body = url.split('?').next().unwrap_or_default();
    if [".toml", ".conf"].iter().any(|end| body.ends_with(end)) && !body.contains(':') {
        let title = format!("{} is no URL of a listener", quoted(url));
        return Err(Diagnostic::new(title, format!("did you mean `--config {body}`?")));
    }
    match colon {
        Some(colon) if synonyms::value("protocol", &url[..colon]).is_some() => Ok(colon),
        Some(colon) if PROTOCOLS.contains(&&url[..colon]) || url[colon..].starts_with("://") => Ok(colon),
        _ => match (guess(url), colon) {
            (Some(meant), _) => Err(Diagnostic::new(
                format!("{} does not begin with a protocol", quoted(url)),
                format!("did you mean `{meant}`?"),
            )),
            (None, Some(colon)) if words::nearest(&url[..colon], PROTOCOLS.into_iter()).is_some() => {
                Ok(colon)
            }
            (None, _) => Err(Diagnostic::new(
                format!("{} is no URL of a listener", quoted(url)),
                "write for example `tcp://127.0.0.1:7`, `udp://[::1]:7` or `unix:/run/echod.sock`",
            )),
        },
    }
}

/// The URL of a listener that `word` is, or was probably meant to be.
pub fn listener_url(word: &str) -> Option<String> {
    match word.split_once(':') {
        Some((protocol, _)) if PROTOCOLS.contains(&protocol) => Some(word.to_owned()),
        // A name with dots is more likely one of a file.
        _ => guess(word)
            .filter(|_| word.contains(':') || word.starts_with('@') || !word.contains(char::is_alphabetic)),
    }
}

/// The URL that was meant.
fn guess(url: &str) -> Option<String> {
    let (body, parameters) = url.split_at(url.find('?').unwrap_or(url.len()));
    if ["/", "./", "../", "@", "%t/"].iter().any(|start| body.starts_with(start)) && body.len() > 1 {
        return Some(format!("unix:{url}"));
    }
    // The colon was forgotten.
    let split = |protocol: &'static str| Some((protocol, body.strip_prefix(protocol)?));
    let begun = PROTOCOLS.into_iter().filter_map(split).find(|(_, rest)| rest.starts_with(['/', '@', ' ']));
    if let Some((protocol, rest)) = begun {
        let slashes = if protocol.starts_with("unix") { "" } else { "//" };
        let rest = if slashes.is_empty() { rest.trim_start() } else { rest.trim_start_matches(['/', ' ']) };
        return Some(format!("{protocol}:{slashes}{rest}{parameters}"));
    }
    let address = match inet::read(body) {
        Ok(_) => Some(body.to_owned()),
        Err(_) => inet::meant(body),
    };
    address.map(|address| format!("tcp://{address}{parameters}"))
}
