//! Why somebody is refused: a word for counters and scripts, and a line for people. There is one list of them for all
//! stations, in the order in which they are passed, so that every refusal is counted and told in the same way.

use std::fmt;

/// Defines [`RefusalReason`] and its words together, so that no list of them can forget one.
macro_rules! reasons {
    ($($(#[$about:meta])* $name:ident = $word:literal, $line:literal, $cure:literal;)*) => {
        /// Why a connection or a datagram is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum RefusalReason {
            $($(#[$about])* $name,)*
        }

        impl RefusalReason {
            /// All of them, in the order of their numbers.
            pub const ALL: [RefusalReason; [$($word),*].len()] = [$(RefusalReason::$name),*];

            /// The word that counters and scripts know it by.
            pub fn word(self) -> &'static str {
                match self { $(RefusalReason::$name => $word,)* }
            }

            /// What happened, for people.
            pub fn line(self) -> &'static str {
                match self { $(RefusalReason::$name => $line,)* }
            }

            /// What lets such a one in, for the administrator.
            pub fn cure(self) -> &'static str {
                match self { $(RefusalReason::$name => $cure,)* }
            }
        }
    };
}

reasons! {
    // Who.
    /// Its address is in `deny`.
    Denied = "denied", "its address is in `deny`",
        "take it out of `deny` to let it in";
    /// There is an `allow`, and its address is not in it.
    NotAllowed = "not-allowed", "its address is not in `allow`",
        "add it to `allow` to let it in";
    /// Its user is in neither `allow-users` nor `allow-groups`.
    User = "user", "its user is neither in `allow-users` nor in `allow-groups`",
        "add it to one of them to let it in";
    // How many.
    /// `max-connections` are open, and the listener does not let clients wait.
    Full = "full", "`max-connections` are open",
        "raise `max-connections`, or let clients wait by `when-full`";
    /// Its source has `max-connections-per-source` open.
    SourceFull = "source-full", "its source has `max-connections-per-source` open",
        "raise `max-connections-per-source`";
    // How fast.
    /// The listener is over its `connection-rate`.
    ConnectionRate = "connection-rate", "more came than `connection-rate` lets in",
        "raise `connection-rate`";
    /// Its source is over its `rate-per-source`.
    Rate = "rate", "its source came over `rate-per-source`",
        "raise `rate-per-source`";
    /// Its source was over its rate, or answered the same for too long, a short while ago.
    CoolDown = "cool-down", "its source was refused a short while ago and has to cool down",
        "raise `rate-per-source`, or shorten `cool-down`";
    // The header of a proxy.
    /// It sent no header of the PROXY protocol, or one that cannot be read.
    ProxyHeader = "proxy-header", "its PROXY header is missing or cannot be read",
        "have the proxy send one, or set `proxy-protocol` to optional or off";
    /// Its PROXY header did not come in time.
    ProxyTimeout = "proxy-timeout", "its PROXY header did not come in time",
        "raise `proxy-header-timeout`, or have the proxy send one";
    /// It is none of the `trusted-proxies`.
    UntrustedProxy = "untrusted-proxy", "its address is not in `trusted-proxies`",
        "add it to `trusted-proxies` if it is a proxy";
    // Descriptors.
    /// `select` cannot watch a descriptor of so high a number.
    Unwatchable = "unwatchable", "`select` cannot watch a descriptor of so high a number",
        "lower `max-connections`, or use mode epoll";
    // Datagrams.
    /// Its source cannot be answered: it has no name, or port 0.
    Unanswerable = "unanswerable", "its source cannot be answered",
        "have the client bind an address of its own to get an answer";
    /// Its source is an address that nobody sends from.
    SourceAddress = "source-address", "its source is an address that nobody sends from",
        "`trusted` lifts it for loopback addresses";
    /// It was sent to many at once: to a broadcast or multicast address.
    DestinationAddress = "destination-address", "it was sent to a broadcast or multicast address",
        "`allow-multicast` lifts it";
    /// Its source is a port of our own.
    OwnListener = "own-listener", "its source is a listener of our own",
        "two listeners would answer each other for ever; send from another port";
    /// Its source is a port where something sits that would answer the answer.
    SourcePort = "source-port", "its source port is in `deny-source-ports`",
        "have it send from another port, or take that one out of `deny-source-ports`; if it is one of echod's own, name its network in `trusted`";
    /// Its source is a port that is answered seldom, and too many came from such ones.
    Throttled = "throttled", "too many came from source ports that are answered seldom",
        "have it send from another port, or take \"reflectors\" out of `deny-source-ports`";
    /// Its answer would be longer than it is.
    Amplifying = "amplifying", "the answer would be longer than the request",
        "have it send longer requests, or set `allow-amplification`";
    /// Its source was answered again and again without a pause.
    LoopBreaker = "loop-breaker", "its source was answered `loop-breaker` times without a pause",
        "add it to `trusted` if it is no server that answers too";
    /// Its source has told that it wants none of our answers.
    Victim = "victim", "its source refuses our answers (port unreachable)",
        "add it to `trusted` if it is a tool that sends without a socket";
    /// Its source does not read what it was sent, and room for answers is scarce.
    Unread = "unread", "its source does not read our answers, which fill the send buffer",
        "have it read them, or raise `send-buffer`";
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_number_and_a_word_of_its_own() {
        let mut words = Vec::new();
        for (number, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            let word = reason.word();
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{word}");
            assert!(!words.contains(&word), "{word} twice");
            words.push(word);
            assert!(!reason.line().is_empty() && !reason.cure().is_empty(), "{word}");
        }
    }
}
