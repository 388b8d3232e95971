//! What is read as a configuration: text in a regular file, or from a pipe that was named on purpose. Nothing else, so that
//! neither a start nor a reload can wait for it.

use std::{fs, io::Write, os::unix::net::UnixListener};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::LISTENER;
use crate::harness::{Echod, Launch};

#[test]
fn a_configuration_that_is_a_fifo_is_refused() {
    let launch = Launch::new().args(&["--config", "fifo", "--check"]);
    mkfifo(&launch.dir().join("fifo"), Mode::S_IRWXU).unwrap();
    launch.run().expect(66, &["cannot read configuration fifo: it is a FIFO, not a regular file"]);

    let launch = Launch::new().config(&format!("{LISTENER}deny-include = \"fifo\"\n"));
    mkfifo(&launch.dir().join("fifo"), Mode::S_IRWXU).unwrap();
    launch.run().expect(78, &["cannot read `fifo`: it is a FIFO, not a regular file", "echod.toml:5:16"]);
}

#[test]
fn a_configuration_that_is_no_file_is_refused() {
    let launch = Launch::new().args(&["--config", "socket", "--check"]);
    let _socket = UnixListener::bind(launch.dir().join("socket")).unwrap();
    launch.run().expect(66, &["cannot read configuration socket: it is a socket, not a regular file"]);
    Launch::new()
        .args(&["--config", "/dev/null", "--check"])
        .run()
        .expect(66, &["/dev/null: it is a device"]);
    Launch::new().args(&["--config", ".", "--check"]).run().expect(66, &["it is a directory"]);
}

/// Nobody may hold a reload up by what stands in the place of a file.
#[test]
fn a_reload_from_a_fifo_changes_nothing() {
    let mut echod = Echod::start(LISTENER);
    fs::remove_file(echod.path("echod.toml")).unwrap();
    mkfifo(&echod.path("echod.toml"), Mode::S_IRWXU).unwrap();
    echod.read_again();
    assert!(echod.log().contains("it is a FIFO, not a regular file"), "{}", echod.log());
    fs::remove_file(echod.path("echod.toml")).unwrap();

    mkfifo(&echod.path("nets"), Mode::S_IRWXU).unwrap();
    echod.reload(&format!("{LISTENER}deny-include = \"nets\"\n"));
    assert!(echod.log().contains("cannot read `nets`: it is a FIFO"), "{}", echod.log());
    echod.client("web").echo(b"served as before");
    echod.stop();
}

#[test]
fn a_pipe_that_was_named_is_read() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(LISTENER.as_bytes()).unwrap();
    drop(writer);
    let checked = Launch::new().args(&["--config", "/dev/stdin", "--check"]).stdin(reader.into()).run();
    checked.expect(0, &[]);
    assert!(checked.stdout.contains("listener \"web\""), "{}", checked.stdout);
}
