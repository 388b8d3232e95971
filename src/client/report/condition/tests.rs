use super::*;
use crate::client::report::sample;

fn read(text: &str) -> Condition {
    let mut all = Conditions::read("--fail-if", text).unwrap_or_else(|failure| panic!("{failure}")).all;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn conditions_are_compared_with_what_was_measured() {
    // A thousand answers of 1 to 1000 µs, and as many probes lost or refused as it says.
    let mut measurement = sample::measurement(1000);
    measurement.targets[0].fates.lost = 9;
    measurement.targets[0].fates.refused = 1;
    measurement.targets[0].fates.planned += 10;
    let target = &measurement.targets[0];
    for (text, expected) in [
        ("p99>980us", Some(true)),
        ("p99 > 1 ms", Some(false)),
        ("service.p50<=501us", Some(true)),
        ("min==1us", Some(true)),
        ("max!=1ms", Some(false)),
        ("mean>=500.5us", Some(true)),
        ("p99.9>1ns", None),
        ("connect.p99>1s", None),
        ("response.p50>1s", None),
        ("loss>0.9%", Some(true)),
        ("loss>1%", Some(false)),
        ("loss>9", Some(true)),
        ("refused=1", Some(true)),
        ("late<1", Some(true)),
        ("duplicate>0%", Some(false)),
        ("rate<101/s", Some(true)),
        ("rate>0.1k/s", Some(false)),
        ("flows-dead>0", Some(false)),
    ] {
        let condition = read(text);
        let reading = condition.reading(&measurement, target);
        assert_eq!(condition.is_true(&reading), expected, "{text}: {reading:?}");
        let negated = condition.negated().is_true(&reading);
        assert_eq!(negated, expected.map(|is_true| !is_true), "not {text}");
    }
}

#[test]
fn one_of_several_is_enough() {
    let measurement = sample::measurement(1000);
    let is_true = |text: &str| {
        Conditions::read("--search", text).unwrap().is_true(&measurement, &measurement.targets[0])
    };
    assert_eq!(is_true("p99>1s || loss>0 || min<1ms"), Some(true));
    assert_eq!(is_true("p99>1s||loss>0"), Some(false));
    assert_eq!(is_true("p99.9>1s||loss>0"), None);
    assert_eq!(is_true("p99.9>1s||min<1ms"), Some(true));
}

#[test]
fn a_condition_is_told_as_it_was_written() {
    assert_eq!(read(" service.p99.9  >=  1.50 ms ").to_string(), "service.p99.9>=1.50 ms");
    assert_eq!(read("loss>0.1%").negated().to_string(), "loss<=0.1%");
}

#[test]
fn what_is_wrong_is_pointed_at() {
    for (text, what, marked) in [
        ("p9x>2ms", "`p9x` is nothing that a run can tell", "p9x"),
        ("loss>1% || p99>2", "p99 is compared with a time with its unit", "2"),
        ("p99>2ms || ", "a condition is missing here", " "),
        ("p99", "there is no comparison here", "p99"),
        ("p99!2ms", "comparisons are", "!"),
        (">2ms", "nothing that a run can tell", ">"),
        ("loss>2ms", "loss is compared with a part in %", "2ms"),
        ("rate>2%", "rate is compared with a number a second", "2%"),
        ("p99>2ms && loss>0", "only || joins conditions", "2ms && loss>0"),
        ("p99>", "p99 is compared with", ">"),
        ("p100>1s", "`p100`", "p100"),
        ("p0>1s", "`p0`", "p0"),
        ("p99.>1s", "`p99.`", "p99."),
        ("flows-dead>1%", "flows-dead is compared with a number", "1%"),
        ("p99>-1ms", "p99 is compared with a time", "-1ms"),
        ("µ>1s", "`µ`", "µ"),
    ] {
        let failure = Conditions::parse(&[text.to_owned()]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{text}");
        let lines: Vec<&str> = failure.message.lines().collect();
        assert!(lines[0].starts_with("cannot read --fail-if: ") && lines[0].contains(what), "{}", lines[0]);
        assert_eq!(lines[1], format!("  {text}"));
        let (cited, carets) = (lines[1].chars(), lines[2].chars().chain(std::iter::repeat(' ')));
        let found: String = cited.zip(carets).filter(|(_, caret)| *caret == '^').map(|(c, _)| c).collect();
        assert_eq!(found, marked, "{}", failure.message);
        assert!(failure.message.contains("flows-dead"), "{}", failure.message);
    }
}
