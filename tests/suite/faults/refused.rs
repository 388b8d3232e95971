//! What a configuration may not say about faults, and what it is warned of.

use crate::harness::{Launch, it, listener};

fn check(toml: &str) -> crate::harness::Finished {
    Launch::new().config(toml).args(&["--check"]).run()
}

#[test]
fn a_plan_needs_the_consent_of_the_daemon() {
    let toml = "[[faults]]\nname = \"wifi\"\ndrop = \"2%\"\n".to_owned() + &it("faults = \"wifi\"");
    check(&toml)
        .expect(78, &["faults on purpose are not allowed here", "allow-faults = true", "echod.toml:8:10"]);
    check(&("[daemon]\nallow-faults = true\n".to_owned() + &toml)).expect(0, &[]);
    // One that no listener uses does no harm.
    check(&toml.replace("faults = \"wifi\"\n", ""))
        .expect(0, &["no listener uses the plan of faults \"wifi\""]);
}

#[test]
fn the_name_of_a_plan_must_be_one_and_must_be_there() {
    let of = |faults: &str, name: &str| {
        let toml = format!("[daemon]\nallow-faults = true\n{faults}{}", it(&format!("faults = \"{name}\"")));
        check(&toml)
    };
    let wifi = "[[faults]]\nname = \"wifi\"\nreset-now = \"1%\"\n";
    of(wifi, "wify").expect(78, &["there is no plan of faults named `wify`", "did you mean `wifi`?"]);
    of("", "wifi").expect(78, &["there is no plan of faults named `wifi`", "add a `[[faults]]`"]);
    of(&wifi.repeat(2), "wifi").expect(78, &["two plans of faults are named `wifi`", "first used here"]);
    of("[[faults]]\nreset-now = \"1%\"\n", "off").expect(78, &["this plan of faults has no name"]);
    of(wifi, "off").expect(0, &[]);
}

#[test]
fn wrong_values_are_told_with_their_place_all_at_once() {
    let toml = "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\ndrop = \"120%\"\ndelay = \"20\"\nchnk = \"7B\"\n\
                rate = \"64kB\"\nfrom = \"10.0.0.1/40\"\nreorder = 3\n"
        .to_owned()
        + &it("faults = \"wifi\"");
    check(&toml).expect(
        78,
        &[
            "echod.toml:5:8",
            "write a chance from \"0%\" to \"100%\"",
            "echod.toml:6:9",
            "`20ms` milliseconds",
            "unknown key `chnk`",
            "did you mean `chunk`?",
            "write for example \"64kB/s\"",
            "echod.toml:9:8",
            "write a text in quotes, for example \"1% by 3\"",
        ],
    );
}

/// A number that the file cannot hold is told with the limit.
#[test]
fn a_seed_has_a_limit_that_is_told() {
    let of = |seed: &str| {
        let toml = format!("[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\nseed = {seed}\n");
        check(&(toml + &it("")))
    };
    of("9223372036854775807").expect(0, &[]);
    for seed in ["9223372036854775808", "-1"] {
        of(seed).expect(78, &[seed, "write a whole number from 0 to 9223372036854775807 (2^63-1)"]);
    }
}

#[test]
fn what_is_unwise_is_warned_of() {
    let of = |keys: &str, listener: String| {
        check(&format!(
            "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\n{keys}\n{}",
            listener.replace("127.0.0.1:0", "0.0.0.0:0")
        ))
    };
    let faults = "faults = \"wifi\"";
    of("duplicate = \"1%\"", listener("it", "udp", faults))
        .expect(0, &["sends replies twice", "name in `allow`"]);
    of("drop = \"1%\"", it(faults)).expect(0, &["has nothing for connections"]);
    of("reset-now = \"1%\"", listener("it", "udp", faults)).expect(0, &["has nothing for datagrams"]);
    of("from = \"10.0.0.0/8\"\nreset-now = \"1%\"", listener("it", "unix", faults))
        .expect(0, &["hits nobody here"]);
    of("stall-after = \"1B for ever\"", it(faults)).expect(0, &["for ever", "set `idle-timeout`"]);
}

/// Two ways to lose replies would not add up.
#[test]
fn losses_are_single_or_in_bursts() {
    let toml = "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\ndrop = \"1%\"\ndrop-burst = \"1% enter, 30% leave\"\n"
        .to_owned()
        + &listener("it", "udp", "faults = \"wifi\"");
    check(&toml).expect(78, &["two ways to lose replies", "take one of them out"]);
}

/// A URL may name a plan of the file.
#[test]
fn a_url_names_a_plan() {
    let toml = "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\nseed = 7\ndrop = \"1%\"\n";
    let told = Launch::new().config(toml).args(&["-l", "udp://127.0.0.1:0?faults=wifi", "--check"]).run();
    told.expect(0, &[]);
    assert!(told.stdout.contains("faults wifi (seed 7)"), "{}", told.stdout);
    let printed =
        Launch::new().config(toml).args(&["-l", "udp://127.0.0.1:0?faults=wifi", "--print-config"]).run();
    assert!(
        printed.stdout.contains("faults = \"wifi\"") && printed.stdout.contains("[[faults]]"),
        "{}",
        printed.stdout
    );
}
