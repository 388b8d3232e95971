//! What passes a check can be bound, and what is refused for its addresses cannot. In a network of its own every port is free.

use std::{fs, path::Path, time::Duration};

use echod::{
    config::{self, Config, Environment, Inputs},
    socket::{bind as socket_bind, host_names::HostNames, listener::Listener, name_clashes},
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config as Runs, TestRunner},
};

use crate::harness::{Launch, PATIENCE, has_ipv6, netns::in_namespace};

/// A listener as it is written.
fn any_listener() -> impl Strategy<Value = String> {
    let inet = (select(vec!["tcp", "udp"]), prop::collection::vec(any_inet(), 1..3));
    let unix = (select(vec!["unix", "unix-datagram"]), prop::collection::vec(any_unix(), 1..3));
    let keys = (
        select(vec!["", "", "device = \"lo\""]),
        select(vec!["", "", "v6-only = true"]),
        select(vec!["", "", "reuse-port = true"]),
    );
    let inet = (inet, keys).prop_map(|((protocol, addresses), (device, v6_only, reuse_port))| {
        format!("{}{device}\n{v6_only}\n{reuse_port}\n", listener(protocol, &addresses))
    });
    let modes = select(vec!["iterative", "threading", "forking", "epoll", "poll"]);
    let any =
        prop_oneof![4 => inet, 1 => unix.prop_map(|(protocol, addresses)| listener(protocol, &addresses))];
    (any, modes).prop_map(|(listener, mode)| format!("{listener}mode = \"{mode}\"\n"))
}

fn listener(protocol: &str, addresses: &[String]) -> String {
    format!("[[listener]]\nprotocol = \"{protocol}\"\naddress = {addresses:?}\n")
}

fn any_inet() -> impl Strategy<Value = String> {
    let hosts = [
        "0.0.0.0",
        "127.0.0.1",
        "127.0.0.2",
        "localhost",
        "LocalHost",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0.0.0.0]",
    ];
    let hosts: Vec<_> = hosts.into_iter().filter(|host| !host.starts_with('[') || has_ipv6()).collect();
    (select(hosts), select(vec!["0", "7001", "7002", "7001-7002", "7002-7003"]))
        .prop_map(|(host, ports)| format!("{host}:{ports}"))
}

fn any_unix() -> impl Strategy<Value = String> {
    select(vec!["@x", "@y", "DIR/x", "DIR/y", "DIR/./x", "LINK/x"]).prop_map(str::to_owned)
}

/// Reads a configuration as `--check` does.
fn load(toml: &str, dir: &Path) -> Result<(Config, HostNames), String> {
    let file = dir.join("echod.toml");
    fs::write(&file, toml).unwrap();
    let inputs = Inputs { file: Some(file), listen: Vec::new() };
    let config =
        config::load(&inputs, &Environment::default()).map_err(|error| error.plain().to_owned())?.config;
    let names = HostNames::look_up(&config.listeners, || false).unwrap();
    name_clashes::check_names(&config.listeners, &names).map_err(|failure| failure.message)?;
    Ok((config, names))
}

/// Binds all listeners side by side. What the test before has closed may be open for a moment yet, in a process that another test
/// is about to start: `patience` waits for that.
fn bind(config: &Config, names: &HostNames, patience: Duration) -> Result<Vec<Listener>, String> {
    let mut all = Vec::new();
    for settings in &config.listeners {
        let bound = socket_bind::sites(settings, names)
            .and_then(|sites| socket_bind::bind(settings, sites, patience, &mut Vec::new()));
        all.extend(bound.map_err(|failure| failure.message)?);
    }
    Ok(all)
}

#[test]
fn what_passes_a_check_can_be_bound() {
    in_namespace("true", || {
        let runs = Runs { cases: 400, failure_persistence: None, ..Runs::default() };
        let mut runner = TestRunner::new(runs);
        let checked = runner.run(&prop::collection::vec(any_listener(), 1..5), |listeners| {
            let dir = tempfile::tempdir().unwrap();
            let link = dir.path().with_extension("link");
            std::os::unix::fs::symlink(dir.path(), &link).unwrap();
            let here = |text: &str| {
                text.replace("DIR", dir.path().to_str().unwrap()).replace("LINK", link.to_str().unwrap())
            };
            let whole = load(&here(&listeners.concat()), dir.path());
            let alone: Result<Vec<_>, _> =
                listeners.iter().map(|listener| load(&here(listener), dir.path())).collect();
            let outcome = match (&whole, alone) {
                (Ok((config, names)), _) => bind(config, names, PATIENCE).map(drop),
                (Err(_), Err(_)) => Ok(()),
                // Where a UDP socket shares its port with one of the same user the kernel looks no further: whether others are in
                // the way depends on the order in which they were bound (udp_lib_lport_inuse() of the kernel).
                (Err(_), Ok(_))
                    if listeners.iter().any(|text| text.contains("udp") && text.contains("reuse-port")) =>
                {
                    Ok(())
                }
                (Err(told), Ok(alone)) => {
                    let mut bound = Vec::new();
                    let all = alone.iter().try_for_each(|(config, names)| {
                        bound.push(bind(config, names, Duration::ZERO)?);
                        Ok::<_, String>(())
                    });
                    all.map_or(Ok(()), |()| Err(format!("this is refused and can be bound: {told}")))
                }
            };
            fs::remove_file(link).unwrap();
            outcome.map_err(TestCaseError::fail)
        });
        if let Err(error) = checked {
            panic!("{error}");
        }
    });
}

/// A name is known only to whoever looks it up.
#[test]
fn an_address_by_two_names_is_told_with_both_listeners() {
    let toml = "[[listener]]\nname = \"number\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:7001\"\n\
                [[listener]]\nname = \"name\"\nprotocol = \"tcp\"\naddress = \"localhost:7000-7001\"\n";
    let words = "listener \"name\": cannot serve tcp://localhost:7000-7001: listener \"number\" has tcp://127.0.0.1:7001, which \
                 is the same address; choose another port, or set `reuse-port = true` for both";
    Launch::new().config(toml).args(&["--check"]).run().expect(78, &[words]);
    in_namespace("true", move || {
        Launch::new().config(toml).try_start().err().expect("a clash").expect(78, &[words]);
        let mut echod = Launch::new().config(&toml.replace("7000-7001", "7000")).start();
        echod.reload(toml);
        assert!(echod.log().contains(words) && echod.log().contains("not reloaded"), "{}", echod.log());
        echod.client("number").echo(b"served as before");
        echod.stop();
    });
}

#[test]
fn a_name_that_cannot_be_looked_up_here_passes_a_check_with_a_word() {
    let toml = "[[listener]]\nname = \"it\"\nprotocol = \"tcp\"\naddress = \"nobody.invalid:7\"\n";
    let checked = Launch::new().config(toml).args(&["--check"]).run();
    checked.expect(0, &["echod: listener \"it\": cannot look up host `nobody.invalid`"]);
}
