//! Whether the machine has rules of a packet filter, which the echo in the kernel would bypass.

use crate::sys::netfilter;

/// What would be bypassed, in words. Rules that are made later are not seen.
pub(super) fn bypassed() -> Option<String> {
    match netfilter::has_rules() {
        Ok(false) => None,
        Ok(true) => Some("it bypasses the rules of this machine's packet filter (netfilter)".to_owned()),
        Err(error) => Some(format!(
            "it would bypass rules of this machine's packet filter (netfilter), and whether there are any cannot be read: {error}"
        )),
    }
}
