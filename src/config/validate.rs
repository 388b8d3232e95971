//! What depends on several keys, tables or listeners: from what is written to a [`Config`] in which nothing can be wrong. Everything
//! that is wrong is noted and the rest is looked at all the same, so that one run reports it all.

mod addresses;
mod builder;
mod clash;
mod endpoint;
mod ephemeral;
mod warnings;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Config, Daemon, Environment, Log, LogTarget, Note,
    applicability::Profile,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    faults,
    keys::Written,
};
use crate::config::keys::{
    daemon::WrittenDaemon, faults::WrittenFaultPlan, listener::WrittenListener, log::WrittenLog,
    observe::WrittenObserve,
};
use builder::ListenerBuilder;
pub(super) use builder::WrittenTable;

/// All that is written.
#[derive(Default)]
pub(super) struct WrittenConfig<'a> {
    pub(super) daemon: WrittenDaemon<'a>,
    pub(super) log: WrittenLog<'a>,
    pub(super) observe: WrittenObserve<'a>,
    pub(super) defaults: WrittenListener<'a>,
    /// Each `[[faults]]`, and the place of its header.
    pub(super) faults: Vec<(Place, WrittenFaultPlan<'a>)>,
    /// What became of each `[[listener]]`: there may be very many, so a table is not kept.
    builders: Vec<ListenerBuilder>,
    has_listeners: bool,
}

impl WrittenConfig<'_> {
    /// Adds a `[[listener]]`. `[defaults]` must be there.
    pub(super) fn add(&mut self, table: &WrittenTable<'_>, environment: &Environment, to: &mut Diagnostics) {
        self.has_listeners = true;
        self.builders.extend(builder::build(table, &self.defaults, environment, to));
    }
}

/// What is to be served, and about each listener where its values are written.
pub(super) struct Validated {
    pub(super) config: Config,
    pub(super) origins: Vec<BTreeMap<&'static str, Arc<[Place]>>>,
    pub(super) notes: Vec<Note>,
}

/// Checks what is written in `sources`. The result is only worth something if nothing was noted, here or before.
pub(super) fn validate(
    written: WrittenConfig<'_>,
    sources: &[Source],
    environment: &Environment,
    to: &mut Diagnostics,
) -> Validated {
    let none = Profile::default();
    let daemon: Daemon = written.daemon.or(&WrittenDaemon::default(), &none);
    let log: Log = written.log.or(&WrittenLog::default(), &none);
    check_log(&written.log, to);
    let (observe, endpoints) = endpoint::build(&written.observe, environment, to);
    builder::check_defaults(&written.defaults, to);
    let mut builders = written.builders;
    let plans = faults::plans(&written.faults, to);
    for builder in &mut builders {
        let place = builder.origins.get("faults").and_then(|places| places.first());
        faults::resolve(&mut builder.listener, place, &plans, daemon.allow_faults, to);
    }
    give_names(&mut builders, to);
    clash::check(&builders, &endpoints, to);
    let files = (place(&written.daemon.pid_file), place(&written.log.file));
    clash::check_files((&daemon, &log), files, (&builders, &endpoints), to);

    let each =
        builders.iter().flat_map(|builder| builder.notes().chain(warnings::warnings(&builder.listener)));
    let each = each.chain(ephemeral::warning(builders.iter().map(|builder| &builder.listener)));
    let mut notes: Vec<Note> = each.chain(endpoint::warnings(&observe)).collect();
    let (listeners, origins): (Vec<_>, Vec<_>) = builders
        .into_iter()
        .filter(|builder| !builder.listener.address.is_empty())
        .map(|builder| (builder.listener, builder.origins))
        .unzip();
    notes.extend(faults::check(&listeners, &plans));
    if listeners.is_empty() && to.is_empty() {
        to.push_whole(nothing_to_serve(sources, written.has_listeners));
    }
    Validated { config: Config { daemon, log, observe, listeners, faults: plans }, origins, notes }
}

/// Where a value is written.
fn place<'w, T>(written: &'w Option<Box<Written<'_, T>>>) -> Option<&'w Place> {
    written.as_deref().map(|written| &written.site.raw.at)
}

fn check_log(log: &WrittenLog<'_>, to: &mut Diagnostics) {
    if let Some(Written { value: Some(LogTarget::File), site }) = log.target.as_deref()
        && log.file.is_none()
    {
        let help = "add for example `file = \"/var/log/echod.log\"`";
        to.push(site.raw.at.clone(), Diagnostic::new("this target needs a `file`", help));
    }
}

/// Names are for the log and for people's eyes, so each must mean one listener. Written ones come first; a listener
/// without one is called by its URL.
fn give_names(builders: &mut [ListenerBuilder], diagnostics: &mut Diagnostics) {
    let mut taken: HashMap<String, Option<Place>> = HashMap::new();
    for builder in builders.iter() {
        let Some(place) = builder.name.clone() else {
            continue;
        };
        let name = &builder.listener.name;
        match taken.get(name) {
            Some(Some(earlier)) => {
                let diagnostic = Diagnostic::new(
                    format!("two listeners are named {}", super::quoted(name)),
                    "choose another name",
                );
                diagnostics.push_clash(place, diagnostic, earlier.clone(), "first used here");
            }
            _ => _ = taken.insert(name.clone(), Some(place)),
        }
    }
    // The next number to try for each URL that several have.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for builder in builders.iter_mut().filter(|builder| builder.name.is_none()) {
        let url = builder.url();
        let mut name = url.clone();
        let number = numbers.entry(url.clone()).or_insert(2);
        while taken.contains_key(&name) {
            name = format!("{url}#{number}");
            *number += 1;
        }
        taken.insert(name.clone(), None);
        builder.listener.name = name;
    }
}

fn nothing_to_serve(sources: &[Source], has_listeners: bool) -> Diagnostic {
    let name = sources.first().map_or("", |source| &source.name);
    let help = match has_listeners {
        false => format!("add a `[[listener]]` to {name}"),
        true => "all of them have `enabled = false`, or need a runtime directory for `%t` and there is none"
            .to_owned(),
    };
    Diagnostic::new("there is no listener to serve", help)
}

#[cfg(test)]
mod tests;
