//! Whether the machine has rules that the echo in the kernel would bypass: those of a packet filter, and policies of IPsec.

use crate::sys::{netfilter, xfrm};

/// What would be bypassed, in words. Rules that are made later are not seen.
pub(super) fn bypassed() -> Option<String> {
    match netfilter::has_rules() {
        Ok(false) => bypassed_policies(),
        Ok(true) => Some("it bypasses the rules of this machine's packet filter (netfilter)".to_owned()),
        Err(error) => Some(format!(
            "it would bypass rules of this machine's packet filter (netfilter), and whether there are any cannot be read: {error}"
        )),
    }
}

fn bypassed_policies() -> Option<String> {
    match xfrm::has_policies() {
        Ok(false) => None,
        Ok(true) => Some("it bypasses this machine's policies of IPsec (ip xfrm policy)".to_owned()),
        Err(error) => Some(format!(
            "it would bypass policies of IPsec (ip xfrm policy), and whether there are any cannot be read: {error}"
        )),
    }
}
