//! What only mode `io-uring` has: that a kernel or a sandbox may deny it.

use crate::harness::{Launch, has_python};

/// Denies the system call of the number `CALL`, as containers do, and becomes its arguments.
const DENY: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
step = lambda code, jt, jf, k: struct.pack("HBBI", code, jt, jf, k)
# Load the number; equal: refuse with EPERM; allow.
program = step(0x20, 0, 0, 0) + step(0x15, 0, 1, int(os.environ["CALL"])) + step(0x06, 0, 0, 0x00050001) + step(0x06, 0, 0, 0x7fff0000)
memory = ctypes.create_string_buffer(program)
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(memory)))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, head, 0, 0):
    sys.exit("cannot install the filter")
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// io_uring_setup(2) on every architecture.
const IO_URING_SETUP: i64 = 425;

/// A launch in such a sandbox; `None`, loudly, where there is no Python.
pub(crate) fn denied(call: i64) -> Option<Launch> {
    if !has_python("so nothing can deny a system call") {
        return None;
    }
    Some(Launch::new().env("DENY", DENY).env("CALL", call).shell("exec python3 -c \"$DENY\" \"$0\" \"$@\""))
}

#[test]
fn denied_it_says_so_and_how_to_cure_it() {
    let Some(launch) = denied(IO_URING_SETUP) else { return };
    let failed = launch.args(&["--listen", "tcp://127.0.0.1:0?name=it&mode=io-uring"]).try_start();
    let Err(failed) = failed else { panic!("it started") };
    let words = [
        "listener \"it\": cannot use io_uring: operation not permitted",
        "io_uring_disabled",
        "fallback = \"epoll\"",
    ];
    failed.expect(69, &words);
}

#[test]
fn denied_it_falls_back_where_it_may() {
    let Some(launch) = denied(IO_URING_SETUP) else { return };
    let mut daemon = launch
        .config(
            "[defaults]\nfallback = \"epoll\"\n\
             [[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"io-uring\"\n\
             [[listener]]\nname = \"other\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"poll\"\n",
        )
        .start();
    daemon.client("it").echo(b"hello world\n");
    let log = daemon.log();
    assert!(
        log.contains(
            "WARN  listener \"it\": mode epoll takes the place of io-uring: operation not permitted"
        ),
        "{log}"
    );
    assert!(log.contains("mode epoll, workers 1") && log.contains("mode poll, workers 1"), "{log}");
    daemon.stop();
}

#[test]
fn fallback_is_for_io_uring_alone() {
    let finished = Launch::new()
        .config("[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nmode = \"epoll\"\nfallback = \"epoll\"\n")
        .args(&["--check"])
        .run();
    finished.expect(78, &["`fallback` does not fit mode `epoll`", "choose mode `io-uring`"]);
}
