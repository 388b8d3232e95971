//! A generation: the listeners that one reading of the configuration yields. The first is bound at start. A reload makes the
//! next one, which keeps unchanged listeners and adopts the sockets of changed ones.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use log::{info, warn};

use crate::{
    command::cli::Cli,
    config::{self, Config, Environment, Loaded, Note},
    daemon::{
        event::SupervisorEvent, generation::socket_pool::SocketPool, parked::Parked,
        running_listener::RunningListener,
    },
    process::signals,
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
    },
    socket::{
        activation::Passed,
        address::Peer,
        bind::{self, Site},
        fd_store::FdStore,
        host_names::HostNames,
        listener::{Listener, SocketOwner},
        name_clashes::check_names,
    },
};

mod lines;
mod notes;
mod queries;
mod socket_pool;
mod whole;

pub use lines::{ServingLine, log_faults, log_notes};

/// How long workers of the old generation may take to stop accepting: a millisecond, unless the machine is very busy.
const TO_LEAVE: Duration = Duration::from_secs(5);

/// Reads the configuration, with the log options of the command line and the environment.
pub fn load(cli: &Cli, environment: &Environment) -> Result<Loaded, Failure> {
    let mut loaded = config::load(&cli.inputs(), environment)?;
    let level = std::env::var("ECHOD_LOG").ok();
    cli.adjust(&mut loaded.config.log, level.as_deref()).map_err(|e| Failure::new(Exit::Usage, e))?;
    Ok(loaded)
}

/// Listeners that have their sockets and are not served yet.
pub struct ListenerPlan {
    listeners: Vec<(config::Listener, Vec<Listener>)>,
    /// Numbers of the running listeners that stay as they are.
    kept: HashSet<usize>,
    /// Numbers of the running listeners whose sockets the new ones get.
    inherited: HashSet<usize>,
    /// Sockets of those at addresses that are no longer served, with the old settings.
    left: Vec<(config::Listener, Vec<Listener>)>,
    /// Passed sockets that no listener wants.
    unwanted: Vec<Listener>,
}

