//! The sandbox that the daemon locks itself into (`[daemon] sandbox`): after every socket is bound and root is given up, before
//! there is a second thread and before the first byte is served. Threads and processes that are started later are in it, too.
//!
//! There are three walls. `no_new_privs` (prctl(2)): no program that is executed gives more rights. Landlock (landlock(7)): only the
//! directories in use can be reached. A seccomp filter (seccomp(2)): only the system calls of the modes in use can be made. None
//! can be taken down again, so a reload that needs more is refused. Where the kernel has not all of them the daemon serves
//! all the same, and says what is missing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use log::{info, warn};

use crate::{
    config::{self, Address, Config, Fallback, LogTarget, Mode},
    report::error::{Exit, Failure},
};

mod landlock;
mod seccomp;

use crate::process::sandbox::landlock::{FsRules, LOG, SOCKET};
use crate::process::sandbox::seccomp::SyscallNeeds;

/// Directories of many programs.
const SHARED: [&str; 10] =
    ["/", "/etc", "/var", "/run", "/var/run", "/var/lib", "/var/log", "/tmp", "/var/tmp", "/dev/shm"];

/// The walls that stand.
#[derive(Default)]
pub struct Sandbox {
    calls: Option<SyscallNeeds>,
    reach: Option<FsRules>,
}

impl Sandbox {
    /// Locks this process in, if `config` says so, and tells what was done. `files` are those that the configuration was read from.
    /// To be called while there is one thread.
    pub fn enter(config: &Config, files: &[PathBuf]) -> Sandbox {
        if config.daemon.sandbox == config::Sandbox::Off {
            return Sandbox::default();
        }
        let needs = SyscallNeeds::of(config);
        let no_new_privs = nix::sys::prctl::set_no_new_privs().map_err(|error| error.desc().to_owned());
        let reach = crate::process::sandbox::landlock::restrict(config, files, needs);
        // At last: making the others takes system calls that the filter does not let pass.
        let calls = crate::process::sandbox::seccomp::restrict(needs);
        let told = [
            no_new_privs
                .map(|()| "no_new_privs".to_owned())
                .map_err(|why| format!("no_new_privs not applied: {why}")),
            reach.as_ref().map(FsRules::to_string).map_err(|why| format!("landlock not applied: {why}")),
            calls
                .as_ref()
                .map(|count| format!("seccomp ({count} system calls)"))
                .map_err(|why| format!("seccomp not applied: {why}")),
        ];
        tell(&told);
        if reach.is_ok() {
            tell_of_shared_directories(config);
        }
        Sandbox { calls: calls.ok().map(|_| needs), reach: reach.ok() }
    }

    /// Whether files can be read only where they were read when the daemon started.
    pub fn hides_files(&self) -> bool {
        self.reach.is_some()
    }

    /// Whether listeners may be served in their modes. Without `settled`, those that may fall back to another mode are not
    /// looked at.
    ///
    /// # Errors
    /// Names the first one whose system calls the filter does not let pass.
    pub fn admits_modes(&self, config: &Config, settled: bool) -> Result<(), Failure> {
        let Some(needs) = self.calls else { return Ok(()) };
        let asks = |listener: &&config::Listener| settled || listener.fallback == Fallback::Off;
        let Some(listener) =
            config.listeners.iter().filter(asks).find(|listener| !needs.include(listener.mode))
        else {
            return Ok(());
        };
        let config::Listener { name, mode, .. } = listener;
        Err(refused(&format!(
            "listener \"{name}\": cannot serve in mode {mode}: the sandbox was made without the system calls of that mode"
        )))
    }

    /// Whether the files of a configuration can be made: those of unix sockets, but for those that are `bound` already, and that of
    /// the log.
    ///
    /// # Errors
    /// Names the first that is in a directory out of reach.
    pub fn admits_files(
        &self,
        config: &Config,
        bound: impl Fn(&config::Listener, &Path) -> bool,
    ) -> Result<(), Failure> {
        let Some(reach) = &self.reach else { return Ok(()) };
        for listener in &config.listeners {
            for address in &listener.address {
                let Address::Path(path) = address else { continue };
                if !bound(listener, path) && !reach.admits(path, SOCKET) {
                    let (name, url) = (&listener.name, listener.protocol.url(address));
                    return Err(refused(&format!(
                        "listener \"{name}\": cannot bind {url}: the sandbox was made without its directory"
                    )));
                }
            }
        }
        match (config.log.target, &config.log.file) {
            (LogTarget::File, Some(path)) if !reach.admits(path, LOG) => {
                let path = path.display();
                Err(refused(&format!("cannot log to {path}: the sandbox was made without its directory")))
            }
            _ => Ok(()),
        }
    }
}

impl SyscallNeeds {
    /// What the modes of all listeners need.
    fn of(config: &Config) -> SyscallNeeds {
        let is_used = |mode| config.listeners.iter().any(|listener| listener.mode == mode);
        SyscallNeeds { forking: is_used(Mode::Forking), io_uring: is_used(Mode::IoUring) }
    }

    fn include(self, mode: Mode) -> bool {
        match mode {
            Mode::Forking => self.forking,
            Mode::IoUring => self.io_uring,
            // They differ in a few harmless calls, which are always let pass.
            Mode::Iterative | Mode::Threading | Mode::Select | Mode::Poll | Mode::Epoll => true,
        }
    }
}

/// One line: the walls that stand, then those that do not, and why.
fn tell(walls: &[Result<String, String>]) {
    let standing: Vec<&str> = walls.iter().filter_map(|wall| wall.as_deref().ok()).collect();
    let missing: Vec<&str> =
        walls.iter().filter_map(|wall| wall.as_ref().err().map(String::as_str)).collect();
    let standing = if standing.is_empty() { "nothing applied".to_owned() } else { standing.join(", ") };
    match missing.is_empty() {
        true => info!("sandbox: {standing}"),
        false => warn!("sandbox: {standing}; {}", missing.join("; ")),
    }
}

/// The kernel knows no right to remove or make one file only: the right is about its directory, with all that is beneath it.
fn tell_of_shared_directories(config: &Config) {
    let shared = |file: &&PathBuf| {
        let real = fs::canonicalize(crate::process::sandbox::landlock::directory(file));
        real.is_ok_and(|directory| SHARED.iter().any(|shared| directory == Path::new(shared)))
    };
    let log = config.log.file.as_ref().filter(|_| config.log.target == LogTarget::File);
    let sockets = config.listeners.iter().flat_map(|listener| &listener.address);
    let sockets = sockets.filter_map(|address| match address {
        Address::Path(path) => Some(path),
        _ => None,
    });
    let found = config.daemon.pid_file.iter().chain(log).chain(sockets).filter(shared);
    let found: Vec<String> = found.map(|file| file.display().to_string()).collect();
    if !found.is_empty() {
        let found = found.join(", ");
        warn!(
            "sandbox: the files of other programs beside {found} are in reach, too: what echod makes is best in a directory \
             of its own, such as /run/echod or /var/log/echod"
        );
    }
}

fn refused(what: &str) -> Failure {
    Failure::new(Exit::Unavailable, format!("{what}, and cannot be widened; restart echod instead"))
}
