//! From the file as written to a [`Config`] in which nothing can be wrong. Every fault is noted and the rest is looked
//! at all the same, so that one run reports them all.

mod addresses;
mod clash;
mod ephemeral;
mod fit;
mod listener;
mod networks;
mod reader;
mod values;
mod warnings;

use std::{collections::HashMap, sync::Arc};

use super::{
    Config, Daemon, Environment, Loaded, Log, LogFormat, LogLevel, LogTarget, Origins, Sandbox,
    diagnostic::{Faults, Place, Source, Trouble},
    file::File,
    includes::Includes,
    words,
};
pub(super) use fit::Fit;
use listener::{Context, Draft};
use reader::Table;
pub(super) use values::{keepalive, workers};

/// Checks `files`, one for each of the `sources`. The first has the `[daemon]`, `[log]` and `[defaults]` of all. The
/// result is only worth something if no fault was noted, here or before.
pub(super) fn validate(
    sources: &[Source],
    files: &[File],
    includes: &Includes,
    environment: &Environment,
    faults: &mut Faults,
) -> Loaded {
    let empty = File::default();
    let first = files.first().unwrap_or(&empty);
    let defaults = Table { source: 0, keys: &first.defaults };
    // What was cut out before must not be called missing.
    let complete = faults.is_empty();
    let context = Context { sources, includes, defaults, environment, complete };

    let daemon = daemon(first, faults);
    let log = log(first, faults);
    listener::check_defaults(&context, faults);
    let mut drafts: Vec<Draft> = Vec::new();
    for (source, file) in files.iter().enumerate() {
        for written in &file.listener {
            let own = Table { source, keys: written.get_ref() };
            drafts.extend(listener::draft(own, Place::new(source, written.span()), &context, faults));
        }
    }
    give_names(&mut drafts, faults);
    clash::check(&drafts, faults);
    clash::check_files((&daemon, &log), first, &drafts, faults);

    let each = drafts.iter().flat_map(|draft| draft.notes().chain(warnings::warnings(&draft.listener)));
    let notes = each.chain(ephemeral::warning(drafts.iter().map(|draft| &draft.listener))).collect();
    let names: Vec<Arc<str>> = sources.iter().map(|source| source.name.as_str().into()).collect();
    let (listeners, origins): (Vec<_>, Vec<_>) = drafts
        .into_iter()
        .filter(|draft| !draft.listener.address.is_empty())
        .map(|draft| (draft.listener, Origins::new(&draft.origins, sources, &names)))
        .unzip();
    if listeners.is_empty() && faults.is_empty() {
        faults.push_whole(nothing_to_serve(sources, files));
    }
    Loaded { config: Config { daemon, log, listeners }, origins, notes, files: Vec::new() }
}

fn daemon(file: &File, faults: &mut Faults) -> Daemon {
    let written = &file.daemon;
    Daemon {
        drain_timeout: values::head(&written.drain_timeout, values::duration, faults)
            .unwrap_or(std::time::Duration::from_secs(5)),
        exit_idle_time: values::head(&written.exit_idle_time, values::exit_idle_time, faults).flatten(),
        pid_file: values::head(&written.pid_file, values::path, faults),
        user: values::head(&written.user, values::user, faults),
        group: values::head(&written.group, values::group, faults),
        sandbox: values::head(&written.sandbox, |word: &str| words::read("sandbox", word), faults)
            .unwrap_or(Sandbox::Off),
    }
}

fn log(file: &File, faults: &mut Faults) -> Log {
    let level = values::head(&file.log.level, |word| words::read("level", word), faults);
    let format = values::head(&file.log.format, |word| words::read("format", word), faults);
    let target = values::head(&file.log.target, |word| words::read("target", word), faults);
    let path = values::head(&file.log.file, values::path, faults);
    if let (Some(LogTarget::File), None, Some(written)) = (target, &file.log.file, &file.log.target) {
        let trouble =
            Trouble::new("this target needs a `file`", "add for example `file = \"/var/log/echod.log\"`");
        faults.push(Place::new(0, written.span()), trouble);
    }
    Log {
        level: level.unwrap_or(LogLevel::Info),
        format: format.unwrap_or(LogFormat::Text),
        target: target.unwrap_or(LogTarget::Auto),
        file: path,
    }
}

/// Names are for the log and for people's eyes, so each must mean one listener. Written ones come first; a listener
/// without one is called by its URL.
fn give_names(drafts: &mut [Draft], faults: &mut Faults) {
    let mut taken: HashMap<String, Option<Place>> = HashMap::new();
    for draft in drafts.iter() {
        let Some(place) = draft.name.clone() else {
            continue;
        };
        let name = &draft.listener.name;
        match taken.get(name) {
            Some(Some(earlier)) => {
                let trouble = Trouble::new(
                    format!("two listeners are named {}", super::quoted(name)),
                    "choose another name",
                );
                faults.push_clash(place, trouble, earlier.clone(), "first used here");
            }
            _ => _ = taken.insert(name.clone(), Some(place)),
        }
    }
    // The next number to try for each URL that several have.
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for draft in drafts.iter_mut().filter(|draft| draft.name.is_none()) {
        let url = draft.url();
        let mut name = url.clone();
        let number = numbers.entry(url.clone()).or_insert(2);
        while taken.contains_key(&name) {
            name = format!("{url}#{number}");
            *number += 1;
        }
        taken.insert(name.clone(), None);
        draft.listener.name = name;
    }
}

fn nothing_to_serve(sources: &[Source], files: &[File]) -> Trouble {
    let name = sources.first().map_or("", |source| &source.name);
    let cure = match files.iter().all(|file| file.listener.is_empty()) {
        true => format!("add a `[[listener]]` to {name}"),
        false => "all of them have `enabled = false`, or need a runtime directory for `%t` and there is none"
            .to_owned(),
    };
    Trouble::new("there is no listener to serve", cure)
}

#[cfg(test)]
mod tests;
