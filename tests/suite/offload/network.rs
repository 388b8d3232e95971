//! Two network namespaces with a cable between them: the daemon's, and that of its clients. Both end with the test.

use super::can_offload;
use crate::harness::{
    netns::{Neighbour, in_namespace, sh},
    skipped,
};

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

/// Runs `test` in the daemon's namespace, with that of its clients.
#[track_caller]
pub(super) fn in_two_namespaces(test: impl FnOnce(&Neighbour) + Send + 'static) {
    if !can_offload() {
        return;
    }
    in_namespace(SETUP, move || {
        let far = Neighbour::new();
        let laid =
            sh(&format!("ip link set vb netns {}", far.name())).and_then(|()| far.sh(SETUP_FAR.to_owned()));
        match laid {
            Ok(()) => test(&far),
            Err(told) => skipped(format_args!("no cable can be laid between two network namespaces: {told}")),
        }
    });
}