impl ListenerPlan {
    /// Sockets for all listeners of the first generation: passed by the service manager, stored by the previous daemon, or
    /// bound. A passed socket is claimed by name first: a listener that is named must not lose its socket to one that has its
    /// address.
    pub fn first(
        config: &Config,
        passed: Passed,
        store: &mut FdStore,
        notes: &mut Vec<Note>,
    ) -> Result<ListenerPlan, Failure> {
        let (passed, mut kept) = passed.adopt(notes);
        let mut pool = SocketPool::of_start(&passed);
        let named: io::Result<Vec<_>> =
            config.listeners.iter().map(|settings| pool.named(settings)).collect();
        let named = named.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("cannot use the sockets that were passed: {error}"))
        })?;
        let unnamed = || {
            let all = config.listeners.iter().zip(&named);
            all.filter(|(_, named)| named.is_empty()).map(|(settings, _)| settings)
        };
        let names = HostNames::look_up(unnamed(), signals::is_stop_pending)
            .ok_or_else(|| Failure::new(Exit::TryAgain, "cannot look up host names: told to stop"))?;
        check_names(unnamed(), &names)?;
        let mut sites = Vec::new();
        for (settings, named) in config.listeners.iter().zip(&named) {
            sites.push(if named.is_empty() { bind::sites(settings, &names)? } else { Vec::new() });
        }
        for (settings, site) in sites_with_settings(config, &mut sites) {
            site.adopt(|place| pool.at(settings, place));
            site.adopt(|place| kept.at(settings, place));
        }
        for (settings, site) in sites_with_settings(config, &mut sites) {
            site.adopt(|place| kept.at_any_port(settings, place));
            site.adopt(|place| pool.beyond(settings, place));
        }
        sites.iter_mut().for_each(bind::merge);
        let free =
            sites_with_settings(config, &mut sites).filter(|(_, site)| !passed.is_empty() && site.is_free());
        notes.extend(free.map(|(settings, site)| notes::not_passed(settings, &site.place)));
        let kept_before = kept.taken();
        // Before the first bind: a socket that is closed here may occupy its address.
        let wait = kept.close(store);
        let mut listeners = Vec::new();
        for ((settings, named), sites) in config.listeners.iter().zip(named).zip(sites) {
            let bound = bind::bind(settings, sites, wait, notes)?;
            let sockets = if named.is_empty() { bound } else { named };
            notes.extend(notes::of_unit(settings, &sockets));
            listeners.push((settings.clone(), sockets));
        }
        let unwanted = pool.rest().map_err(|error| {
            Failure::new(Exit::Unavailable, format!("cannot keep the sockets that were passed: {error}"))
        })?;
        notes.extend(unwanted.iter().map(notes::unwanted));
        let (kept, inherited) = (HashSet::new(), HashSet::new());
        notes.extend(notes::without_mptcp(&listeners));
        let plan = ListenerPlan { listeners, kept, inherited, left: Vec::new(), unwanted };
        let mut plan = plan.not_empty(false)?;
        notes.extend(notes::not_kept(&plan.listeners, kept_before, store.capacity()));
        plan.assign_store_slots(store.capacity(), store.capacity(), notes);
        Ok(plan)
    }

    /// Decides which of our own sockets the service manager stores: all of a listener or none. `capacity` is the size of
    /// its store, of which `room` is left.
    fn assign_store_slots(&mut self, mut room: usize, capacity: usize, notes: &mut Vec<Note>) {
        let mut left_out = 0;
        for (_, sockets) in &mut self.listeners {
            let ours: Vec<_> =
                sockets.iter_mut().filter(|socket| socket.owner() != SocketOwner::Activated).collect();
            let count: usize = ours.iter().map(|socket| socket.sockets().count()).sum();
            let keep = count > 0 && count <= room;
            if keep {
                room -= count;
            } else {
                left_out += count;
            }
            ours.into_iter().for_each(|socket| socket.keep(keep));
        }
        if capacity > 0 && left_out > 0 {
            notes.push(Note::new(format!(
                "the service manager keeps {capacity} sockets over a restart, {left_out} more are bound anew and refuse clients \
                 meanwhile; raise FileDescriptorStoreMax= of the service"
            )));
        }
    }

    /// Sockets for the listeners that are not yet served as `config` says: those that `running_listeners` have at the same
    /// address, or new ones. On failure nothing has changed. The service manager stores up to `capacity` sockets.
    pub fn next(
        config: &Config,
        names: &HostNames,
        (running_listeners, parked): (&[RunningListener], &Parked),
        capacity: usize,
        notes: &mut Vec<Note>,
    ) -> Result<ListenerPlan, Failure> {
        let current: HashMap<&str, &RunningListener> = running_listeners
            .iter()
            .filter(|running| !running.is_superseded())
            .map(|running| (running.name(), running))
            .collect();
        let passed = current.values().flat_map(|running| running.sockets()).chain(parked.sockets());
        let passed: HashSet<&str> = passed.filter_map(Listener::passed_name).collect();
        let bound = config.listeners.iter().filter(|settings| !passed.contains(settings.name.as_str()));
        check_names(bound, names)?;
        let mut kept = HashSet::new();
        let is_same = |settings: &config::Listener| {
            let running = current.get(settings.name.as_str()).filter(|running| !running.has_failed());
            running.filter(|running| running.is_as(settings, &config.log)).copied()
        };
        for settings in &config.listeners {
            let whole = |running: &&RunningListener| whole::is_whole(running, settings, names, notes);
            kept.extend(is_same(settings).filter(whole).map(RunningListener::number));
        }
        let stays = |name: &str| current.get(name).is_some_and(|running| kept.contains(&running.number()));
        let mut pool =
            SocketPool::new(running_listeners, parked.sockets(), |running| kept.contains(&running.number()));
        let mut wanted = Vec::new();
        for settings in config.listeners.iter().filter(|settings| !stays(&settings.name)) {
            let named = pool.named(settings).map_err(|error| {
                let name = &settings.name;
                Failure::new(
                    Exit::Unavailable,
                    format!("listener \"{name}\": cannot keep its socket: {error}"),
                )
            })?;
            let mut sites = if named.is_empty() { bind::sites(settings, names)? } else { Vec::new() };
            sites.iter_mut().for_each(|site| site.adopt(|place| pool.at(settings, place)));
            sites.iter_mut().for_each(|site| site.adopt(|place| pool.beyond(settings, place)));
            bind::merge(&mut sites);
            if let Some(running) = is_same(settings) {
                // The listener is served without this address now: failing to bind it must not end those it has.
                let had = |place: &Peer| running.sockets().iter().any(|socket| socket.is_at(place));
                sites.iter_mut().filter(|site| !had(&site.place)).for_each(Site::spare);
            }
            wanted.push((settings, named, sites));
        }
        let mut listeners = Vec::new();
        for (settings, named, mut sites) in wanted {
            sites.iter_mut().for_each(|site| site.replace(|place| pool.before(settings, place)));
            let bound = bind::bind(settings, sites, Duration::ZERO, notes)?;
            listeners.push((settings.clone(), if named.is_empty() { bound } else { named }));
        }
        let cannot_keep = |error| {
            Failure::new(Exit::Unavailable, format!("cannot keep the sockets that are to be closed: {error}"))
        };
        let (left, unwanted) = (pool.left().map_err(cannot_keep)?, pool.rest().map_err(cannot_keep)?);
        let is_new = |socket: &&Listener| !parked.has(socket);
        notes.extend(unwanted.iter().filter(is_new).map(notes::unwanted));
        let stay = current.values().filter(|running| kept.contains(&running.number()));
        let stay = stay.flat_map(|running| running.sockets_to_store()).count();
        let others = !kept.is_empty();
        notes.extend(notes::without_mptcp(&listeners));
        let plan = ListenerPlan { listeners, kept, inherited: pool.inherited, left, unwanted };
        let mut plan = plan.not_empty(others)?;
        plan.assign_store_slots(capacity.saturating_sub(stay), capacity, notes);
        Ok(plan)
    }

    fn not_empty(mut self, others: bool) -> Result<ListenerPlan, Failure> {
        self.listeners.retain(|(_, sockets)| !sockets.is_empty());
        if self.listeners.is_empty() && !others {
            let text = "nothing to serve: this machine has none of the optional addresses; see the log, or add a listener";
            return Err(Failure::new(Exit::Unavailable, text));
        }
        Ok(self)
    }

    /// Takes the passed sockets that no listener wants.
    pub fn take_unwanted(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.unwanted)
    }

    /// Prepares the next generation: threads, processes, buffers. If one listener fails, all that were prepared are undone.
    pub fn prepare(
        self,
        log: &config::Log,
        number: &mut usize,
        events: &Sender<SupervisorEvent>,
    ) -> Result<PreparedListeners, Failure> {
        let ListenerPlan { listeners, kept, inherited, left, .. } = self;
        let mut prepared =
            PreparedListeners { running_listeners: Vec::new(), closing: Vec::new(), kept, inherited };
        let count = listeners.len();
        for (index, (settings, sockets)) in listeners.into_iter().chain(left).enumerate() {
            *number += 1;
            let running = RunningListener::prepare(*number, log, settings, sockets, events)?;
            let list = if index < count { &mut prepared.running_listeners } else { &mut prepared.closing };
            list.push(running);
        }
        // They prepare in parallel.
        for running in prepared.running_listeners.iter_mut().chain(&mut prepared.closing) {
            running.wait_until_prepared()?;
        }
        Ok(prepared)
    }
}

