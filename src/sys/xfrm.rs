//! Whether the machine has policies of IPsec (xfrm), which say what may pass in clear text. It needs CAP_NET_ADMIN.

use std::{io, ops::ControlFlow};

use super::netlink::list;

const XFRM_MSG_GETPOLICY: u16 = 0x15;
/// The size of an `xfrm_userpolicy_id`.
const POLICY_ID: usize = 64;

/// Whether there are such policies.
///
/// # Errors
/// The process may not ask.
pub fn has_policies() -> io::Result<bool> {
    let mut found = false;
    let asked = list(libc::NETLINK_XFRM, XFRM_MSG_GETPOLICY, &[0; POLICY_ID], &mut |_| {
        found = true;
        ControlFlow::Break(())
    });
    match asked {
        Ok(()) => Ok(found),
        // A kernel without IPsec.
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(false),
        Err(error) => Err(error),
    }
}
