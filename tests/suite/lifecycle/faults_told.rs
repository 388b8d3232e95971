//! Faults on purpose are told loudly: at the start, after each reload, and to the service manager.

use echod::report::log_event::LogEvent;

use crate::harness::{Echod, Launch, Manager, listener};

/// A plan for datagrams and connections, of which one fault never happens.
const WIFI: &str = "[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\nseed = 42\ndrop = \"2%\"\n\
                    duplicate = \"0%\"\ndelay = \"1ms\"\nreset-now = \"5%\"\n";

const BY_WIFI: &str = "faults = \"wifi\"";

#[test]
fn a_plan_is_told_at_the_start_and_after_each_reload() {
    let manager = Manager::new();
    let plain = listener("plain", "tcp", "");
    let both = listener("tcp", "tcp", BY_WIFI) + &listener("udp", "udp", BY_WIFI);
    let daemon = Launch::new()
        .config(&format!("{WIFI}{plain}{both}"))
        .args(&["--log-format", "json"])
        .env("NOTIFY_SOCKET", &manager.name)
        .start();
    manager.wait("STATUS=serving 3 listeners, faults on purpose on 2");
    let told = daemon.wait_events(LogEvent::FaultsOn, 2);
    for (event, name, kinds) in [(&told[0], "tcp", "delay, reset-now"), (&told[1], "udp", "drop, delay")] {
        assert_eq!((&event["level"], &event["listener"]), (&"warn".into(), &name.into()), "{event}");
        assert_eq!((&event["plan"], &event["seed"]), (&"wifi".into(), &42.into()), "{event}");
        assert_eq!(event["faults"], kinds, "{event}");
        let message = event["message"].as_str().unwrap();
        assert_eq!(
            message,
            format!("listener \"{name}\": faults on purpose by plan \"wifi\" (seed 42): {kinds}")
        );
    }

    // One that is not changed is told again, and one that has lost its plan for the last time.
    daemon.reload(&format!("{WIFI}{plain}{}{}", listener("tcp", "tcp", BY_WIFI), listener("udp", "udp", "")));
    manager.wait("STATUS=serving 3 listeners, faults on purpose on 1");
    assert_eq!(daemon.wait_events(LogEvent::FaultsOn, 3)[2]["listener"], "tcp");
    let off = daemon.wait_events(LogEvent::FaultsOff, 1);
    assert_eq!((&off[0]["level"], &off[0]["listener"]), (&"info".into(), &"udp".into()), "{off:?}");

    // One that was removed has nothing to tell.
    daemon.reload(&plain);
    manager.wait("STATUS=serving 1 listener");
    daemon.wait_events(LogEvent::FaultsOff, 1);
    daemon.wait_events(LogEvent::FaultsOn, 3);
}

/// A plan that can do nothing there leaves the listener alone.
#[test]
fn a_plan_without_anything_for_a_listener_is_not_told() {
    let plan = WIFI.replace("drop = \"2%\"\n", "").replace("delay = \"1ms\"\n", "");
    let mut daemon = Echod::start_with_events(&(plan + &listener("udp", "udp", BY_WIFI)));
    daemon.stop();
    daemon.wait_events(LogEvent::FaultsOn, 0);
}
