//! The order of life: read, bind, start, be ready, wait, drain, end.

use std::{
    io::{self, Write},
    sync::mpsc,
};

use log::{info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::{
    activation::Passed,
    cli::Cli,
    config::{self, Config, Environment},
    error::{Exit, Failure},
    inetd,
    listener::{self, Listener},
    logging, signals,
    station::Station,
    strategy,
    supervisor::{Event, Supervisor},
    sys::post,
    systemd::Manager,
};

/// Does what the command line says, until it is done or a signal ends it.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    if cli.inetd {
        return inetd::serve(cli);
    }
    let (mut config, mut notes) = load(cli)?;
    if cli.check || cli.print_config {
        // Without a standard error there is nobody to tell.
        notes.iter().for_each(|note| _ = writeln!(io::stderr(), "echod: {note}"));
    }
    if cli.check {
        return print(&config.describe());
    }
    if cli.print_config {
        return print(&config.to_toml());
    }
    // Before a descriptor of ours could have the number of one that was announced and is not there.
    let passed = Passed::from_environment(&mut notes);
    strategy::settle(&mut config, &mut notes)?;
    signals::block().map_err(internal)?;
    logging::install(&config.log);
    logging::log_panics();
    let manager = Manager::from_environment();
    if manager.watchdog().is_some() {
        post::watch();
    }
    serve(&config, passed, notes, cli.announce, manager)
}

fn load(cli: &Cli) -> Result<(Config, Vec<String>), Failure> {
    let loaded = config::load(&cli.inputs(), &Environment::from_process())?;
    let mut config = loaded.config;
    let level = std::env::var("ECHOD_LOG").ok();
    cli.adjust(&mut config.log, level.as_deref()).map_err(|e| Failure::new(Exit::Usage, e))?;
    Ok((config, loaded.notes))
}

fn serve(
    config: &Config,
    mut passed: Passed,
    mut notes: Vec<String>,
    announce: bool,
    manager: Manager,
) -> Result<(), Failure> {
    use_all_descriptors();
    let mut bound = Vec::new();
    // By name first: whoever is named is not to lose its socket to one that has its address.
    let named: io::Result<Vec<_>> = config.listeners.iter().map(|settings| passed.named(settings)).collect();
    let named = named.map_err(|error| {
        Failure::new(Exit::Unavailable, format!("cannot use the sockets that were passed: {error}"))
    })?;
    for (settings, named) in config.listeners.iter().zip(named) {
        let sockets = match named.is_empty() {
            true => listener::bind_or_adopt(settings, |place| passed.at(settings, place), &mut notes)?,
            false => named,
        };
        bound.push((settings, sockets));
    }
    passed.close();
    notes.iter().for_each(|note| warn!("{note}"));
    bound.retain(|(_, sockets)| !sockets.is_empty());
    if bound.is_empty() {
        let text = "nothing to serve: this machine has none of the optional addresses; see the log, or add a listener";
        return Err(Failure::new(Exit::Unavailable, text));
    }
    let announced: Vec<Announcement> =
        bound.iter().flat_map(|(settings, sockets)| announcements(settings, sockets)).collect();
    let (events, inbox) = mpsc::channel();
    signals::forward(events.clone(), Event::Signal).map_err(internal)?;
    let mut stations = Vec::new();
    for (number, (settings, sockets)) in bound.into_iter().enumerate() {
        let name = &settings.name;
        let events = events.clone();
        // Nobody listens any more once the daemon was cut.
        let ended = move |result| _ = events.send(Event::Ended(number, result));
        let station = Station::start(config, settings, sockets, ended);
        stations.push(station.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("listener \"{name}\": cannot serve: {error}"))
        })?);
    }
    for station in &mut stations {
        station.wait_until_ready()?;
    }
    announced.iter().for_each(|socket| info!("{}", socket.words()));
    if announce && let Err(error) = say(&announced) {
        warn!("cannot announce the sockets on standard output: {error}");
    }
    Supervisor::new(&config.daemon, stations, inbox, manager).run()
}

/// The soft limit of open files guards programs that use select(2); the hard one is what the administrator allows.
fn use_all_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!("cannot raise the limit of open files from {soft} to {hard}: {error}");
    }
}

/// A bound socket, as `--announce` prints it.
#[derive(Serialize)]
struct Announcement {
    name: String,
    url: String,
    protocol: String,
    address: String,
    mode: String,
    service: String,
    #[serde(skip)]
    workers: String,
}

fn announcements(settings: &config::Listener, sockets: &[Listener]) -> Vec<Announcement> {
    let announce = |socket: &Listener| Announcement {
        name: settings.name.clone(),
        url: socket.url().to_string(),
        protocol: settings.protocol.to_string(),
        address: socket.address().to_string(),
        mode: settings.mode.to_string(),
        service: settings.service.to_string(),
        workers: settings.workers.to_string(),
    };
    sockets.iter().map(announce).collect()
}

impl Announcement {
    fn words(&self) -> String {
        let Announcement { name, url, mode, service, workers, .. } = self;
        format!("listener \"{name}\": serving {service} at {url}, mode {mode}, workers {workers}")
    }
}

/// Prints a line of JSON for each socket, then closes standard output: its end says that all are served.
fn say(announced: &[Announcement]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for socket in announced {
        serde_json::to_writer(&mut out, socket)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    nix::unistd::dup2_stdout(std::fs::File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match printed {
        // Who closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Internal, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("cannot prepare for signals: {error}"))
}
