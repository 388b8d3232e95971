//! `echod faults`: what a plan decides, before anything has happened, and what plans can do.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use serde_json::json;

use crate::{
    command::{
        cli::{Preview, PreviewOutput},
        explain::client::inet,
    },
    config::{Config, FaultPlan, KeyInfo, Listener, reference},
    faults::preview::{self, FaultSource},
    report::error::{Exit, Failure},
};

/// The width of a line of text.
const LINE: usize = 78;

/// What each key of a plan does.
pub fn list() -> String {
    let mut text =
        "Keys of [[faults]], a plan that listeners name in `faults` (`man echod.toml` says more):\n"
            .to_owned();
    for key in reference().iter().filter(|key| key.table == "[[faults]]") {
        let KeyInfo { name, example, text: about, .. } = key;
        // A String takes whatever is written.
        let _ = write!(text, "\n{name} = {example}\n{}", wrapped(about));
    }
    text
}

/// Indented lines.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("   ");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE {
            lines += &(std::mem::replace(&mut line, "   ".to_owned()) + "\n");
        }
        line += " ";
        line += word;
    }
    lines + &line + "\n"
}

/// The decisions that are asked for.
///
/// # Errors
/// There is no such plan or listener, or the source is malformed.
pub fn preview(config: &Config, asked: &Preview) -> Result<String, Failure> {
    let plan = plan(config, asked.plan.as_deref())?;
    let listener = listener(config, plan, asked.listener.as_deref())?;
    let is_stream = listener.protocol.is_stream();
    let (source, from) = source(asked.from.as_deref(), listener)?;
    let decisions = preview::preview(plan, &listener.name, is_stream, &source, asked.count);
    let what = if is_stream { "connections" } else { "datagrams" };
    let (name, seed) = (&plan.name, plan.seed());
    match (asked.output, decisions) {
        (PreviewOutput::Json, decisions) => {
            let told = json!({
                "plan": name, "seed": seed, "listener": listener.name, "from": from, "hits": decisions.is_some(),
                "decisions": decisions.unwrap_or_default(),
            });
            Ok(told.to_string() + "\n")
        }
        (PreviewOutput::Text, None) => Ok(format!(
            "plan \"{name}\" does not hit {from}: that is in no network of its `from`; its {what} are served as usual\n"
        )),
        (PreviewOutput::Text, Some(decisions)) => {
            let drawn = if plan.seed.is_none() { ", drawn for this run: give the plan a `seed`" } else { "" };
            let mut text = format!(
                "plan \"{name}\" (seed {seed}{drawn}) on listener \"{}\", {what} from {from}:\n",
                listener.name
            );
            decisions.iter().for_each(|decision| _ = writeln!(text, "{decision}"));
            Ok(text)
        }
    }
}

fn unknown(text: String) -> Failure {
    Failure::new(Exit::Usage, text)
}

fn plan<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c FaultPlan, Failure> {
    let names = || config.faults.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, &config.faults[..]) {
        (_, []) => Err(unknown("there is no plan of faults in the configuration; add a `[[faults]]`".into())),
        (None, [plan]) => Ok(plan),
        (None, _) => {
            Err(unknown(format!("there are several plans of faults: name one with --plan ({})", names())))
        }
        (Some(name), plans) => {
            let found: Option<&Arc<FaultPlan>> = plans.iter().find(|plan| plan.name == name);
            found.map(|plan| &**plan).ok_or_else(|| {
                unknown(format!(
                    "there is no plan of faults \"{}\"; there is {}",
                    name.escape_debug(),
                    names()
                ))
            })
        }
    }
}

/// The listener that is asked about, else the only one that uses the plan.
fn listener<'c>(config: &'c Config, plan: &FaultPlan, name: Option<&str>) -> Result<&'c Listener, Failure> {
    let uses = |listener: &&Listener| listener.faults.as_ref().is_some_and(|used| used.name == plan.name);
    if let Some(name) = name {
        let Some(found) = config.listeners.iter().find(|listener| listener.name == name) else {
            let all: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
            let text =
                format!("there is no listener \"{}\"; there is {}", name.escape_debug(), all.join(", "));
            return Err(unknown(text));
        };
        return match &found.faults {
            _ if uses(&found) => Ok(found),
            Some(other) => Err(unknown(format!(
                "listener \"{name}\" uses the plan of faults \"{}\", not \"{}\"; ask with --plan {}",
                other.name, plan.name, other.name
            ))),
            None => Err(unknown(format!(
                "listener \"{name}\" uses no plan of faults; write `faults = \"{}\"` in it",
                plan.name
            ))),
        };
    }
    let users: Vec<_> = config.listeners.iter().filter(uses).collect();
    match users[..] {
        [listener] => Ok(listener),
        [] => Err(unknown(format!(
            "no listener uses the plan of faults \"{}\"; write `faults = \"{}\"` in one",
            plan.name, plan.name
        ))),
        _ => {
            let names: Vec<_> = users.iter().map(|listener| listener.name.as_str()).collect();
            Err(unknown(format!(
                "several listeners use the plan of faults \"{}\": name one with --listener ({})",
                plan.name,
                names.join(", ")
            )))
        }
    }
}

/// The source as asked for, and as it is shown.
fn source(from: Option<&str>, listener: &Listener) -> Result<(FaultSource, String), Failure> {
    let (is_stream, is_unix) = (listener.protocol.is_stream(), listener.protocol.is_unix());
    let Some(from) = from else {
        return match (is_stream, is_unix) {
            (true, true) => Ok((FaultSource::Name(Vec::new()), "any client".to_owned())),
            (_, false) => Err(unknown("say with --from which address they come from".into())),
            (false, true) => {
                Err(unknown("say with --from the name of the unix socket that sends them".into()))
            }
        };
    };
    match inet(from) {
        Some((ip, _)) if is_stream => Ok((FaultSource::Address(ip, None), ip.to_string())),
        Some((ip, Some(port))) => {
            Ok((FaultSource::Address(ip, Some(port)), SocketAddr::new(ip, port).to_string()))
        }
        Some((_, None)) => Err(unknown(format!(
            "cannot use `--from {from}`: datagrams are numbered by address and port; add the port"
        ))),
        None if !is_unix => Err(unknown(format!(
            "cannot use `--from {}`: it is no address; write for example 192.0.2.7:4000",
            from.escape_debug()
        ))),
        None => {
            let name = match from.strip_prefix('@') {
                Some(name) => [b"\0", name.as_bytes()].concat(),
                None => from.as_bytes().to_vec(),
            };
            Ok((FaultSource::Name(name), from.to_owned()))
        }
    }
}
