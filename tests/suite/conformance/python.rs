//! An unmodified Python client, which knows nothing of this project, against all twelve classes.

use std::process::Command;

use crate::{
    harness::{Echod, Endpoint, skipped},
    matrix::classes,
};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/client.py");

#[test]
fn a_python_client_is_served_by_every_class() {
    let toml = classes().into_iter().enumerate().map(|(n, class)| class.listener(&format!("class-{n}")));
    let daemon = Echod::start(&toml.collect::<String>());
    let places = (0..12).flat_map(|n| match daemon.endpoint(&format!("class-{n}")) {
        Endpoint::Tcp(address) => ["tcp".to_owned(), address.to_string()],
        Endpoint::Udp(address) => ["udp".to_owned(), address.to_string()],
        Endpoint::Unix(path) => ["unix".to_owned(), path.display().to_string()],
        Endpoint::UnixSeqpacket(path) => ["unix-seqpacket".to_owned(), path.display().to_string()],
        Endpoint::UnixDatagram(path) => ["unix-datagram".to_owned(), path.display().to_string()],
    });
    let ran = Command::new("python3").arg(CLIENT).args(places).current_dir("/").output();
    let Ok(output) = ran else {
        skipped("python3 is not installed, no Python client was tried");
        return;
    };
    let (said, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaints}\n{}", daemon.log());
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 12, "{said}");
}
