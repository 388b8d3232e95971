//! Whether the machine has policies of IPsec (xfrm), which say what may pass in clear text. It needs CAP_NET_ADMIN.

use std::{io, ops::ControlFlow};

use super::netlink::list;

const GET_POLICY: u16 = 0x15;
/// The size of an `xfrm_userpolicy_id`.
const POLICY_ID: usize = 64;
/// What happens to packets that no policy is for (Linux 5.14).
const GET_DEFAULT: u16 = 0x28;
/// The size of an `xfrm_userpolicy_default`: the actions for packets that come in, pass through, and go out.
const DEFAULTS: usize = 3;
const BLOCK: u8 = 1;

/// Whether there are such policies, or packets without one are blocked.
///
/// # Errors
/// The process may not ask.
pub fn has_policies() -> io::Result<bool> {
    Ok(has(GET_POLICY, &[0; POLICY_ID], |_| true)? || has(GET_DEFAULT, &[0; DEFAULTS], blocks)?)
}

fn blocks(defaults: &[u8]) -> bool {
    matches!(*defaults, [incoming, _, outgoing, ..] if [incoming, outgoing].contains(&BLOCK))
}

/// Whether the first message of a list, if it has one, is `telling`.
fn has(kind: u16, request: &[u8], telling: fn(&[u8]) -> bool) -> io::Result<bool> {
    let mut found = false;
    let asked = list(libc::NETLINK_XFRM, kind, request, &mut |message| {
        found = telling(message);
        ControlFlow::Break(())
    });
    match asked {
        Ok(()) => Ok(found),
        // A kernel without IPsec, or without a choice of what happens to packets that no policy is for.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EINVAL)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::blocks;

    #[test]
    fn what_is_only_passed_on_is_not_in_the_way() {
        assert!(blocks(&[1, 2, 2]) && blocks(&[2, 2, 1, 0]));
        assert!(!blocks(&[2, 1, 2]) && !blocks(&[0, 0, 0]) && !blocks(&[]));
    }
}
