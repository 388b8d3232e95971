//! `echod faults`: decisions beforehand, and what plans can do.

use echod::config::reference;
use serde_json::Value;

use super::plan;
use crate::harness::{Launch, it, listener};

fn preview(toml: &str, args: &[&str]) -> crate::harness::Finished {
    Launch::new().config(toml).args(&["faults", "preview"]).args(args).run()
}

/// Frozen: a seed means the same in every version.
#[test]
fn a_seed_means_the_same_for_ever() {
    let toml = plan("drop = \"20%\"\ndelay = \"20ms +-5ms\"") + &listener("udp", "udp", "faults = \"plan\"");
    let told = preview(&toml, &["--from", "10.1.2.3:4000", "--count", "6"]);
    told.expect(0, &[]);
    assert_eq!(told.stdout, FROZEN);
}

const FROZEN: &str = "\
plan \"plan\" (seed 42) on listener \"udp\", datagrams from 10.1.2.3:4000:
1 delay 20.488 ms
2 drop
3 delay 21.310 ms
4 delay 21.220 ms
5 delay 19.701 ms
6 delay 18.048 ms
";

#[test]
fn connections_are_told_by_their_address() {
    let toml = plan("reset-now = \"30%\"") + &it("faults = \"plan\"");
    let with_port = preview(&toml, &["--from", "192.0.2.7:4000"]).stdout;
    assert_eq!(with_port, preview(&toml, &["--from", "192.0.2.7"]).stdout);
    assert_eq!(with_port.lines().count(), 21);
    assert!(
        with_port.contains("connections from 192.0.2.7:\n") && with_port.contains(" reset-now\n"),
        "{with_port}"
    );
}

#[test]
fn a_source_that_is_not_hit_is_told_so() {
    let toml = plan("from = \"10.0.0.0/8\"\ndrop = \"50%\"") + &listener("it", "udp", "faults = \"plan\"");
    let told = preview(&toml, &["--from", "192.0.2.7:4000"]);
    assert!(told.stdout.contains("does not hit 192.0.2.7:4000"), "{}", told.stdout);
    let json: Value =
        serde_json::from_str(&preview(&toml, &["--from", "192.0.2.7:4000", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["hits"], &json["decisions"]), (&false.into(), &Value::Array(Vec::new())));
}

#[test]
fn a_question_that_cannot_be_answered_says_what_is_missing() {
    let two = plan("drop = \"1%\"")
        + &listener("a", "udp", "faults = \"plan\"")
        + &listener("b", "udp", "faults = \"plan\"");
    for (args, words) in [
        (&["--from", "192.0.2.7:1"][..], &["several listeners use", "(a, b)"][..]),
        (&["--listener", "c", "--from", "192.0.2.7:1"], &["there is no listener \"c\"", "a, b"]),
        (&["--plan", "x"], &["there is no plan of faults \"x\"", "plan"]),
        (&["--listener", "a"], &["say with --from"]),
        (&["--listener", "a", "--from", "192.0.2.7"], &["add the port"]),
        (&["--listener", "a", "--from", "somewhere"], &["it is no address"]),
        (&["--count", "0"], &["--count"]),
    ] {
        preview(&two, args).expect(64, words);
    }
    preview(&it(""), &[]).expect(64, &["there is no plan of faults"]);
}

/// Decisions that no listener would make are not told.
#[test]
fn a_listener_without_the_plan_has_no_decisions() {
    let toml = plan("drop = \"1%\"")
        + "[[faults]]\nname = \"other\"\nseed = 1\ndrop = \"1%\"\n[[faults]]\nname = \"idle\"\nseed = 1\ndrop = \"1%\"\n"
        + &listener("a", "udp", "faults = \"plan\"")
        + &listener("b", "udp", "faults = \"other\"")
        + &listener("c", "udp", "");
    let of = |asked: &[&str]| preview(&toml, &[asked, &["--from", "192.0.2.7:1"]].concat());
    of(&["--plan", "plan", "--listener", "a"]).expect(0, &[]);
    let cure = "listener \"b\" uses the plan of faults \"other\", not \"plan\"; ask with --plan other";
    of(&["--plan", "plan", "--listener", "b"]).expect(64, &[cure]);
    let cure = "listener \"c\" uses no plan of faults; write `faults = \"plan\"` in it";
    of(&["--plan", "plan", "--listener", "c"]).expect(64, &[cure]);
    of(&["--plan", "idle"])
        .expect(64, &["no listener uses the plan of faults \"idle\"; write `faults = \"idle\"` in one"]);
}

#[test]
fn the_list_has_every_key_of_a_plan() {
    let told = Launch::new().args(&["faults", "list"]).run();
    told.expect(0, &[]);
    for key in reference().iter().filter(|key| key.table == "[[faults]]") {
        let line = format!("\n{} = {}\n", key.name, key.example);
        assert!(told.stdout.contains(&line), "no {line} in {}", told.stdout);
    }
    assert!(told.stdout.lines().all(|line| line.chars().count() <= 90), "{}", told.stdout);
}
