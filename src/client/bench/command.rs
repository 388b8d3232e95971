//! The command: which way of measuring, what is said of it, and with what it ends.

use std::net::UdpSocket;

use super::{
    super::{options::Bench, plot, report, socket, target::Target},
    bar::Bar,
    measure, screen, search,
};
use crate::{
    report::error::{Exit, Failure},
    socket::address::Peer,
};

/// Measures, and prints the report.
///
/// # Errors
/// The exit code of the run, if it is not 0.
pub fn run(options: &Bench) -> Result<(), Failure> {
    let targets = targets(options)?;
    let searched = search::condition(options)?;
    let conditions = report::prepare(&options.common)?;
    plot::prepare(options.plot.as_deref())?;
    let mut bar = progress(options)?;
    if let Some(searched) = searched {
        return search::run(&targets[0], options, (&searched, &conditions), &mut bar);
    }
    let measurement = measure(&targets, options, &mut bar)?;
    let concluded = report::conclude(&measurement, &options.common, &conditions, &screen::text(&measurement));
    plot::save_to(options.plot.as_deref(), &measurement)?;
    concluded
}

/// What shows how far a run is, and is stopped by Ctrl-C.
///
/// # Errors
/// 71 if that cannot be caught.
pub fn progress(options: &Bench) -> Result<Bar, Failure> {
    Bar::new(options.common.quiet).map_err(|error| {
        Failure::new(
            Exit::System,
            format!("cannot catch Ctrl-C: {error}; end it by SIGQUIT if it must be ended"),
        )
    })
}

/// The servers to measure, if all of them may be.
fn targets(options: &Bench) -> Result<Vec<Target>, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, text);
    let common = &options.common;
    if common.targets.is_empty() {
        return Err(usage(
            "name the server to measure, such as `echod bench tcp://127.0.0.1:7777`".to_owned(),
        ));
    }
    if options.search.is_some() && common.targets.len() > 1 {
        return Err(usage("--search finds the rate of one server; name one URL".to_owned()));
    }
    if options.idle.len() > 1 {
        return Err(usage("--idle takes several numbers with --compare only; give one".to_owned()));
    }
    let mut targets = Vec::new();
    for url in &common.targets {
        let target = Target::read("bench", url, common.families())?;
        if !options.remote && !is_here(&target) {
            return Err(usage(format!(
                "cannot bench {url}: it is not on this machine, and a bench is a flood to all others on the way; add --remote if \
                 you may do that, or use `echod ping`, which is gentle"
            )));
        }
        socket::check(&target, common)?;
        targets.push(target);
    }
    Ok(targets)
}

/// Whether it is a socket of this machine: an address that can be bound is one of its own.
fn is_here(target: &Target) -> bool {
    let is_own = match &target.peer {
        Peer::Inet(address) => UdpSocket::bind((address.ip(), 0)).is_ok(),
        _ => true,
    };
    target.is_local() || is_own
}
