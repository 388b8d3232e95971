//! Why a client is refused: a keyword for counters and scripts, and a sentence for people. One list for all checks, in the order
//! in which they are made, so that every refusal is counted and logged in the same way.

use std::fmt;

use crate::config::Protocol;

/// Defines [`RefusalReason`] together with its texts, so that none can be missing.
macro_rules! reasons {
    ($($(#[$about:meta])* $name:ident [$($protocol:ident)+] = $word:literal, $line:literal, $help:literal;)*) => {
        /// Why a connection or a datagram is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum RefusalReason {
            $($(#[$about])* $name,)*
        }

        impl RefusalReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: [RefusalReason; [$($word),*].len()] = [$(RefusalReason::$name),*];

            /// The keyword for counters and scripts.
            pub fn word(self) -> &'static str {
                match self { $(RefusalReason::$name => $word,)* }
            }

            /// Whether a listener of this protocol can refuse anything for this reason.
            pub fn applies_to(self, protocol: Protocol) -> bool {
                match self { $(RefusalReason::$name => [$(Protocol::$protocol),+].contains(&protocol),)* }
            }

            /// What happened, for people.
            pub fn line(self) -> &'static str {
                match self { $(RefusalReason::$name => $line,)* }
            }

            /// What the administrator can change to admit such a client.
            pub fn help(self) -> &'static str {
                match self { $(RefusalReason::$name => $help,)* }
            }
        }
    };
}

// Each with the protocols whose listeners can refuse for it. A unix client has an address if a PROXY header names it.
reasons! {
    // By identity.
    /// Its address is in `deny`.
    Denied [Tcp Udp Unix] = "denied", "its address is in `deny`",
        "take it out of `deny` to let it in";
    /// `allow` is set, and its address is not in it.
    NotAllowed [Tcp Udp Unix] = "not-allowed", "its address is not in `allow`",
        "add it to `allow` to let it in";
    /// Its user is in neither `allow-users` nor `allow-groups`.
    User [Unix UnixSeqpacket] = "user", "its user is neither in `allow-users` nor in `allow-groups`",
        "add it to one of them to let it in";
    // By number.
    /// `max-connections` are open, and clients are not queued (`when-full`).
    Full [Tcp Unix UnixSeqpacket] = "full", "`max-connections` are open",
        "raise `max-connections`, or let clients wait by `when-full`";
    /// Its source has `max-connections-per-source` open.
    SourceFull [Tcp Unix UnixSeqpacket] = "source-full", "its source has `max-connections-per-source` open",
        "raise `max-connections-per-source`";
    // By rate.
    /// The listener is over its `connection-rate`.
    ConnectionRate [Tcp Unix UnixSeqpacket] = "connection-rate", "more came than `connection-rate` lets in",
        "raise `connection-rate`";
    /// Its source is over its `rate-per-source`.
    Rate [Tcp Udp Unix UnixSeqpacket] = "rate", "its source came over `rate-per-source`",
        "raise `rate-per-source`";
    /// Its source exceeded its rate within the last `cool-down`.
    CoolDown [Tcp Udp Unix UnixSeqpacket] = "cool-down", "its source was refused a short while ago and has to cool down",
        "raise `rate-per-source`, or shorten `cool-down`";
    // By PROXY header.
    /// It sent no PROXY header, or an invalid one.
    ProxyHeader [Tcp Unix] = "proxy-header", "its PROXY header is missing or cannot be read",
        "have the proxy send one, or set `proxy-protocol` to optional or off";
    /// Its PROXY header did not arrive within `proxy-header-timeout`.
    ProxyTimeout [Tcp Unix] = "proxy-timeout", "its PROXY header did not come in time",
        "raise `proxy-header-timeout`, or have the proxy send one";
    /// It is not one of the `trusted-proxies`.
    UntrustedProxy [Tcp] = "untrusted-proxy", "its address is not in `trusted-proxies`",
        "add it to `trusted-proxies` if it is a proxy";
    // By descriptor.
    /// `select` cannot watch a descriptor with such a high number.
    Unwatchable [Tcp Unix UnixSeqpacket] = "unwatchable", "`select` cannot watch a descriptor of so high a number",
        "lower `max-connections`, or use mode epoll";
    // Datagrams.
    /// Its source cannot be answered: a unix socket without a name, or port 0.
    Unanswerable [Udp UnixDatagram] = "unanswerable", "its source cannot be answered",
        "have the client bind an address of its own to get an answer";
    /// Its source address is one that no host sends from.
    SourceAddress [Udp] = "source-address", "its source is an address that nobody sends from",
        "`trusted` lifts it for loopback addresses";
    /// Its destination is a broadcast or multicast address.
    DestinationAddress [Udp] = "destination-address", "it was sent to a broadcast or multicast address",
        "`allow-multicast` lifts it";
    /// Its source is one of the daemon's own listeners.
    OwnListener [Udp] = "own-listener", "its source is a listener of our own",
        "two listeners would answer each other for ever; send from another port";
    /// Its source port belongs to a service that would answer the answer.
    SourcePort [Udp] = "source-port", "its source port is in `deny-source-ports`",
        "have it send from another port, or take that one out of `deny-source-ports`; if it is one of echod's own, name its network in `trusted`";
    /// Its source port is one that is answered at a limited rate only, and the rate is exceeded.
    Throttled [Udp] = "throttled", "too many came from source ports that are answered seldom",
        "have it send from another port, or take \"reflectors\" out of `deny-source-ports`";
    /// The answer would be longer than the request.
    Amplifying [Udp UnixDatagram] = "amplifying", "the answer would be longer than the request",
        "have it send longer requests, or set `allow-amplification`";
    /// The service whoami was asked with less than its answer.
    Unpadded [Udp UnixDatagram] = "unpadded", "it is shorter than the answer of `whoami`",
        "have it pad its request to 1,200 bytes";
    /// Its source got `loop-breaker` answers without a pause.
    LoopBreaker [Udp] = "loop-breaker", "its source was answered `loop-breaker` times without a pause",
        "add it to `trusted` if it is no server that answers too";
    /// Its source rejects the answers (ICMP port unreachable).
    Victim [Udp] = "victim", "its source refuses our answers (port unreachable)",
        "add it to `trusted` if it is a tool that sends without a socket";
    /// Its source does not read its answers, and room in the send buffer is scarce.
    Unread [UnixDatagram] = "unread", "its source does not read our answers, which fill the send buffer",
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
    fn each_reason_has_its_number_and_a_unique_keyword() {
        let mut seen = Vec::new();
        for (number, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            let word = reason.word();
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{word}");
            assert!(!seen.contains(&word), "{word} twice");
            seen.push(word);
            assert!(!reason.line().is_empty() && !reason.help().is_empty(), "{word}");
        }
    }
}
