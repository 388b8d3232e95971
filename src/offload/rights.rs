//! Whether this kernel and this process can have the kernel echo.

use std::{fs, io};

use rustix::system::uname;

use super::reason::Reason;
use crate::report::error::Exit;

/// The first version of Linux that attaches such a program.
const LINUX: (u32, u32) = (6, 6);

/// Capabilities by their bits.
const CAP_NET_ADMIN: u32 = 12;
const CAP_BPF: u32 = 39;

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
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= LINUX)
}

/// Why bpf(2) fails.
pub(super) fn denied(error: &io::Error) -> Reason {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Reason::new(Exit::Unavailable, format!("bpf(2) fails: {error}"), "use another kernel");
    }
    let all = [(CAP_BPF, "CAP_BPF"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")];
    let has = capabilities();
    let missing: Vec<&str> =
        all.into_iter().filter(|(bit, _)| has >> bit & 1 == 0).map(|(_, name)| name).collect();
    match missing.as_slice() {
        [] => Reason::new(
            Exit::NoPermission,
            "bpf(2) is denied, by a filter of the container or the service manager perhaps",
            "allow bpf(2)",
        ),
        missing => Reason::new(
            Exit::NoPermission,
            format!("this process does not have {}", missing.join(" and ")),
            "start echod as root, or give them to its unit (systemd/drop-ins/offload.conf)",
        ),
    }
}

/// The capabilities in effect; none if they cannot be read.
fn capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
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
