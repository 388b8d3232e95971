//! Plans of faults and the listeners that name them.

use std::sync::Arc;

use crate::config::{
    FaultPlan, Listener, Note, ProxyProtocol,
    applicability::Profile,
    diagnostic::{Diagnostic, Diagnostics, Place},
    everybody,
    keys::{Written, faults::WrittenFaultPlan},
    proxy, quoted, words,
};

/// The plans of a file, each with the place of its name.
pub(in crate::config) fn plans(
    written: &[(Place, WrittenFaultPlan<'_>)],
    to: &mut Diagnostics,
) -> Vec<Arc<FaultPlan>> {
    let mut plans: Vec<(Arc<FaultPlan>, Place)> = Vec::new();
    for (at, keys) in written {
        let plan = keys.or(&WrittenFaultPlan::default(), &Profile::default());
        check_plan(keys, to);
        let Some(Written { value: Some(name), site }) = keys.name.as_deref() else {
            if keys.name.is_none() {
                let help = "add for example `name = \"wifi\"`, by which a listener calls it";
                to.push(at.clone(), Diagnostic::new("this plan of faults has no name", help));
            }
            continue;
        };
        let place = &site.raw.at;
        if name == "off" {
            let title = "a plan cannot be named `off`, which is no plan";
            to.push(place.clone(), Diagnostic::new(title, "choose another name"));
        }
        match plans.iter().find(|(plan, _)| plan.name == *name) {
            Some((_, earlier)) => {
                let title = format!("two plans of faults are named {}", quoted(name));
                let diagnostic = Diagnostic::new(title, "choose another name");
                to.push_clash(place.clone(), diagnostic, earlier.clone(), "first used here");
            }
            None => plans.push((Arc::new(plan), place.clone())),
        }
    }
    plans.into_iter().map(|(plan, _)| plan).collect()
}

/// What is wrong with a plan by itself.
fn check_plan(keys: &WrittenFaultPlan<'_>, to: &mut Diagnostics) {
    let drop = keys.drop.as_deref().and_then(|drop| drop.value).filter(|drop| !drop.is_never());
    if let (Some(_), Some(burst)) = (drop, keys.drop_burst.as_deref()) {
        let title = "`drop` and `drop-burst` are two ways to lose replies";
        to.push(burst.site.key_at.clone(), Diagnostic::new(title, "take one of them out"));
    }
    if let Some(Written { value: Some(networks), site }) = keys.from.as_deref()
        && networks.is_empty()
    {
        let title = "`from` holds no network: the plan would hit nobody";
        to.push(site.raw.at.clone(), Diagnostic::new(title, "take it out to hit all clients"));
    }
}

/// Puts the plan in the place of its name; without `allowed` it may not be used.
pub(in crate::config) fn resolve(
    listener: &mut Listener,
    place: Option<&Place>,
    plans: &[Arc<FaultPlan>],
    allowed: bool,
    to: &mut Diagnostics,
) {
    let (Some(named), Some(place)) = (listener.faults.take(), place) else { return };
    let Some(plan) = plans.iter().find(|plan| plan.name == named.name) else {
        let title = format!("there is no plan of faults named {}", quoted(&named.name));
        let names = plans.iter().map(|plan| plan.name.as_str());
        let help = match words::nearest(&named.name, names.clone()) {
            Some(near) => format!("did you mean {}?", quoted(near)),
            None if plans.is_empty() => {
                format!("add a `[[faults]]` with `name = \"{}\"`", named.name.escape_debug())
            }
            None => words::suggestion(&named.name, names),
        };
        to.push(place.clone(), Diagnostic::new(title, help));
        return;
    };
    if !allowed {
        let title = "faults on purpose are not allowed here";
        let help = "write `allow-faults = true` in `[daemon]` if this daemon is a peer for tests; clients of any other would \
                    take them for real ones";
        to.push(place.clone(), Diagnostic::new(title, help));
    }
    listener.faults = Some(Arc::clone(plan));
}

/// What is legal but unwise about plans and the listeners that use them.
pub(in crate::config) fn check(listeners: &[Listener], plans: &[Arc<FaultPlan>]) -> Vec<Note> {
    let uses = |listener: &&Listener, plan: &Arc<FaultPlan>| {
        listener.faults.as_ref().is_some_and(|used| used.name == plan.name)
    };
    let unused = plans.iter().filter(|plan| !listeners.iter().any(|listener| uses(&listener, plan)));
    let unused = unused.map(|plan| {
        Note::new(format!("no listener uses the plan of faults \"{}\"", plan.name)).about("faults")
    });
    unused.chain(listeners.iter().flat_map(about_listener)).collect()
}

fn about_listener(listener: &Listener) -> Vec<Note> {
    let Some(plan) = &listener.faults else { return Vec::new() };
    let (is_stream, name) = (listener.protocol.is_stream(), &plan.name);
    let mut notes = Vec::new();
    let mut note = |text: String| notes.push(Note::of(&listener.name, text).about("faults"));
    let (hits, kind) = match is_stream {
        true => (plan.hits_streams(), "connections"),
        false => (plan.hits_datagrams(), "datagrams"),
    };
    if !hits {
        note(format!("the plan of faults \"{name}\" has nothing for {kind}"));
    }
    if listener.protocol.is_unix()
        && listener.proxy_protocol == ProxyProtocol::Off
        && plan.from != everybody()
    {
        note(format!(
            "the plan of faults \"{name}\" hits nobody here: clients of a unix socket are in no network of `from`"
        ));
    }
    if !is_stream
        && !plan.duplicate.is_never()
        && listener.allow == everybody()
        && !listener.address.iter().all(proxy::is_local)
    {
        note(format!(
            "the plan of faults \"{name}\" sends replies twice, and a sender's address is easily forged; name in `allow` which \
             machines may use it"
        ));
    }
    let is_for_ever = plan.stall_after.is_some_and(|stall| stall.lasts.is_none()) || plan.ignore_half_close;
    if is_stream && is_for_ever && listener.idle_timeout.is_none() && listener.max_lifetime.is_none() {
        note(format!(
            "the plan of faults \"{name}\" keeps connections for ever, also those that their clients have closed in order; set \
             `idle-timeout` or `max-lifetime`, or they use up `max-connections`"
        ));
    }
    notes
}
