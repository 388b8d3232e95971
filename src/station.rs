//! A listener that is being served: by threads of this process, or by a process of its own.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Instant,
};

use crate::{
    config::{self, Config, Mode},
    duty::Duty,
    error::{Exit, Failure},
    fork_server::ForkServer,
    listener::Listener,
    socket_file::SocketFile,
    stats::Stats,
    strategy,
    sys::shared::Shared,
};

/// Stack of a thread that accepts or serves datagrams, in bytes; only what is touched takes memory.
const STACK: usize = 256 << 10;

/// One listener in service.
pub struct Station {
    name: String,
    stats: Arc<Shared<Stats>>,
    files: Vec<SocketFile>,
    how: How,
    ended: bool,
}

enum How {
    Threads(Arc<Duty>),
    Process(ForkServer),
}

impl Station {
    /// Starts serving `sockets`. Threads tell by `ended` when they have ended.
    pub fn start(
        config: &Config,
        settings: &config::Listener,
        mut sockets: Vec<Listener>,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<Station> {
        let stats = Arc::new(Shared::<Stats>::new()?);
        let files = sockets.iter_mut().filter_map(Listener::take_file).collect();
        let how = match settings.mode {
            Mode::Forking => How::Process(ForkServer::start(&config.log, settings, &stats, sockets)?),
            _ => {
                let duty = Arc::new(Duty::new(settings.clone(), Arc::clone(&stats))?);
                let served = Arc::clone(&duty);
                let serve = move || {
                    let serve = || strategy::serve(&served, sockets);
                    let panicked = |_| Err(io::Error::other("its thread panicked"));
                    ended(catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(panicked));
                };
                thread::Builder::new().stack_size(STACK).spawn(serve)?;
                How::Threads(duty)
            }
        };
        Ok(Station { name: settings.name.clone(), stats, files, how, ended: false })
    }

    /// Waits until clients are served. (Threads need no time for that.)
    pub fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let How::Process(server) = &mut self.how else { return Ok(()) };
        server.wait().map_err(|error| {
            let name = &self.name;
            Failure::new(Exit::Unavailable, format!("listener \"{name}\": cannot serve: {error}"))
        })
    }

    /// Stops: no new clients, what has arrived is answered.
    pub fn stop(&mut self) {
        // First of all nobody is to find it any more.
        self.files.clear();
        match &mut self.how {
            How::Threads(duty) => duty.stop(),
            How::Process(server) => server.stop(),
        }
    }

    /// Ends everything at once. Threads end with the daemon.
    pub fn cut(&mut self) {
        if let How::Process(server) = &mut self.how {
            server.cut();
        }
    }

    /// Looks after the process of a forking listener.
    pub fn tend(&mut self) {
        if let How::Process(server) = &mut self.how
            && server.tend()
        {
            self.end();
        }
    }

    /// When it wants to be tended next.
    pub fn due(&self) -> Option<Instant> {
        match &self.how {
            How::Process(server) => server.due(),
            How::Threads(_) => None,
        }
    }

    /// Asks those who serve it for a sign of life.
    pub fn ask(&self) {
        match &self.how {
            How::Threads(duty) => duty.posts.ask(),
            How::Process(server) => server.ask(),
        }
    }

    /// Whether they have given it.
    pub fn has_answered(&self) -> bool {
        self.ended
            || match &self.how {
                How::Threads(duty) => duty.posts.have_answered(),
                How::Process(server) => server.has_answered(),
            }
    }

    /// Marks it as ended.
    pub fn end(&mut self) {
        self.ended = true;
        self.files.clear();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What the log calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What happened so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections that are open.
    pub fn open(&self) -> u32 {
        self.stats.open.load(Relaxed)
    }
}
