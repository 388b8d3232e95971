//! For which listeners the kernel can echo: how many, and with which keys it cannot. Others are served by their sockets alone.

use crate::config::{self, DontFragment, LogLevel, Mode, Payload, ServiceKind, SourceRate};

/// For how many listeners the kernel can echo at once.
pub(super) const MOST: usize = 63;

/// Whether a listener is not served without the echo in the kernel.
pub fn insists(listener: &config::Listener) -> bool {
    listener.offload == config::Offload::On
}

/// What is in the way of the echo in the kernel, with the key first: the most telling one.
pub(super) fn obstacle(listener: &config::Listener, log: &config::Log) -> Option<(&'static str, String)> {
    let config::Listener {
        service,
        mode,
        rate_per_source,
        max_requests,
        payload,
        reuse_port,
        faults,
        dscp,
        ttl,
        dont_fragment,
        ..
    } = listener;
    let all = [
        (*service != ServiceKind::Echo, "service", "the kernel only echoes"),
        (
            *mode == Mode::Forking,
            "mode",
            "the processes of mode forking could not tell the kernel which peers refuse answers",
        ),
        (
            *rate_per_source != SourceRate::default(),
            "rate-per-source",
            "the kernel does not measure the rates of sources",
        ),
        (*max_requests != 0, "max-requests", "the kernel does not count down"),
        (*payload != Payload::Off, "payload", "the kernel writes no log"),
        (*reuse_port, "reuse-port", "the kernel would take the share of other processes, too"),
        (faults.is_some(), "faults", "the kernel only misbehaves by mistake"),
        (dscp.is_some(), "dscp", "the kernel answers in no class, as it is without the key"),
        (*ttl != 0, "ttl", "the kernel gives its answers 64 hops"),
        (*dont_fragment != DontFragment::Auto, "dont-fragment", "the kernel answers as the request was sent"),
        (
            matches!(log.level, LogLevel::Debug | LogLevel::Trace),
            "level",
            "the log shows every datagram at this level, and the kernel writes none",
        ),
    ];
    let (_, key, why) = all.into_iter().find(|(is_there, ..)| *is_there)?;
    Some((key, format!("`{key}` is in the way: {why}")))
}
