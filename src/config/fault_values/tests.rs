use super::{notations::*, *};
use crate::config::{diagnostic::Diagnostic, keys::Codec};

fn shown<T: fmt::Display>(read: Result<T, Diagnostic>) -> String {
    read.map_or_else(|wrong| format!("{}; {}", wrong.title, wrong.help), |value| value.to_string())
}

#[test]
fn chances_are_written_as_they_are_read() {
    for text in ["0%", "2%", "0.5%", "0.0000001%", "33.3333333%", "100%"] {
        assert_eq!(shown(notations::chance(text)), text);
    }
    assert_eq!(notations::chance("1%"), notations::chance(" 1.0 %"));
    for (text, help) in [
        ("120%", "write a chance from \"0%\" to \"100%\""),
        ("2", "add a per cent sign: \"2%\""),
        ("-1%", "write for example"),
        ("%", "write for example"),
        ("1.%", "write for example"),
        ("often", "write for example"),
        ("0.00000001%", "at most seven digits"),
        ("99999999999999999999%", "write a chance from"),
    ] {
        assert!(shown(notations::chance(text)).contains(help), "{text}");
    }
}

/// A draw is evenly distributed over all numbers, so the chance is the part of them that hits.
#[test]
fn a_chance_hits_the_part_of_the_draws_that_it_says() {
    let chance = notations::chance("25%").unwrap();
    assert!(chance.hits(0) && chance.hits(u64::MAX / 4 - 10) && !chance.hits(u64::MAX / 4 + 10));
    assert!(Chance(CERTAIN).hits(u64::MAX));
    assert!(!Chance(0).hits(0));
}

#[test]
fn values_of_plans_are_written_as_they_are_read() {
    let same = |key: &str, text: &str, shown: Option<toml::Value>| {
        assert_eq!(shown, Some(text.into()), "{key}");
    };
    let raw = |text: &str| {
        crate::config::keys::Raw::text(crate::config::source::Place::new(0, 0..text.len()), text.to_owned())
    };
    macro_rules! same {
        ($codec:expr, $($text:literal),+) => {$({
            let mut diagnostics = crate::config::diagnostic::Diagnostics::default();
            let value = $codec.read("key", &raw($text), &mut diagnostics);
            assert!(diagnostics.is_empty(), "{} is right", $text);
            same(stringify!($codec), $text, $codec.write(&value.unwrap()));
        })+};
    }
    same!(DROP_BURST, "1% enter, 30% leave");
    same!(REORDER, "1% by 3");
    same!(TRUNCATE, "0.1% to 10B");
    same!(
        DELAY,
        "20ms",
        "20ms +-5ms",
        "normal 20ms, 5ms",
        "normal 1m 30s, 5ms",
        "normal 1m 30s, 1m 1s",
        "30m +-30m"
    );
    same!(CHUNK, "7B every 1ms", "7B every 0s");
    same!(AFTER, "4096B", "1s", "1m");
    same!(STALL, "65536B for 5s", "2s for ever");
    for forever in ["2s forever", "2sforever", "2s for  ever "] {
        let raw = raw(forever);
        let stall = STALL.read("key", &raw, &mut Default::default()).flatten();
        assert_eq!(stall.map(|stall| stall.to_string()), Some("2s for ever".to_owned()), "{forever}");
    }
    same!(HOLD, "200ms");
    same!(BYTE_RATE, "64000B/s");
    same!(BYTE_NUMBER, "1000B");
}

/// A blank separates the mean from the deviation only where no comma does.
#[test]
fn a_normal_delay_is_read_as_it_is_written() {
    for (text, [middle, spread]) in [
        ("normal 1m 30s, 5ms", [90_000, 5]),
        ("normal 1m 30s 5ms", [90_000, 5]),
        ("normal 20ms 5ms", [20, 5]),
        ("normal 20ms,5ms", [20, 5]),
        ("normal 5ms , 1m 30s", [5, 90_000]),
    ] {
        let at = crate::config::source::Place::new(0, 0..text.len());
        let raw = crate::config::keys::Raw::text(at, text.to_owned());
        let delay = DELAY.read("delay", &raw, &mut Default::default()).flatten().unwrap();
        let times = [delay.middle, delay.spread].map(|time| time.as_millis());
        assert_eq!((times, delay.is_normal), ([middle, spread], true), "{text}");
    }
}

#[test]
fn a_wrong_value_of_a_plan_says_what_to_write() {
    let raw = |text: &str| {
        crate::config::keys::Raw::text(crate::config::source::Place::new(0, 0..text.len()), text.to_owned())
    };
    macro_rules! wrong {
        ($codec:expr, $($text:literal => $help:literal),+) => {$({
            let mut diagnostics = crate::config::diagnostic::Diagnostics::default();
            assert_eq!($codec.read("key", &raw($text), &mut diagnostics), None, "{}", $text);
            let sources = [crate::config::source::Source::file("x", $text)];
            let told = diagnostics.render(&sources, false);
            assert!(told.contains($help), "{}: {told}", $text);
        })+};
    }
    wrong!(DROP_BURST, "1%" => "1% enter, 30% leave", "1% enter, 0% leave" => "above");
    wrong!(DROP_BURST, "enter, 30% leave" => "no chance in front of `enter`");
    wrong!(REORDER, "1% by 0" => "1% by 3", "x by 3" => "2%", "by 3" => "has no chance in front of `by`");
    wrong!(TRUNCATE, "1%" => "0.1% to 10B", "1% to 70000B" => "65535B", "tomato" => "`tomato` is not a way to cut short",
           "to 10B" => "has no chance in front of `to`");
    wrong!(DELAY, "5ms +-9ms" => "larger than the delay", "20" => "20ms", "2h" => "at most", "normal 5ms" => "normal 20ms", "1h +-1h" => "an hour at most",
           "59m +-1m 1s" => "an hour at most", "normal 1h, 61m" => "at most");
    wrong!(DELAY, "+-5ms" => "20ms +-5ms");
    wrong!(CHUNK, "0B every 1ms" => "at least", "2GiB" => "1MiB", "every 1ms" => "7B every 1ms");
    wrong!(AFTER, "4096" => "4096B", "0B" => "at least", "soon" => "4KiB", "500000000000000h" => "more than a year",
           "99999999999999999999h" => "8784h", "99999999999999999999B" => "9223372036854775807B", "-5s" => "negative");
    wrong!(STALL, "64KiB" => "for ever", "64KiB for 5" => "5s", "64KiB for 99999999999999h" => "more than a year",
           "for 5s" => "after how much it begins");
    wrong!(BYTE_RATE, "64000/s" => "64000B/s", "64kB" => "64kB/s", "99999999999999999999B/s" => "9223372036854775807B",
           "9223372036854775807GiB/s" => "9223372036854775807B");
}
