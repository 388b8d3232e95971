//! The order of life: read, bind, start, be ready, supervise, drain, end.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use log::{info, warn};
use serde::Serialize;

#[cfg(feature = "client")]
use crate::client::{bench, compare, ping, selftest};
#[cfg(feature = "observe")]
use crate::observe::{endpoint::Endpoint, metrics, status, top};
use crate::{
    access::guard,
    command::{
        cli::{self, Cli, Command, FaultsCommand, FaultsQuestion},
        explain, faults, inetd, probe,
    },
    config::{self, Config, Environment, Loaded, LogTarget, Note},
    daemon::{
        event::SupervisorEvent,
        generation::{ListenerPlan, ServingLine, load, log_faults, log_notes},
        parked::Parked,
        running_listener::RunningListener,
        supervisor::Supervisor,
    },
    modes,
    offload::{self, KernelEcho},
    process::{
        daemonize::{Detached, Report, detach},
        named_thread,
        notify::Manager,
        pid_file::PidFile,
        privileges::{self, use_all_descriptors},
        sandbox::ActiveSandbox,
        signals,
    },
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
        logging,
    },
    socket::{
        activation::Passed, fd_store::FdStore, host_names::HostNames, name_clashes::check_names,
        resolve::resolve,
    },
    sys::{
        code, room,
        rtnetlink::{InterfacesGone, Monitor},
        worker_state,
    },
};

/// Executes the command line, until it is done or a signal ends it.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Some(Command::Explain(question)) => {
            let inputs = cli.inputs();
            let loaded = config::load(&inputs, &Environment::from_process())?;
            let question = cli::Explain { config: inputs.file, ..question.clone() };
            let answer = explain::explain(&loaded, &question)?;
            print(&answer.text)?;
            return answer.refusal.map_or(Ok(()), Err);
        }
        Some(Command::Faults(FaultsQuestion { command: FaultsCommand::List })) => {
            return print(&faults::list());
        }
        Some(Command::Faults(FaultsQuestion { command: FaultsCommand::Preview(preview) })) => {
            let loaded = load(cli, &Environment::from_process())?;
            return print(&faults::preview(&loaded.config, preview)?);
        }
        #[cfg(feature = "client")]
        Some(Command::Ping(options)) => return ping::run(options),
        #[cfg(feature = "client")]
        Some(Command::Bench(options)) if options.compare.is_some() => return compare::run(options),
        #[cfg(feature = "client")]
        Some(Command::Bench(options)) => return bench::run(options),
        #[cfg(feature = "client")]
        Some(Command::Selftest(options)) => return selftest::run(options),
        #[cfg(feature = "observe")]
        Some(Command::Metrics(options)) if options.list => return print(&metrics::listing()),
        #[cfg(feature = "observe")]
        Some(Command::Metrics(options)) => return print(&status::metrics(options)?),
        #[cfg(feature = "observe")]
        Some(Command::Status(options)) => return print(&status::run(options)?),
        #[cfg(feature = "observe")]
        Some(Command::Top(options)) => return top::run(options),
        None => {}
    }
    if let Some(url) = &cli.probe {
        return print(&probe::probe(url)?);
    }
    if cli.inetd {
        return inetd::serve(cli);
    }
    let Loaded { mut config, mut notes, files, .. } = load(cli, &Environment::from_process())?;
    if cli.check {
        check_hosts(&config, &mut notes)?;
        notes.extend(offload::notes(&config));
    }
    if cli.check || cli.print_config {
        // A closed standard error is no reason to fail.
        notes.iter().for_each(|note| _ = writeln!(io::stderr(), "echod: {note}"));
    }
    if cli.check {
        config.daemon.pid_file.as_deref().map_or(Ok(()), PidFile::check)?;
        logging::check(&config.log)?;
        return print(&config.describe());
    }
    if cli.print_config {
        return print(&config.to_toml());
    }
    if let Some(text) = logging::missing(&config.log) {
        logging::print_error(&format!("echod: {text}"));
    }
    if cli.daemonize {
        Passed::close_others();
    }
    // Claim the passed descriptors before one of ours can take the number of one that was announced but is missing.
    let passed = Passed::from_environment(&mut notes);
    modes::resolve_fallbacks(&mut config, &mut notes)?;
    if !cli.daemonize {
        return serve(cli, config, &files, passed, notes, &mut None);
    }
    match detach(config.log.target == LogTarget::Stderr)? {
        Detached::Launcher(outcome) => outcome,
        Detached::Daemon(report) => {
            let mut report = Some(report);
            let ended = serve(cli, config, &files, passed, notes, &mut report);
            ended.map_err(|failure| match report {
                Some(report) => report.failed(failure),
                None => failure,
            })
        }
    }
}

