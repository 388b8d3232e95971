//! Whether this kernel and this process can have the kernel echo.

use std::io;

use rustix::{
    system::uname,
    thread::{CapabilitySet, capabilities},
};

use super::reason::Reason;
use crate::report::error::Exit;

/// The first version of Linux that attaches such a program.
const LINUX: (u32, u32) = (6, 6);

/// Whether the kernel is new enough.
pub(super) fn is_new_enough() -> Result<(), Reason> {
    let release = uname().release().to_string_lossy().into_owned();
    if is_enough(&release) {
        return Ok(());
    }
    let (major, minor) = LINUX;
    let text = format!("it takes Linux {major}.{minor}, and this is {release}");
    Err(Reason::new(Exit::Unavailable, text, "use another kernel"))
}

/// Whether a release of Linux can attach the program.
fn is_enough(release: &str) -> bool {
    let number = |digits: &[u8]| {
        digits.iter().fold(0_u32, |number, digit| number.wrapping_mul(10).wrapping_add((digit - b'0').into()))
    };
    let mut numbers = release.as_bytes().split(|byte| !byte.is_ascii_digit()).map(number);
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= LINUX)
}

/// Why bpf(2) fails.
pub(super) fn denied(error: &io::Error) -> Reason {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Reason::new(Exit::Unavailable, format!("bpf(2) fails: {error}"), "use another kernel");
    }
    // None if they cannot be read.
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let missing =
        match [CapabilitySet::BPF, CapabilitySet::NET_ADMIN].map(|capability| has.contains(capability)) {
            [true, true] => {
                let text = "bpf(2) is denied, by a filter of the container or the service manager perhaps";
                return Reason::new(Exit::NoPermission, text, "allow bpf(2)");
            }
            [true, false] => "CAP_NET_ADMIN",
            [false, true] => "CAP_BPF",
            [false, false] => "CAP_BPF and CAP_NET_ADMIN",
        };
    let text = format!("this process does not have {missing}");
    let cure = "start echod as root, or give them to its unit (systemd/drop-ins/offload.conf)";
    Reason::new(Exit::NoPermission, text, cure)
}

#[cfg(test)]
mod tests {
    use super::is_enough;

    #[test]
    fn an_older_kernel_is_told_from_a_newer_one() {
        let releases = ["6.6.0", "6.18.3-cloud", "7.0-rc1", "6.5.99", "5.15.0-91-generic", "", "x.y"];
        assert_eq!(releases.map(is_enough), [true, true, true, false, false, false, false]);
    }
}
