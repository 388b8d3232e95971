//! The sandbox (`[daemon] sandbox`). The daemon enters it after every socket is bound and root is given up, before it starts a
//! second thread and serves the first byte. Later threads and child processes inherit it.
//!
//! It has three layers. `no_new_privs` (prctl(2)): executing a program cannot raise privileges. Landlock (landlock(7)): only the
//! directories in use are accessible. A seccomp filter (seccomp(2)): only the system calls of the modes in use are allowed. No
//! layer can be removed again, so a reload that needs more is refused. If the kernel lacks a layer, the daemon serves without it
//! and logs which one is missing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use log::{info, warn};

use crate::{
    config::{self, Address, Config, Fallback, LogTarget, Mode},
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
    },
};

mod landlock;
mod seccomp;

use landlock::{FsRules, LOG, SOCKET};
use seccomp::SyscallNeeds;

/// Directories that many programs share.
const SHARED: [&str; 10] =
    ["/", "/etc", "/var", "/run", "/var/run", "/var/lib", "/var/log", "/tmp", "/var/tmp", "/dev/shm"];

/// The layers in effect.
#[derive(Default)]
pub struct ActiveSandbox {
    syscalls: Option<SyscallNeeds>,
    rules: Option<FsRules>,
    /// Those that are in effect, in words.
    layers: Vec<String>,
}

impl ActiveSandbox {
    /// Enters the sandbox if `config` asks for it, and logs which layers are in effect. `files` are those that the configuration
    /// was read from; with `offload` the kernel echoes for listeners. To be called while the process has one thread.
    pub fn enter(config: &Config, files: &[PathBuf], offload: bool) -> ActiveSandbox {
        if config.daemon.sandbox == config::Sandbox::Off {
            return ActiveSandbox::default();
        }
        let needs = SyscallNeeds { offload, ..SyscallNeeds::of(config) };
        let no_new_privs = nix::sys::prctl::set_no_new_privs().map_err(|error| error.desc().to_owned());
        let rules = landlock::restrict(config, files, needs);
        // The filter comes last: it denies the system calls that set up the other layers.
        let calls = seccomp::restrict(needs);
        let layers = [
            no_new_privs
                .map(|()| "no_new_privs".to_owned())
                .map_err(|reason| format!("no_new_privs not applied: {reason}")),
            rules
                .as_ref()
                .map(FsRules::to_string)
                .map_err(|reason| format!("landlock not applied: {reason}")),
            calls
                .as_ref()
                .map(|count| format!("seccomp ({count} system calls)"))
                .map_err(|reason| format!("seccomp not applied: {reason}")),
        ];
        log_layers(&layers);
        if rules.is_ok() {
            warn_of_shared_directories(config);
        }
        let layers = layers.into_iter().filter_map(Result::ok).collect();
        ActiveSandbox { syscalls: calls.ok().map(|_| needs), rules: rules.ok(), layers }
    }