/// Looks up the host names for `--check`. One that is unknown here may be known on the machine that serves it.
fn check_hosts(config: &Config, notes: &mut Vec<Note>) -> Result<(), Failure> {
    let names = HostNames::look_up(&config.listeners, || false).unwrap_or_default();
    for settings in &config.listeners {
        let named = settings.address.iter().filter(|address| address.is_name());
        let missing = named.filter_map(|address| resolve(settings, address, &names).err());
        notes.extend(missing.map(|failure| Note::new(failure.message)));
    }
    check_names(&config.listeners, &names)
}

fn serve(
    cli: &Cli,
    config: Config,
    files: &[PathBuf],
    passed: Passed,
    notes: Vec<Note>,
    report: &mut Option<Report>,
) -> Result<(), Failure> {
    signals::block().map_err(internal)?;
    room::save_address_space();
    match start(cli, config, files, passed, notes, report) {
        // The start that was interrupted has undone itself.
        Err(_) if signals::is_stop_pending() => {
            let text = "told to stop before anything was served";
            match report {
                Some(_) => Err(Failure::new(Exit::TryAgain, text)),
                None => {
                    info!(event = LogEvent::DaemonStopped; "{text}");
                    Ok(())
                }
            }
        }
        ended => ended,
    }
}

/// Runs the daemon from the pid file to the last connection.
fn start(
    cli: &Cli,
    config: Config,
    files: &[PathBuf],
    passed: Passed,
    mut notes: Vec<Note>,
    report: &mut Option<Report>,
) -> Result<(), Failure> {
    // Replaces standard output after the announcement. Opened now: later, descriptors may be short.
    let dev_null = cli.announce.then(|| File::options().write(true).open("/dev/null")).transpose();
    let dev_null = dev_null.map_err(|error| {
        Failure::new(Exit::Unavailable, format!("cannot open /dev/null: {error}; --announce needs it"))
    })?;
    let _pid_file = config.daemon.pid_file.as_deref().map(PidFile::take).transpose()?;
    logging::install(&config.log)?;
    logging::log_panics();
    let manager = Rc::new(Manager::from_environment());
    let mut store = FdStore::new(Rc::clone(&manager), passed.kept.names());
    if manager.watchdog().is_some() || config.observe.is_on() {
        worker_state::enable_pings();
    }
    use_all_descriptors(&config);
    // Created now, so that fork servers started later share it.
    guard::own_ports().map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("cannot share memory with the processes of listeners: {error}"),
        )
    })?;
    let mut plan = ListenerPlan::first(&config, passed, &mut store, &mut notes)?;
    #[cfg(feature = "observe")]
    let endpoint = Endpoint::bind(&config.observe, &mut notes)?;
    #[cfg(not(feature = "observe"))]
    if config.observe.is_on() {
        let text = "[observe]: this echod was built without the feature `observe`; take the table out";
        return Err(Failure::new(Exit::Unavailable, text));
    }
    log_notes(&notes);
    // What needs privileges is made now, and answers nothing yet.
    let offload = KernelEcho::open(&config)?;
    privileges::give_up(&config, plan.public().as_deref(), plan.inet(), &plan.files())?;
    let sandbox = ActiveSandbox::enter(&config, files, offload.is_open());
    let (events, inbox) = mpsc::channel();
    #[cfg(feature = "observe")]
    let endpoint = {
        let asked = events.clone();
        // A send fails only once the supervisor has ended.
        let ask = move |ask| _ = asked.send(SupervisorEvent::Observed(ask));
        endpoint.map(|endpoint| endpoint.open(&config.observe, ask)).transpose()?
    };
    let behind = events.clone();
    // A send fails only once the supervisor has ended.
    logging::when_behind(move || _ = behind.send(SupervisorEvent::LogBehind));
    let mut parked = Parked::default();
    parked.set(plan.take_unwanted());
    let (serving, announced) = (plan.serving_lines(), announcements(&plan));
    let mut number = 0;
    let prepared = plan.prepare(&config.log, &mut number, &events)?;
    let mut running_listeners = prepared.begin(&mut [], Duration::ZERO);
    offload_first(&offload, &mut running_listeners, &events)?;
    signals::forward(events.clone(), SupervisorEvent::Signal).map_err(internal)?;
    serving.iter().for_each(ServingLine::log);
    log_faults(running_listeners.iter().map(RunningListener::settings), &HashSet::new());
    let count = running_listeners.len();
    info!(
        event = LogEvent::DaemonReady, listeners = count;
        "ready: serving {count} listener{}", if count == 1 { "" } else { "s" }
    );
    if let Some(dev_null) = dev_null
        && let Err(error) = announce(&announced, dev_null)
    {
        warn!(
            event = LogEvent::AnnounceFailed, error:% = error;
            "cannot announce the sockets on standard output: {error}"
        );
    }
    if let Some(report) = report.take() {
        report.ready();
    }
    code::forget();
    let to_manager = (manager, store);
    let supervisor = Supervisor::new(
        cli,
        config,
        sandbox,
        (running_listeners, parked, offload),
        number,
        (events, inbox),
        to_manager,
    );
    #[cfg(feature = "observe")]
    let supervisor = supervisor.with_endpoint(endpoint);
    supervisor.run()
}

