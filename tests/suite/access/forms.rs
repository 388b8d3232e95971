//! One client in several forms: an IPv4 address may come as such, mapped (`::ffff:a.b.c.d`) or in the old compatible form (`::a.b.c.d`),
//! and every decision is about the IPv4 address.

use crate::harness::{Client, Echod, Endpoint, Launch, has_mode, netns::in_namespace};

const MODES: [&str; 7] = ["iterative", "threading", "forking", "select", "poll", "epoll", "io-uring"];

/// The same client over IPv4, and in the compatible form over IPv6.
const SETUP: &str = "ip addr add 10.1.2.3/32 dev lo && ip -6 addr add ::10.1.2.3/128 dev lo nodad";
const FORMS: [&str; 2] = ["10.1.2.3", "::10.1.2.3"];

fn start(protocol: &str, mode: &str, keys: &str) -> Echod {
    Echod::start(&format!(
        "[[listener]]\nname = \"it\"\nprotocol = \"{protocol}\"\naddress = \"[::]:0\"\nmode = \"{mode}\"\n{keys}\n"
    ))
}

/// From one of the forms to the same one.
fn client(daemon: &Echod, form: &str) -> Client {
    let mut endpoint: Endpoint = daemon.endpoint("it");
    endpoint.set_ip(form.parse().unwrap());
    Client::connect_from(&endpoint, form)
}

#[test]
fn rules_are_about_the_ipv4_address() {
    in_namespace(SETUP, || {
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            for protocol in ["tcp", "udp"] {
                let daemon = start(protocol, mode, "allow = \"10.1.0.0/16\"");
                FORMS.iter().for_each(|form| client(&daemon, form).echo(form.as_bytes()));
                let daemon = start(protocol, mode, "deny = \"10.1.2.3\"");
                FORMS.iter().for_each(|form| _ = client(&daemon, form).try_send(b"let me in"));
                daemon.wait_state("it", |state| state["denied"] == 2 && state["served"] == 0);
            }
        }
    });
}

#[test]
fn a_client_in_two_forms_is_one_source() {
    in_namespace(SETUP, || {
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            let daemon = start("udp", mode, "rate-per-source = \"1/h\"");
            client(&daemon, FORMS[1]).echo(b"the only one");
            client(&daemon, FORMS[0]).send(b"another");
            daemon.wait_state("it", |state| state["rate"] == 1 && state["served"] == 1);
            if mode == "iterative" {
                continue;
            }
            let daemon = start("tcp", mode, "max-connections-per-source = 1");
            let first = client(&daemon, FORMS[1]);
            first.echo(b"the only one");
            assert!(client(&daemon, FORMS[0]).is_ended());
            daemon.wait_state("it", |state| state["source-full"] == 1);
        }
    });
}

/// What a proxy says is unwrapped as well, and so is the address of the proxy.
#[test]
fn proxies_are_seen_through() {
    in_namespace(SETUP, || {
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            let keys =
                "proxy-protocol = \"required\"\ntrusted-proxies = \"10.1.2.3\"\ndeny = \"203.0.113.9\"";
            let daemon = start("tcp", mode, keys);
            for form in FORMS {
                for source in
                    ["TCP4 203.0.113.9 192.0.2.1", "TCP6 ::ffff:203.0.113.9 ::1", "TCP6 ::203.0.113.9 ::1"]
                {
                    let client = client(&daemon, form);
                    client.send(format!("PROXY {source} 40000 7\r\n").as_bytes());
                    assert!(client.is_ended(), "{mode} {form} {source}");
                }
            }
            daemon.wait_state("it", |state| state["denied"] == 6);
        }
    });
}

#[test]
fn explain_sees_one_client() {
    let config = "[[listener]]\nname = \"it\"\nprotocol = \"PROTOCOL\"\naddress = \"0.0.0.0:7\"\ndeny = \"10.1.2.0/24\"\n";
    for protocol in ["tcp", "udp"] {
        for form in ["10.1.2.3", "::ffff:10.1.2.3", "::10.1.2.3"] {
            let launch = Launch::new().config(&config.replace("PROTOCOL", protocol));
            let told = launch.args(&["explain", "--listener", "it", "--from", form]).run();
            assert!(told.stderr.contains("(denied)"), "{form}: {}{}", told.stdout, told.stderr);
            assert!(
                told.stdout.contains("10.1.2.0/24 is the longest that holds 10.1.2.3"),
                "{}",
                told.stdout
            );
        }
    }
}

/// `240.0.0.0/4` is reserved, and clouds number their machines there.
#[test]
fn a_reserved_address_is_answered_like_any_other() {
    in_namespace("ip addr add 240.1.2.3/32 dev lo", || {
        for mode in MODES.into_iter().filter(|mode| has_mode(mode)) {
            for (protocol, keys) in [("tcp", ""), ("udp", ""), ("udp", "kernel-filter = false")] {
                let daemon = start(protocol, mode, keys);
                client(&daemon, "240.1.2.3").echo(b"hello");
            }
        }
    });
}