/// Listeners that are prepared and do not serve yet. Dropping them undoes the preparation.
pub struct PreparedListeners {
    running_listeners: Vec<RunningListener>,
    /// Serve the last clients at addresses that are no longer served.
    closing: Vec<RunningListener>,
    kept: HashSet<usize>,
    inherited: HashSet<usize>,
}

impl PreparedListeners {
    /// Adopts the sockets and socket files of the previous generation, and starts to serve. At addresses that are no longer
    /// served, only the clients that wait there are served, for `patience` at most.
    pub fn begin(
        mut self,
        running_listeners: &mut [RunningListener],
        patience: Duration,
    ) -> Vec<RunningListener> {
        // From here on new listeners listen; they may share a port with sockets that are no longer served.
        let is_reload = !running_listeners.is_empty();
        let mut successors: Vec<&mut RunningListener> = running_listeners
            .iter_mut()
            .filter(|running| self.inherited.contains(&running.number()))
            .collect();
        for running in &self.closing {
            running.reconfigure();
            running.share_ports();
        }
        for running in &mut self.running_listeners {
            if is_reload {
                running.reconfigure();
            }
            running.take_files(|path| successors.iter_mut().find_map(|handover| handover.take_file(path)));
            running.begin();
        }
        // The remaining files belong to addresses that are no longer served.
        successors.into_iter().for_each(|running| running.remove_files());
        for running in &mut self.closing {
            running.begin();
            running.leave(patience);
        }
        let mut begun = std::mem::take(&mut self.running_listeners);
        begun.append(&mut self.closing);
        begun
    }
}

impl Drop for PreparedListeners {
    fn drop(&mut self) {
        self.running_listeners.drain(..).chain(self.closing.drain(..)).for_each(RunningListener::give_up);
    }
}

/// Ends what a reload replaces: a listener whose sockets are inherited hands them over and serves its connections on; one
/// that is no longer configured stops within `drain-timeout`.
pub fn retire(config: &Config, running_listeners: &mut [RunningListener], next: &PreparedListeners) {
    let goes = |running: &&mut RunningListener| {
        let is_served = !running.is_superseded() && !running.has_failed() && !running.has_ended();
        is_served && !next.kept.contains(&running.number())
    };
    running_listeners.iter_mut().filter(goes).for_each(|running| running.withdraw_from_kernel());
    for running in running_listeners.iter_mut().filter(goes) {
        if next.inherited.contains(&running.number()) {
            running.hand_over();
        } else {
            let name = running.name();
            info!(
                event = LogEvent::ListenerRemoved, listener = name;
                "listener \"{name}\": not served any more"
            );
            running.retire(config.daemon.drain_timeout);
        }
    }
    // What was dropped at their sockets until now is counted.
    next.running_listeners.iter().for_each(RunningListener::skip_undelivered);
    // One deadline for all of them.
    let end = Instant::now() + TO_LEAVE;
    for running in running_listeners.iter_mut().filter(|running| next.inherited.contains(&running.number())) {
        if !running.has_left(end) {
            let name = running.name();
            warn!(
                event = LogEvent::ListenerLate, listener = name;
                "listener \"{name}\": still accepts by its old rules"
            );
        }
    }
}

fn sites_with_settings<'a>(
    config: &'a Config,
    sites: &'a mut [Vec<Site<'static>>],
) -> impl Iterator<Item = (&'a config::Listener, &'a mut Site<'static>)> {
    let of_one = |(settings, sites): (&'a config::Listener, &'a mut Vec<Site<'static>>)| {
        sites.iter_mut().map(move |site| (settings, site))
    };
    config.listeners.iter().zip(sites).flat_map(of_one)
}