/// Has the kernel echo for the listeners that ask, and follows the network from then on.
fn offload_first(
    offload: &KernelEcho,
    running_listeners: &mut [RunningListener],
    events: &mpsc::Sender<SupervisorEvent>,
) -> Result<(), Failure> {
    if !offload.is_open() {
        return running_listeners.iter_mut().try_for_each(|running| running.enter_kernel(offload));
    }
    let failed = |error: io::Error| {
        Failure::new(Exit::Unavailable, format!("cannot follow the network interfaces: {error}"))
    };
    // From before the first look on, so that no change is missed.
    let monitor = Monitor::new().map_err(failed)?;
    running_listeners.iter_mut().try_for_each(|running| running.enter_kernel(offload))?;
    let (events, gone) = (events.clone(), Arc::<Mutex<Option<InterfacesGone>>>::default());
    if running_listeners.iter().any(|running| offload::insists(running.settings())) {
        offload.sync();
        for running in &*running_listeners {
            offload.holds(running.settings(), running.offloaded_on().as_deref())?;
        }
    } else {
        // The kernel takes its time to attach the program. Until then the sockets serve, so no start waits for it.
        let _ = events.send(SupervisorEvent::NetworkChanged(Arc::clone(&gone)));
    }
    let follow = move || {
        // A send fails only once the supervisor has ended; without its socket the thread has nothing to wait for.
        while let Ok(more) = monitor.wait() {
            let mut untaken = gone.lock().unwrap_or_else(PoisonError::into_inner);
            let is_told = untaken.is_some();
            untaken.get_or_insert_default().add(more);
            drop(untaken);
            let tell = || events.send(SupervisorEvent::NetworkChanged(Arc::clone(&gone)));
            if !is_told && tell().is_err() {
                return;
            }
        }
    };
    let thread = named_thread::spawn("offload", STACK, follow);
    thread.map(|_| ()).map_err(failed)
}

/// Stack of the thread that waits for changes of the network, in bytes.
const STACK: usize = 64 << 10;

/// A bound socket in the output of `--announce`.
#[derive(Serialize)]
struct Announcement {
    name: String,
    url: String,
    protocol: String,
    address: String,
    mode: String,
    service: String,
}

fn announcements(plan: &ListenerPlan) -> Vec<Announcement> {
    let mut announced = Vec::new();
    for (settings, sockets) in plan.listeners() {
        announced.extend(sockets.iter().map(|socket| Announcement {
            name: settings.name.clone(),
            url: socket.url().to_string(),
            protocol: settings.protocol.to_string(),
            address: socket.address().to_string(),
            mode: settings.mode.to_string(),
            service: settings.service.to_string(),
        }));
    }
    announced
}

/// Prints a line of JSON for each socket, then closes standard output: end of file says that all are served.
fn announce(announced: &[Announcement], dev_null: File) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for socket in announced {
        serde_json::to_writer(&mut out, socket)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    nix::unistd::dup2_stdout(dev_null)?;
    Ok(())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match printed {
        // EPIPE: the reader has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Internal, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("cannot prepare for signals: {error}"))
}
