//! Whether the kernel echoes for a listener. `auto` says in one line why not, and its socket serves it; `on` is a failure then.

use std::{fmt, rc::Rc};

use log::{Level, log, warn};

use super::{
    fit::{self, MOST, insists},
    reason::{NOWHERE, Reason},
    room::{Room, Slot},
};
use crate::{
    config::{self, Config, Note},
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
    },
    socket::listener::Listener,
    sys::rtnetlink::InterfacesGone,
};

/// The echo in the kernel, as far as it is asked for and can be had.
#[derive(Debug, Default)]
pub struct KernelEcho(State);

#[derive(Debug, Default)]
enum State {
    /// No listener has asked at the start.
    #[default]
    Unasked,
    Open(Rc<Room>),
    Closed(Reason),
}

impl KernelEcho {
    /// Makes what later can only be used: maps and the program. To be called before privileges are dropped. Nothing happens unless
    /// a listener asks.
    ///
    /// # Errors
    /// It cannot be had, and a listener insists.
    pub fn open(config: &Config) -> Result<KernelEcho, Failure> {
        let mut asking = config.listeners.iter().filter(|listener| asks(listener));
        if asking.clone().next().is_none() {
            return Ok(KernelEcho::default());
        }
        let state = match Room::open() {
            Ok(room) => State::Open(room),
            Err(reason) => match asking.find(|listener| insists(listener)) {
                Some(listener) => return Err(reason.failure(listener)),
                None => State::Closed(reason),
            },
        };
        let offload = KernelEcho(state);
        offload.admits(config)?;
        Ok(offload)
    }

    /// Whether there is something for the kernel to do.
    pub fn is_open(&self) -> bool {
        matches!(self.0, State::Open(_))
    }

    /// Whether a configuration can be served that insists.
    ///
    /// # Errors
    /// Says for which listener the kernel cannot echo, and what to do.
    pub fn admits(&self, config: &Config) -> Result<(), Failure> {
        if let Some(last) = beyond_the_most(config).filter(|listener| insists(listener)) {
            return Err(Reason::new(Exit::Unavailable, too_many(), "ask for it in fewer").failure(last));
        }
        for listener in config.listeners.iter().filter(|listener| insists(listener)) {
            self.room(listener, &config.log).map_err(|reason| reason.failure(listener))?;
        }
        Ok(())
    }

    /// Has the kernel echo for a listener with these sockets, from the next [`KernelEcho::sync`] on until the slot is dropped.
    ///
    /// # Errors
    /// The listener insists, and it cannot be had.
    pub fn enter(
        &self,
        listener: &config::Listener,
        log: &config::Log,
        sockets: &[Listener],
    ) -> Result<Option<Slot>, Failure> {
        if !asks(listener) {
            return Ok(None);
        }
        let room = self.room(listener, log);
        if let Some(rules) = room.as_ref().ok().and_then(|room| room.bypassed()) {
            let name = listener.name.as_str();
            warn!(
                event = LogEvent::OffloadBypasses, listener = name, reason = rules;
                "listener \"{name}\": the kernel echoes for it, but {rules}"
            );
        }
        match room.and_then(|room| room.enter(listener, sockets)) {
            Ok(slot) => Ok(Some(slot)),
            Err(reason) if insists(listener) => Err(reason.failure(listener)),
            Err(reason) => {
                let (name, why) = (&listener.name, &*reason.text);
                let text = format_args!("listener \"{name}\": the kernel does not echo for it: {why}");
                log_unavailable(Level::Info, name, why, text);
                Ok(None)
            }
        }
    }

    /// Repeats the self-test of the start. If it fails, the kernel echoes no more.
    pub fn check(&self) {
        if let State::Open(room) = &self.0 {
            room.check();
        }
    }

    /// Lets interfaces go, at the next [`KernelEcho::sync`] for those that are there again.
    pub fn forget(&self, gone: &InterfacesGone) {
        if let State::Open(room) = &self.0 {
            room.forget(gone);
        }
    }

    /// Follows the interfaces and addresses of the machine, and the ports of the daemon.
    pub fn sync(&self) {
        if let State::Open(room) = &self.0 {
            room.sync();
        }
    }

    /// Whether the kernel echoes for a listener as it has to, on these interfaces.
    ///
    /// # Errors
    /// It insists, and there are none.
    pub fn holds(&self, listener: &config::Listener, interfaces: Option<&[String]>) -> Result<(), Failure> {
        if !insists(listener) || interfaces.is_some_and(|names| !names.is_empty()) {
            return Ok(());
        }
        let retreated = match &self.0 {
            State::Open(room) => room.retreated(),
            _ => None,
        };
        let reason = match retreated {
            Some(why) => Reason::new(Exit::Unavailable, why, "mend that"),
            None => Reason::new(
                Exit::Unavailable,
                NOWHERE,
                "bind an address of an Ethernet or the loopback interface",
            ),
        };
        Err(reason.failure(listener))
    }

    fn room(&self, listener: &config::Listener, log: &config::Log) -> Result<&Rc<Room>, Reason> {
        if let Some((key, why)) = fit::obstacle(listener, log) {
            return Err(Reason::new(Exit::Unavailable, why, format!("take `{key}` out")));
        }
        match &self.0 {
            State::Open(room) => match room.bypassed().filter(|_| !insists(listener)) {
                Some(rules) => Err(Reason::new(Exit::Unavailable, rules.to_owned(), "")),
                None => Ok(room),
            },
            State::Closed(reason) => Err(reason.clone()),
            State::Unasked => {
                let text = "no listener asked for it when echod was started, and now it may not load a program any more";
                Err(Reason::new(Exit::Unavailable, text, "restart echod"))
            }
        }
    }
}

/// Logs that the kernel does not echo for a listener.
#[inline(never)] // Several call it, and seldom.
pub fn log_unavailable(level: Level, listener: &str, reason: &str, text: fmt::Arguments<'_>) {
    log!(level, event = LogEvent::OffloadUnavailable, listener = listener, reason = reason; "{text}");
}

fn asks(listener: &config::Listener) -> bool {
    listener.offload != config::Offload::Off
}

/// The first listener that asks after as many as can be served.
fn beyond_the_most(config: &Config) -> Option<&config::Listener> {
    let could =
        |listener: &&config::Listener| asks(listener) && fit::obstacle(listener, &config.log).is_none();
    config.listeners.iter().filter(could).nth(MOST)
}

fn too_many() -> String {
    format!("it echoes for {MOST} listeners at most")
}

/// What `--check` says of the keys that are in the way, and of too many listeners.
pub fn notes(config: &Config) -> impl Iterator<Item = Note> {
    let many = beyond_the_most(config).map(|listener| {
        Note::of(&listener.name, format_args!("offload: {}; {}", too_many(), then(listener))).about("offload")
    });
    let keys = config.listeners.iter().filter(|listener| asks(listener)).filter_map(|listener| {
        let (key, why) = fit::obstacle(listener, &config.log)?;
        let then = then(listener);
        Some(
            Note::of(&listener.name, format_args!("offload: {why}; {then}")).about(format!("offload, {key}")),
        )
    });
    keys.chain(many)
}

/// What follows if the kernel cannot echo for a listener.
fn then(listener: &config::Listener) -> &'static str {
    if insists(listener) { "echod will not start" } else { "its socket serves it" }
}
