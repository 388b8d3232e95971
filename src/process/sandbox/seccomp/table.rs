//! The lists of system calls, by the numbers of the architecture; empty on an architecture without a filter.

pub(super) use numbers::{
    ALWAYS, ARCHITECTURE, BPF, CLONE, CLONE3, FORKING, HOSTILE, IO_URING, IOCTL, PRCTL, PRLIMIT, SOCKET,
};

/// The flags of clone(2) that make a namespace.
pub(super) const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Requests of ioctl(2): the non-blocking and close-on-exec flags, the bytes in a receive or send buffer, terminal attributes,
/// and interfaces by name and index.
#[allow(clippy::unnecessary_cast, reason = "with musl they are another type")]
pub(super) const REQUESTS: &[u64] = &[
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::FIONREAD as u64,
    libc::TIOCOUTQ as u64,
    libc::TCGETS as u64,
    libc::SIOCGIFINDEX as u64,
    libc::SIOCGIFNAME as u64,
];

/// Options of prctl(2): a thread's name, the signal at the parent's end, and the names that the C library gives to mappings.
pub(super) const OPTIONS: &[u64] = &[
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_PDEATHSIG as u64,
    libc::PR_SET_VMA as u64,
];

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod numbers {
    /// Calls whose arguments are checked, see `allowed`.
    pub(in super::super) const SOCKET: i64 = libc::SYS_socket;
    pub(in super::super) const CLONE: i64 = libc::SYS_clone;
    pub(in super::super) const CLONE3: i64 = libc::SYS_clone3;
    pub(in super::super) const IOCTL: i64 = libc::SYS_ioctl;
    pub(in super::super) const PRCTL: i64 = libc::SYS_prctl;
    pub(in super::super) const PRLIMIT: i64 = libc::SYS_prlimit64;
    pub(in super::super) const BPF: i64 = libc::SYS_bpf;

    /// Calls that every mode, the supervisor, a reload and the C library need.
    pub(in super::super) const ALWAYS: &[i64] = &[
        // Bytes.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_pwritev2,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_recvmmsg,
        libc::SYS_sendmmsg,
        // Waiting.
        libc::SYS_ppoll,
        libc::SYS_pselect6,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_eventfd2,
        libc::SYS_timerfd_create,
        libc::SYS_timerfd_settime,
        libc::SYS_futex,
        libc::SYS_futex_waitv,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_restart_syscall,
        // Sockets; socket(2) has rules of its own.
        libc::SYS_socketpair,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_connect,
        libc::SYS_shutdown,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        // Files; Landlock decides which ones.
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_close,
        libc::SYS_close_range,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_readlinkat,
        libc::SYS_getdents64,
        libc::SYS_getcwd,
        libc::SYS_lseek,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_fcntl,
        libc::SYS_flock,
        libc::SYS_ftruncate,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        #[cfg(not(target_arch = "riscv64"))]
        libc::SYS_renameat,
        libc::SYS_umask,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_pipe2,
        libc::SYS_memfd_create,
        // Memory.
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        // Threads; clone(2) has rules of its own.
        libc::SYS_set_robust_list,
        libc::SYS_get_robust_list,
        libc::SYS_set_tid_address,
        libc::SYS_rseq,
        libc::SYS_membarrier,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getcpu,
        libc::SYS_exit,
        libc::SYS_exit_group,
        // Signals to threads of this process.
        libc::SYS_tgkill,
        libc::SYS_tkill,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigpending,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        // Process 1 of a container also reaps orphans.
        libc::SYS_wait4,
        libc::SYS_waitid,
        // Identities, clocks and the like.
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_getresuid,
        libc::SYS_getresgid,
        libc::SYS_getgroups,
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_gettimeofday,
        libc::SYS_getrusage,
        libc::SYS_sysinfo,
        libc::SYS_uname,
        libc::SYS_getrandom,
    ];

    /// Older variants of the above, which only this architecture has.
    #[cfg(target_arch = "x86_64")]
    pub(in super::super) const ARCHITECTURE: &[i64] = &[
        libc::SYS_poll,
        libc::SYS_select,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
        libc::SYS_eventfd,
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_readlink,
        libc::SYS_getdents,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_dup2,
        libc::SYS_pipe,
        libc::SYS_time,
        libc::SYS_getrlimit,
        libc::SYS_arch_prctl,
    ];
    #[cfg(target_arch = "riscv64")]
    pub(in super::super) const ARCHITECTURE: &[i64] = &[libc::SYS_riscv_flush_icache];
    #[cfg(target_arch = "aarch64")]
    pub(in super::super) const ARCHITECTURE: &[i64] = &[];

    /// A listener in mode forking executes this program again, and forks for each client.
    pub(in super::super) const FORKING: &[i64] = &[
        libc::SYS_execve,
        libc::SYS_kill,
        libc::SYS_setpgid,
        libc::SYS_getpgid,
        // Workers whose log is behind.
        libc::SYS_setitimer,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_getpgrp,
    ];

    /// Operations submitted through a ring pass no seccomp filter.
    pub(in super::super) const IO_URING: &[i64] =
        &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

    /// Calls that inspect other processes or change the machine, and those through which the kernel is often attacked.
    pub(in super::super) const HOSTILE: &[i64] = &[
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_kexec_load,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_syslog,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_open_by_handle_at,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_vhangup,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_modify_ldt,
    ];
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod numbers {
    pub(in super::super) const SOCKET: i64 = -1;
    pub(in super::super) const CLONE: i64 = -1;
    pub(in super::super) const CLONE3: i64 = -1;
    pub(in super::super) const IOCTL: i64 = -1;
    pub(in super::super) const PRCTL: i64 = -1;
    pub(in super::super) const PRLIMIT: i64 = -1;
    pub(in super::super) const BPF: i64 = -1;
    pub(in super::super) const ALWAYS: &[i64] = &[];
    pub(in super::super) const ARCHITECTURE: &[i64] = &[];
    pub(in super::super) const FORKING: &[i64] = &[];
    pub(in super::super) const IO_URING: &[i64] = &[];
    pub(in super::super) const HOSTILE: &[i64] = &[];
}
