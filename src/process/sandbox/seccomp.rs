//! The allowed system calls, as seccomp(2) filters.
//!
//! Since Linux 5.11 the kernel caches which calls a filter allows whatever their arguments are, and does not run the filter for
//! them. So arguments are checked only in rare calls; every call of an echo is allowed by its number.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

mod table;

use crate::sys::bpf;

/// The system calls that only some modes need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyscallNeeds {
    pub(super) forking: bool,
    pub(super) io_uring: bool,
    /// The maps and the program of the echo in the kernel are there, and are used.
    pub(super) offload: bool,
}

/// The allowed calls. A call with rules is allowed if its arguments match one of them.
type SyscallRules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allows the calls that all listeners need and those of `needs`, and returns their number.
pub(super) fn restrict(needs: SyscallNeeds) -> Result<usize, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| {
        format!("the filter is made for x86_64, aarch64 and riscv64, and this is {}", std::env::consts::ARCH)
    })?;
    let allowed = allowed(needs).map_err(|error| error.to_string())?;
    let count = allowed.len();
    for filter in filters(allowed, needs, architecture).map_err(|error| error.to_string())? {
        apply_filter_all_threads(&filter).map_err(|error| reason(&error))?;
    }
    Ok(count)
}

/// The filters, in the order in which to apply them.
fn filters(
    mut allowed: SyscallRules,
    needs: SyscallNeeds,
    architecture: TargetArch,
) -> Result<[BpfProgram; 3], BackendError> {
    let build = |rules, otherwise, then| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, otherwise, then, architecture)?.try_into()
    };
    let errno = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    // Of several filters the strictest result counts, and of two errno results that of the filter added last. So the last filter
    // must allow clone3(2).
    allowed.insert(table::CLONE3, Vec::new());
    let mut hostile = plain(table::HOSTILE);
    if needs.offload {
        // The last filter looks at its command.
        hostile.remove(&table::BPF);
    }
    // The filter that denies everything else comes last: it also denies adding another filter.
    Ok([
        // A process that makes one of these calls is no longer running echod's code.
        build(hostile, SeccompAction::Allow, SeccompAction::KillProcess)?,
        // The flags of clone3(2) are in memory, which a filter cannot read. The C library falls back to clone(2) on ENOSYS.
        build(plain(&[table::CLONE3]), SeccompAction::Allow, errno(libc::ENOSYS))?,
        build(allowed, errno(libc::EPERM), SeccompAction::Allow)?,
    ])
}

fn plain(calls: &[i64]) -> SyscallRules {
    // To collect them would sort them first, by code of its own.
    let mut rules = SyscallRules::new();
    calls.iter().for_each(|call| _ = rules.insert(*call, Vec::new()));
    rules
}

fn allowed(needs: SyscallNeeds) -> Result<SyscallRules, BackendError> {
    let mut rules = plain(table::ALWAYS);
    rules.extend(plain(table::ARCHITECTURE));
    if needs.forking {
        rules.extend(plain(table::FORKING));
    }
    if needs.io_uring {
        rules.extend(plain(table::IO_URING));
    }
    if needs.offload {
        rules.insert(table::BPF, is_one_of(0, &bpf::AFTER_START.map(|command| command as u64))?);
    }
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|group| group as u64);
    let mut sockets = is_one_of(0, &families)?;
    // Netlink reports the addresses of interfaces, and the unread datagrams of unix clients.
    for protocol in [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG] {
        let netlink = [condition(0, libc::AF_NETLINK as u64)?, condition(2, protocol as u64)?];
        sockets.push(SeccompRule::new(netlink.into())?);
    }
    rules.insert(table::SOCKET, sockets);
    // Allows a new thread, or with mode forking a new process, but no namespace.
    let (mask, flags) = match needs.forking {
        true => (table::NAMESPACES, 0),
        false => (table::NAMESPACES | libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64),
    };
    let clone = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), flags)?;
    rules.insert(table::CLONE, vec![SeccompRule::new(vec![clone])?]);
    rules.insert(table::IOCTL, is_one_of(1, table::REQUESTS)?);
    rules.insert(table::PRCTL, is_one_of(0, table::OPTIONS)?);
    // Limits may be read but not set: the pointer to new limits is null.
    let null = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(table::PRLIMIT, vec![SeccompRule::new(vec![null])?]);
    Ok(rules)
}

/// One rule for each allowed value of an argument.
fn is_one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&value| SeccompRule::new(vec![condition(argument, value)?])).collect()
}

/// The kernel reads only the low 32 bits of these arguments.
fn condition(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn reason(error: &Error) -> String {
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
        let all = allowed(SyscallNeeds { forking: true, io_uring: true, offload: false }).unwrap();
        assert!(table::HOSTILE.iter().all(|call| !all.contains_key(call)));
        assert!(!all.contains_key(&table::CLONE3));
    }

    #[test]
    fn modes_add_their_calls_only() {
        let calls = |forking, io_uring| allowed(SyscallNeeds { forking, io_uring, offload: false }).unwrap();
        let (none, forking, io_uring) = (calls(false, false), calls(true, false), calls(false, true));
        assert!(!none.contains_key(&libc::SYS_execve) && forking.contains_key(&libc::SYS_execve));
        assert!(
            !none.contains_key(&libc::SYS_io_uring_enter) && io_uring.contains_key(&libc::SYS_io_uring_enter)
        );
        assert_ne!(none[&table::CLONE], forking[&table::CLONE]);
        assert!(!io_uring.contains_key(&libc::SYS_execve));
    }

    /// Runs `test` on a thread of its own, which no other test shares.
    fn in_a_sandbox(offload: bool, test: impl FnOnce() + Send + 'static) {
        let test = move || {
            let architecture = std::env::consts::ARCH.try_into().unwrap();
            let needs = SyscallNeeds { forking: false, io_uring: false, offload };
            for filter in filters(allowed(needs).unwrap(), needs, architecture).unwrap() {
                seccompiler::apply_filter(&filter).unwrap();
            }
            test();
        };
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn other_calls_are_denied() {
        in_a_sandbox(false, || {
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
            // Threads are allowed, unlike processes.
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        });
    }

    #[test]
    fn only_what_the_echo_in_the_kernel_needs_of_bpf_is_allowed() {
        let Ok(map) = bpf::Map::create(bpf::MapKind::Hash, "echod_test", 4, 4, 1) else {
            return eprintln!("SKIPPED: bpf(2) cannot be used here");
        };
        in_a_sandbox(true, move || {
            map.update(&[1; 4], &[2; 4]).unwrap();
            assert!(map.delete(&[1; 4]).unwrap());
            let another = bpf::Map::create(bpf::MapKind::Hash, "echod_test", 4, 4, 1).unwrap_err();
            assert_eq!(another.raw_os_error(), Some(libc::EPERM));
        });
    }

    /// Runs this test once more in a child process, which the call kills.
    #[test]
    fn a_hostile_call_kills_the_process() {
        const CHILD: &str = "ECHOD_TEST_HOSTILE";
        if std::env::var_os(CHILD).is_some() {
            return in_a_sandbox(false, || _ = nix::unistd::chroot("/"));
        }
        let own = std::env::current_exe().unwrap();
        let name = "process::sandbox::seccomp::tests::a_hostile_call_kills_the_process";
        let output = Command::new(own).args(["--exact", name]).env(CHILD, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
    }

    /// Every call of an echo is allowed without checking its arguments.
    #[test]
    fn hot_calls_have_no_rules() {
        let all = allowed(SyscallNeeds { forking: true, io_uring: true, offload: false }).unwrap();
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
