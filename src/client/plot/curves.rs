//! Which figures of a run are drawn.

use super::{
    super::{
        histogram::Histogram,
        measurement::{Measurement, Server, TargetResult},
    },
    axis::Axis,
    panel::{Curve, Panel},
};
use crate::report::figures;

/// How times are distributed: a curve for each target, and in an open loop two, of which one is from the planned moments.
pub(super) fn latency(measurement: &Measurement) -> Option<Panel> {
    let idle = common_idle(measurement);
    let is_drawn = |target: &&TargetResult| match (&target.server, idle) {
        (Some(server), Some(idle)) => server.idle == idle,
        _ => true,
    };
    let mut curves: Vec<Curve> = Vec::new();
    let mut counts = Vec::new();
    for target in measurement.targets.iter().filter(is_drawn) {
        let number = number(measurement, target);
        for (name, times) in distributions(target) {
            if let Some(points) = points(times) {
                counts.push(times.count());
                // In a comparison a mode keeps its style from one panel to the other.
                let number = if target.server.is_some() { number } else { curves.len() };
                curves.push(Curve { name, number, points });
            }
        }
    }
    let left = 10.0 / *counts.iter().max()? as f64;
    let among = match idle {
        Some(idle @ 1..) => format!(" among {} idle connections", figures::count(u64::from(idle))),
        _ => String::new(),
    };
    let (least, most) = (counts.iter().min()?, counts.iter().max()?);
    let n = if least == most {
        figures::count(*most)
    } else {
        format!("{} to {}", figures::count(*least), figures::count(*most))
    };
    Some(Panel {
        title: format!("Time of an echo by percentile{among}"),
        subtitle: format!(
            "{}; {n} times a curve, each drawn as far as ten of them lie beyond",
            load(measurement)
        ),
        x: Axis::percentiles(left.min(1.0)),
        y: values(&curves, "time of an echo"),
        curves,
        has_points: false,
    })
}

/// What an echo costs among idle connections: a curve for each mode, if there are several numbers of these.
pub(super) fn cost(measurement: &Measurement) -> Option<Panel> {
    let servers: Vec<(&TargetResult, &Server)> =
        measurement.targets.iter().filter_map(|target| Some((target, target.server.as_ref()?))).collect();
    let mut numbers: Vec<u32> = servers.iter().map(|(_, server)| server.idle).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() < 2 {
        return None;
    }
    let mut curves: Vec<Curve> = Vec::new();
    for (target, server) in servers {
        // Less than the clock of /proc can tell has no place on a logarithmic axis.
        let Some(cpu) = server.cpu_per_echo().filter(|cpu| *cpu >= 1.0) else { continue };
        let point = (f64::from(server.idle), cpu);
        match curves.iter_mut().find(|curve| curve.name == server.mode) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve {
                name: server.mode.clone(),
                number: number(measurement, target),
                points: vec![point],
            }),
        }
    }
    curves.iter_mut().for_each(|curve| curve.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    if curves.is_empty() {
        return None;
    }
    Some(Panel {
        title: "Processor time of an echo over the number of idle connections".to_owned(),
        subtitle: format!("{}; time of the server, its own and the kernel's for it", load(measurement)),
        x: Axis::numbers("idle connections beside", &numbers),
        y: values(&curves, "processor time of an echo"),
        curves,
        has_points: true,
    })
}

/// The style of a target: in a comparison that of its mode.
fn number(measurement: &Measurement, target: &TargetResult) -> usize {
    let Some(server) = &target.server else { return 0 };
    let mut modes: Vec<&str> = Vec::new();
    for other in measurement.targets.iter().filter_map(|target| target.server.as_ref()) {
        if !modes.contains(&other.mode.as_str()) {
            modes.push(&other.mode);
        }
    }
    modes.iter().position(|mode| *mode == server.mode).unwrap_or(0)
}

/// The highest number of idle connections with which all modes were measured; without one, the lowest.
fn common_idle(measurement: &Measurement) -> Option<u32> {
    let servers: Vec<&Server> =
        measurement.targets.iter().filter_map(|target| target.server.as_ref()).collect();
    let has = |mode: &str, idle: u32| servers.iter().any(|server| server.mode == mode && server.idle == idle);
    let of_all = |idle: &u32| servers.iter().all(|server| has(&server.mode, *idle));
    let numbers = servers.iter().map(|server| server.idle);
    numbers.clone().filter(of_all).max().or_else(|| numbers.min())
}

fn distributions(target: &TargetResult) -> Vec<(String, &Histogram)> {
    let name = target.server.as_ref().map_or(&target.target.url, |server| &server.mode);
    match &target.response {
        Some(response) => {
            vec![
                (format!("{name}, from the plan"), response),
                (format!("{name}, from the send"), &target.service),
            ]
        }
        None => vec![(name.clone(), &target.service)],
    }
}

/// As far as it may be told: at least ten times lie beyond each point.
fn points(times: &Histogram) -> Option<Vec<(f64, f64)>> {
    let n = times.count() as f64;
    let is_told = |(_, part, _): &(u64, f64, u64)| n * (1.0 - part) >= 10.0 - 1e-6;
    let points: Vec<_> = times
        .distribution()
        .take_while(is_told)
        .map(|(time, part, _)| (part, (time as f64).max(1.0)))
        .collect();
    (points.len() > 1).then_some(points)
}

fn values(curves: &[Curve], label: &'static str) -> Axis {
    let all = || curves.iter().flat_map(|curve| &curve.points).map(|(_, y)| *y);
    Axis::times(label, all().fold(f64::INFINITY, f64::min), all().fold(1.0, f64::max))
}

/// What was asked for, in short.
fn load(measurement: &Measurement) -> String {
    let settings = &measurement.settings;
    let protocol =
        measurement.targets.first().map_or(String::new(), |target| format!("{}, ", target.target.protocol));
    let load = match (settings.rate, settings.window) {
        (Some(rate), _) => format!("open loop of {}", figures::rate(rate as f64)),
        (None, Some(window)) => format!("closed loop, window {window}"),
        (None, None) => "one at a time".to_owned(),
    };
    let plural = if settings.connections == 1 { "" } else { "s" };
    format!("{protocol}{} connection{plural}, {} bytes, {load}", settings.connections, settings.size)
}