    /// The layers in effect, in words.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Whether only files in the directories used at the start can be read.
    pub fn hides_files(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether the sandbox allows the modes of all listeners. Without `resolved`, listeners that may fall back to another mode
    /// are skipped.
    ///
    /// # Errors
    /// Names the first listener whose system calls the filter denies.
    pub fn admits_modes(&self, config: &Config, resolved: bool) -> Result<(), Failure> {
        let Some(needs) = self.syscalls else { return Ok(()) };
        let is_final = |listener: &&config::Listener| resolved || listener.fallback == Fallback::Off;
        let Some(listener) =
            config.listeners.iter().filter(is_final).find(|listener| !needs.include(listener.mode))
        else {
            return Ok(());
        };
        let config::Listener { name, mode, .. } = listener;
        Err(refused(&format!(
            "listener \"{name}\": cannot serve in mode {mode}: the sandbox was made without the system calls of that mode"
        )))
    }

    /// Whether the files of a configuration can be created: socket files, except for those that are `bound` already, and the log
    /// file.
    ///
    /// # Errors
    /// Names the first file in an inaccessible directory.
    pub fn admits_files(
        &self,
        config: &Config,
        bound: impl Fn(&config::Listener, &Path) -> bool,
    ) -> Result<(), Failure> {
        let Some(rules) = &self.rules else { return Ok(()) };
        for listener in &config.listeners {
            for address in &listener.address {
                let Address::Path(path) = address else { continue };
                if !bound(listener, path) && !rules.admits(path, SOCKET) {
                    let (name, url) = (&listener.name, listener.protocol.url(address));
                    return Err(refused(&format!(
                        "listener \"{name}\": cannot bind {url}: the sandbox was made without its directory"
                    )));
                }
            }
        }
        match (config.log.target, &config.log.file) {
            (LogTarget::File, Some(path)) if !rules.admits(path, LOG) => {
                let path = path.display();
                Err(refused(&format!("cannot log to {path}: the sandbox was made without its directory")))
            }
            _ => Ok(()),
        }
    }
}

impl SyscallNeeds {
    /// The needs of all listeners' modes.
    fn of(config: &Config) -> SyscallNeeds {
        let is_used = |mode| config.listeners.iter().any(|listener| listener.mode == mode);
        SyscallNeeds { forking: is_used(Mode::Forking), io_uring: is_used(Mode::IoUring), offload: false }
    }

    fn include(self, mode: Mode) -> bool {
        match mode {
            Mode::Forking => self.forking,
            Mode::IoUring => self.io_uring,
            // These modes differ in a few harmless calls, which are always allowed.
            Mode::Iterative | Mode::Threading | Mode::Select | Mode::Poll | Mode::Epoll => true,
        }
    }
}

/// Logs one line: the layers in effect, then the missing ones with the reason.
fn log_layers(layers: &[Result<String, String>]) {
    let applied: Vec<&str> = layers.iter().filter_map(|layer| layer.as_deref().ok()).collect();
    let missing: Vec<&str> =
        layers.iter().filter_map(|layer| layer.as_ref().err().map(String::as_str)).collect();
    let applied = if applied.is_empty() { "nothing applied".to_owned() } else { applied.join(", ") };
    let (layers, missing) = (applied.as_str(), missing.join("; "));
    match missing.as_str() {
        "" => info!(event = LogEvent::SandboxEntered, layers; "sandbox: {applied}"),
        missing => warn!(event = LogEvent::SandboxEntered, layers, missing; "sandbox: {applied}; {missing}"),
    }
}

/// Warns about shared directories. Landlock has no right to create or remove a single file: a right covers its directory and all
/// that is beneath.
fn warn_of_shared_directories(config: &Config) {
    let shared = |file: &&PathBuf| {
        let real = fs::canonicalize(landlock::directory(file));
        real.is_ok_and(|directory| SHARED.iter().any(|shared| directory == Path::new(shared)))
    };
    let log = config.log.file.as_ref().filter(|_| config.log.target == LogTarget::File);
    let sockets = config.listeners.iter().flat_map(|listener| &listener.address);
    let sockets = sockets.chain(config.observe.address.iter().map(config::EndpointAddress::address));
    let sockets = sockets.filter_map(|address| match address {
        Address::Path(path) => Some(path),
        _ => None,
    });
    let found = config.daemon.pid_file.iter().chain(log).chain(sockets).filter(shared);
    let found: Vec<String> = found.map(|file| file.display().to_string()).collect();
    if !found.is_empty() {
        let found = found.join(", ");
        warn!(
            event = LogEvent::SandboxShared, files = found.as_str();
            "sandbox: the files of other programs beside {found} are in reach, too: what echod makes is best in a directory \
             of its own, such as /run/echod or /var/log/echod"
        );
    }
}

fn refused(what: &str) -> Failure {
    Failure::new(Exit::Unavailable, format!("{what}, and cannot be widened; restart echod instead"))
}
