//! A listener starts in two steps. First everything that can fail: threads and processes, with what they need. Then it
//! begins; until then another generation may serve the same sockets.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, mpsc::Sender},
};

use log::warn;

use super::{How, RunningListener, STACK};
use crate::{
    config::{self, Mode},
    daemon::{event::SupervisorEvent, fork_server::ForkServer},
    modes,
    process::named_thread,
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
        stats::Stats,
    },
    serve::context::{ListenerContext, Startup},
    socket::{address::Peer, listener::Listener, socket_file::SocketFile},
    sys::shared::Shared,
};

impl RunningListener {
    /// Prepares to serve `sockets`. Threads report in `events` when they have ended.
    pub fn prepare(
        number: usize,
        log: &config::Log,
        settings: config::Listener,
        mut sockets: Vec<Listener>,
        events: &Sender<SupervisorEvent>,
    ) -> Result<RunningListener, Failure> {
        let files = sockets.iter_mut().filter_map(Listener::take_file).collect();
        let started = || {
            let stats = Arc::new(Shared::<Stats>::new()?);
            let how = match settings.mode {
                Mode::Forking => How::Process(ForkServer::start(log, &settings, &stats, sockets)?),
                _ => threads(number, &settings, &stats, sockets, events)?,
            };
            Ok((stats, how))
        };
        let (stats, how) = started().map_err(|error| cannot_serve(&settings, &error))?;
        let (log, ended, failed, superseded, leaves, cut) = (log.clone(), false, false, false, false, None);
        let (last, drops, kernel) = (None, Cell::new(0), None);
        let running = RunningListener {
            number,
            settings,
            log,
            stats,
            files,
            how,
            ended,
            failed,
            superseded,
            leaves,
            cut,
            last,
            drops,
            kernel,
        };
        running.skip_undelivered();
        Ok(running)
    }

    /// Waits until all workers are prepared.
    pub fn wait_until_prepared(&mut self) -> Result<(), Failure> {
        let prepared = match &mut self.how {
            How::Threads(context, ..) => context.startup.prepared(),
            How::Process(server) => server.wait(),
        };
        prepared.map_err(|error| cannot_serve(&self.settings, &error))
    }

    /// Applies the options of its settings, as far as possible, to sockets that another listener had until now.
    pub fn reconfigure(&self) {
        for socket in self.sockets() {
            if let Err(error) = socket.reconfigure(&self.settings) {
                let (name, url) = (self.name(), socket.url());
                warn!(
                    event = LogEvent::SocketOptionsFailed, listener = name, address:% = url, error:% = error;
                    "listener \"{name}\": cannot set all options of {url}: {error}"
                );
            }
        }
    }

    /// Lets another listener bind the same ports.
    pub fn share_ports(&self) {
        // If that fails, the other listener reports that it cannot listen.
        self.sockets().iter().for_each(|socket| _ = socket.share_port(true));
    }

    /// Confirms its own socket files, and adopts those of inherited sockets, which `find` looks up by path.
    pub fn take_files(&mut self, mut find: impl FnMut(&Path) -> Option<SocketFile>) {
        self.files.iter_mut().for_each(SocketFile::confirm);
        // A removed file's inode number may be reused by the new file, so the old entry must not remove it.
        let replaced = self.files.iter().filter_map(|file| find(file.path()));
        replaced.for_each(|mut file| file.stay(true));
        let mut found = Vec::new();
        for socket in self.sockets() {
            let Peer::Path(path) = socket.address() else { continue };
            if self.file(path).is_none() {
                found.extend(find(path));
            }
        }
        for file in &found {
            if let Err(error) = file.renew(&self.settings) {
                let (name, path) = (self.name(), file.path().display());
                warn!(
                    event = LogEvent::SocketFileFailed, listener = name, path:% = path, error:% = error;
                    "listener \"{name}\": cannot give {path} its owner and mode: {error}"
                );
            }
        }
        self.files.extend(found);
    }

    /// Serves clients from now on.
    pub fn begin(&mut self) {
        match &mut self.how {
            How::Threads(context, ..) => context.startup.begin(),
            How::Process(server) => server.begin(),
        }
    }

    /// Undoes the preparation of a listener that is not to begin.
    pub fn give_up(self) {
        match self.how {
            How::Threads(context, _, thread) => {
                context.give_up_start(None);
                // A panic was logged and leaves nothing behind.
                let _ = thread.join();
            }
            How::Process(mut server) => server.give_up(),
        }
    }
}

fn threads(
    number: usize,
    settings: &config::Listener,
    stats: &Arc<Shared<Stats>>,
    sockets: Vec<Listener>,
    events: &Sender<SupervisorEvent>,
) -> io::Result<How> {
    // Clone before the thread starts: from then on it waits to begin, or to be given up.
    let kept = sockets.iter().map(Listener::try_clone).collect::<io::Result<_>>()?;
    let mut context = ListenerContext::new(settings.clone(), Arc::clone(stats))?;
    context.startup = Startup::of(modes::workers(settings));
    let context = Arc::new(context);
    let (served, events) = (Arc::clone(&context), events.clone());
    let serve = move || {
        let serve = || modes::serve(&served, sockets);
        let panicked = |_| Err(io::Error::other("its thread panicked"));
        let ended = catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(panicked);
        if served.startup.has_begun() {
            // A send fails only once the supervisor has ended.
            let _ = events.send(SupervisorEvent::Ended(number, ended));
        } else {
            served.give_up_start(ended.err());
        }
    };
    let thread = named_thread::spawn("listener", STACK, serve)?;
    Ok(How::Threads(context, kept, thread))
}

fn cannot_serve(settings: &config::Listener, error: &io::Error) -> Failure {
    let name = &settings.name;
    Failure::new(Exit::Unavailable, format!("listener \"{name}\": cannot serve: {error}"))
}
