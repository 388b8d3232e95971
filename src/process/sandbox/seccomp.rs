//! The system calls that can be made, as seccomp(2) filters.
//!
//! The kernel remembers which calls a filter lets pass whatever their arguments are, and does not run it for them again (since Linux
//! 5.11). So arguments are looked at only in calls that are seldom made; whatever an echo takes is let pass by its number.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

mod table;

/// What only some modes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyscallNeeds {
    pub(super) forking: bool,
    pub(super) io_uring: bool,
}

/// The calls with the rules of their arguments; a call without rules passes.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Lets pass what `needs` and all listeners have in common need, and says how many calls that are.
pub(super) fn restrict(needs: SyscallNeeds) -> Result<usize, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| {
        format!("the filter is made for x86_64, aarch64 and riscv64, and this is {}", std::env::consts::ARCH)
    })?;
    let allowed = allowed(needs).map_err(|error| error.to_string())?;
    let count = allowed.len();
    for filter in filters(allowed, architecture).map_err(|error| error.to_string())? {
        apply_filter_all_threads(&filter).map_err(|error| why(&error))?;
    }
    Ok(count)
}

/// The filters, in the order in which they are to be applied.
fn filters(mut allowed: Rules, architecture: TargetArch) -> Result<[BpfProgram; 3], BackendError> {
    let build = |rules, otherwise, then| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, otherwise, then, architecture)?.try_into()
    };
    let errno = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    // Of several filters the strictest answer counts, and of two errors that of the last one: so it lets this pass.
    allowed.insert(table::CLONE3, Vec::new());
    // The one that denies everything else comes last: with it no other is made.
    Ok([
        // Whoever makes one of these is not echod any more.
        build(plain(table::HOSTILE), SeccompAction::Allow, SeccompAction::KillProcess)?,
        // Its flags are in memory, where a filter cannot look. The C library then takes clone(2).
        build(plain(&[table::CLONE3]), SeccompAction::Allow, errno(libc::ENOSYS))?,
        build(allowed, errno(libc::EPERM), SeccompAction::Allow)?,
    ])
}

fn plain(calls: &[i64]) -> Rules {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

fn allowed(needs: SyscallNeeds) -> Result<Rules, BackendError> {
    let mut rules = plain(table::ALWAYS);
    rules.extend(plain(table::ARCHITECTURE));
    if needs.forking {
        rules.extend(plain(table::FORKING));
    }
    if needs.io_uring {
        rules.extend(plain(table::IO_URING));
    }
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|group| group as u64);
    let mut sockets = is_one_of(0, &families)?;
    // They tell the addresses of interfaces, and what unix clients have not read.
    for protocol in [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG] {
        let netlink = [condition(0, libc::AF_NETLINK as u64)?, condition(2, protocol as u64)?];
        sockets.push(SeccompRule::new(netlink.into())?);
    }
    rules.insert(table::SOCKET, sockets);
    // A thread, or with forking a process, and never a namespace.
    let (mask, flags) = match needs.forking {
        true => (table::NAMESPACES, 0),
        false => (table::NAMESPACES | libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64),
    };
    let clone = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), flags)?;
    rules.insert(table::CLONE, vec![SeccompRule::new(vec![clone])?]);
    rules.insert(table::IOCTL, is_one_of(1, table::REQUESTS)?);
    rules.insert(table::PRCTL, is_one_of(0, table::OPTIONS)?);
    // Limits are read and not set: the pointer to new ones is null.
    let null = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(table::PRLIMIT, vec![SeccompRule::new(vec![null])?]);
    Ok(rules)
}

/// A rule for each value that an argument may have.
fn is_one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&value| SeccompRule::new(vec![condition(argument, value)?])).collect()
}

/// The kernel takes these arguments as 32 bits, whatever is in the others.
fn condition(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn why(error: &Error) -> String {
    let (Error::Prctl(cause) | Error::Seccomp(cause)) = error else { return error.to_string() };
    match cause.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) => "this kernel was built without it".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "it is denied by the sandbox that echod runs in: allow seccomp(2) there".to_owned()
        }
        _ => cause.to_string(),
    }
}

#[cfg(target_pointer_width = "64")]
#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    use socket2::{Socket, Type};

    use super::*;

    #[test]
    fn no_call_is_both_needed_and_hostile() {
        let all = allowed(SyscallNeeds { forking: true, io_uring: true }).unwrap();
        assert!(table::HOSTILE.iter().all(|call| !all.contains_key(call)));
        assert!(!all.contains_key(&table::CLONE3));
    }

    #[test]
    fn modes_add_their_calls_only() {
        let calls = |forking, io_uring| allowed(SyscallNeeds { forking, io_uring }).unwrap();
        let (none, forking, io_uring) = (calls(false, false), calls(true, false), calls(false, true));
        assert!(!none.contains_key(&libc::SYS_execve) && forking.contains_key(&libc::SYS_execve));
        assert!(
            !none.contains_key(&libc::SYS_io_uring_enter) && io_uring.contains_key(&libc::SYS_io_uring_enter)
        );
        assert_ne!(none[&table::CLONE], forking[&table::CLONE]);
        assert!(!io_uring.contains_key(&libc::SYS_execve));
    }

    /// In a thread of its own, which no other test shares.
    fn in_a_sandbox(test: impl FnOnce() + Send + 'static) {
        let test = move || {
            let architecture = std::env::consts::ARCH.try_into().unwrap();
            let allowed = allowed(SyscallNeeds { forking: false, io_uring: false }).unwrap();
            for filter in filters(allowed, architecture).unwrap() {
                seccompiler::apply_filter(&filter).unwrap();
            }
            test();
        };
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn what_is_not_needed_is_denied() {
        in_a_sandbox(|| {
            let socket = |group: i32| Socket::new(group.into(), Type::DGRAM, None).map(|_| ());
            for group in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX] {
                socket(group).unwrap();
            }
            assert!(nix::ifaddrs::getifaddrs().unwrap().count() > 0);
            let denied = Some(libc::EPERM);
            assert_eq!(socket(libc::AF_VSOCK).unwrap_err().raw_os_error(), denied);
            assert_eq!(Command::new("/bin/true").status().unwrap_err().raw_os_error(), denied);
            assert_eq!(nix::unistd::setsid().unwrap_err() as i32, libc::EPERM);
            assert_eq!(std::fs::create_dir("/tmp/echod-test").unwrap_err().raw_os_error(), denied);
            // A thread is no process.
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        });
    }

    /// Runs itself as a process of its own, which dies of it.
    #[test]
    fn a_hostile_call_is_the_end() {
        const CHILD: &str = "ECHOD_TEST_HOSTILE";
        if std::env::var_os(CHILD).is_some() {
            return in_a_sandbox(|| _ = nix::unistd::chroot("/"));
        }
        let own = std::env::current_exe().unwrap();
        let name = "process::sandbox::seccomp::tests::a_hostile_call_is_the_end";
        let output = Command::new(own).args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
    }

    /// What an echo takes is let pass without a look at its arguments.
    #[test]
    fn hot_calls_have_no_rules() {
        let all = allowed(SyscallNeeds { forking: true, io_uring: true }).unwrap();
        let hot = [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_recvfrom,
            libc::SYS_sendto,
            libc::SYS_recvmmsg,
            libc::SYS_sendmmsg,
            libc::SYS_accept4,
            libc::SYS_close,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_ppoll,
            libc::SYS_pselect6,
            libc::SYS_futex,
            libc::SYS_io_uring_enter,
        ];
        assert!(hot.iter().all(|call| all[call].is_empty()));
    }
}
