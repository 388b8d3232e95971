use std::time::Duration;

use super::*;
use crate::client::{measurement::Server, report::sample};

/// Two modes with 0 and 900 idle connections.
fn comparison() -> Measurement {
    let mut measurement = sample::measurement(0);
    measurement.kind = "compare";
    measurement.targets.clear();
    for (mode, idle, cpu) in [("epoll", 0, 10), ("select", 0, 12), ("epoll", 900, 10), ("select", 900, 200)] {
        let mut target = sample::measurement(1000).targets.remove(0);
        target.server = Some(Server {
            mode: mode.to_owned(),
            idle,
            cpu: Duration::from_micros(cpu * 1000),
            echoes: 1000,
            calls_per_echo: None,
            memory: None,
            descriptors: None,
            processes: 1,
        });
        measurement.targets.push(target);
    }
    measurement
}

#[test]
fn a_comparison_has_two_panels_with_the_same_styles() {
    let svg = picture(&comparison());
    for text in [
        "<title>Time of an echo by percentile among 900 idle connections; Processor time of an echo over the number of idle connections</title>",
        ">percentile</text>",
        ">90 %</text>",
        ">idle connections beside</text>",
        ">processor time of an echo</text>",
        ">900</text>",
        "1,000 times a curve",
        "@media (prefers-color-scheme: dark)",
    ] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    // A curve in each panel for each mode, and a line in each legend.
    assert_eq!(svg.matches("<polyline ").count(), 4, "{svg}");
    assert_eq!((svg.matches(">epoll</text>").count(), svg.matches(">select</text>").count()), (2, 2));
    assert_eq!(
        (svg.matches("class=\"curve c0\"").count(), svg.matches("class=\"curve c1\"").count()),
        (4, 4)
    );
    // With a thousand times nothing beyond p99 is told.
    assert!(!svg.contains("99.9 %"), "{svg}");
}

#[test]
fn an_open_loop_has_a_curve_from_the_plan_and_one_from_the_send() {
    let mut measurement = sample::measurement(100_000);
    measurement.targets[0].response = Some(measurement.targets[0].service.clone());
    measurement.targets[0].target.url = "unix:/a&b<c>".to_owned();
    let svg = picture(&measurement);
    assert_eq!(svg.matches("<polyline ").count(), 2);
    assert!(svg.contains(">unix:/a&amp;b&lt;c&gt;, from the plan</text>"), "{svg}");
    assert!(svg.contains(">99.99 %</text>") && !svg.contains(">99.999 %</text>"), "{svg}");
}

#[test]
fn a_run_without_answers_is_a_picture_too() {
    let svg = picture(&sample::measurement(0));
    assert!(svg.contains("Nothing was measured") && svg.ends_with("</svg>\n"), "{svg}");
}
