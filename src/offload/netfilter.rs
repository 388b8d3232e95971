//! Whether the machine has rules that the echo in the kernel would bypass: those of a packet filter, and policies of IPsec.

use std::io;

use crate::sys::{netfilter, xfrm};

/// What would be bypassed, in words. Rules that are made later are not seen.
pub(super) fn bypassed() -> Option<String> {
    told(netfilter::has_rules(), "the ", "rules of this machine's packet filter (netfilter)")
        .or_else(|| told(xfrm::has_policies(), "this machine's ", "policies of IPsec (ip xfrm policy)"))
}

fn told(are_there: io::Result<bool>, whose: &str, what: &str) -> Option<String> {
    match are_there {
        Ok(false) => None,
        Ok(true) => Some(format!("it bypasses {whose}{what}")),
        Err(error) => {
            Some(format!("it would bypass {what}, and whether there are any cannot be read: {error}"))
        }
    }
}
