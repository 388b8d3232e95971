//! Two network namespaces with a cable between them: the daemon's, and that of its clients. Both end with the test.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

use super::can_offload;
use crate::harness::{netns::in_namespace, skipped};

/// The addresses of both ends, and of the daemon's end over IPv6.
pub(super) const HERE: &str = "10.77.0.1";
pub(super) const FAR: &str = "10.77.0.2";
pub(super) const HERE6: &str = "fd77::1";

/// The daemon's end. The kernel does not look at sources, unless a test says otherwise.
const SETUP: &str = "ip link add va type veth peer name vb && ip address add 10.77.0.1/24 brd + dev va && \
                     ip address add fd77::1/64 dev va nodad && ip link set va up && \
                     echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter && echo 0 > /proc/sys/net/ipv4/conf/va/rp_filter";
const SETUP_FAR: &str = "ip link set lo up && ip address add 10.77.0.2/24 brd + dev vb && \
                         ip address add fd77::2/64 dev vb nodad && ip link set vb up";

type Job = Box<dyn FnOnce() + Send>;

/// A thread in the clients' namespace.
pub(super) struct Far {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Far {
    /// Runs `job` there, and returns when it has ended.
    #[track_caller]
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel::<Result<T, Box<dyn Any + Send>>>();
        let job = move || _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
        result.recv().unwrap().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Makes the namespace and has the end `vb` of the cable brought there.
    fn new() -> Option<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (sender, made) = channel();
        let thread = std::thread::spawn(move || {
            sender.send(unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid())).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        let far = Self { jobs: Some(jobs), thread: Some(thread) };
        let id = made.recv().unwrap().unwrap();
        if !shell(&format!("ip link set vb netns {id}")) || !far.run(|| shell(SETUP_FAR)) {
            skipped("no cable can be laid between two network namespaces");
            return None;
        }
        Some(far)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Runs `test` in the daemon's namespace.
#[track_caller]
pub(super) fn in_two_namespaces(test: impl FnOnce(&Far) + Send + 'static) {
    if !can_offload() {
        return;
    }
    in_namespace(SETUP, move || {
        if let Some(far) = Far::new() {
            test(&far);
        }
    });
}

/// Runs a line of commands in the namespace of this thread.
pub(super) fn shell(line: &str) -> bool {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    if !output.status.success() {
        eprintln!("`{line}` fails: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}
