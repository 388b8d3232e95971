//! Starting the binary: with which arguments, in which environment, and what became of it.

use std::{
    fs,
    io::{BufRead, BufReader, IoSlice},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tempfile::TempDir;

use super::{Echod, PATIENCE, has_io_uring, poll, proc, python};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_echod");

/// What passes descriptors to it.
const PASS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/harness/pass.py");

/// A daemon about to be started, in a directory of its own that is also its working directory.
pub(crate) struct Launch {
    dir: TempDir,
    args: Vec<String>,
    shell: Option<&'static str>,
    env: Vec<(&'static str, String)>,
    passed: Vec<(String, OwnedFd)>,
    meant_for: &'static str,
    stdin: Option<OwnedFd>,
}

/// A daemon that has ended, or a command that was never meant to stay.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Kept so that a test can look at what was left in it.
    pub(crate) dir: TempDir,
}

impl Launch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            args: Vec::new(),
            shell: None,
            env: Vec::new(),
            passed: Vec::new(),
            meant_for: "",
            stdin: None,
        }
    }

    /// The directory that relative paths in the configuration refer to.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes `toml` to a file there and passes it as `--config`.
    pub(crate) fn config(self, toml: &str) -> Self {
        fs::write(self.dir().join("echod.toml"), toml).unwrap();
        self.args(&["--config", "echod.toml"])
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    pub(crate) fn env(mut self, key: &'static str, value: impl ToString) -> Self {
        self.env.push((key, value.to_string()));
        self
    }

    /// Lets a shell run `script` first, which must `exec "$0" "$@"`.
    pub(crate) fn shell(mut self, script: &'static str) -> Self {
        self.shell = Some(script);
        self
    }

    /// Passes a copy of a descriptor under this name, as a service manager does.
    pub(crate) fn pass(mut self, name: &str, descriptor: &impl AsFd) -> Self {
        self.passed.push((name.to_owned(), descriptor.as_fd().try_clone_to_owned().unwrap()));
        self
    }

    /// Says that what is passed is meant for another process.
    pub(crate) fn meant_for(self, process: &'static str) -> Self {
        Self { meant_for: process, ..self }
    }

    /// Standard input, as inetd gives it to a server.
    pub(crate) fn stdin(self, descriptor: OwnedFd) -> Self {
        Self { stdin: Some(descriptor), ..self }
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(self) -> Echod {
        self.try_start()
            .unwrap_or_else(|failed| panic!("echod did not start: {}\n{}", failed.status, failed.stderr))
    }

    /// Starts a daemon and waits until it is ready or has failed.
    pub(crate) fn try_start(mut self) -> Result<Echod, Finished> {
        self.lock_in();
        self.args.push("--announce".to_owned());
        let mut child = self.spawn(Stdio::piped());
        // It has them now, and whoever passed them may want to see them closed.
        self.passed.clear();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        // The end of the channel is the end of standard output, which is what says "ready".
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                sender.send(line.unwrap()).unwrap();
            }
        });
        let mut announced = Vec::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => announced.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let log = self.stderr();
                    self.kill(&mut child);
                    panic!("echod neither became ready nor ended; announced {announced:?}\n{log}");
                }
            }
        }
        reader.join().unwrap();
        if announced.is_empty() {
            let stdout = String::new();
            return Err(self.finish(&mut child, stdout));
        }
        Ok(Echod::new(child, self.dir, &announced))
    }

    /// Runs a command to its end.
    pub(crate) fn run(self) -> Finished {
        let out = self.dir().join("stdout.log");
        let mut child = self.spawn(Stdio::from(fs::File::create(&out).unwrap()));
        let mut finished = self.finish(&mut child, String::new());
        finished.stdout = fs::read_to_string(out).unwrap();
        finished
    }

    /// Runs a command that leaves a daemon behind; what it printed on standard output, too.
    pub(crate) fn detach(mut self) -> Finished {
        self.lock_in();
        let out = self.dir().join("stdout.log");
        let mut child = self.spawn(Stdio::from(fs::File::create(&out).unwrap()));
        let status = poll(|| child.try_wait().unwrap()).expect("the end of the process that detaches");
        Finished { status, stdout: fs::read_to_string(out).unwrap(), stderr: self.stderr(), dir: self.dir }
    }

    /// With `ECHOD_TEST_SANDBOX=on` every daemon that is to stay is in its sandbox: what the suite asks of it must work there, too.
    fn lock_in(&mut self) {
        let file = self.dir().join("echod.toml");
        let has = |words: [&str; 2]| self.args.iter().any(|arg| words.contains(&arg.as_str()));
        if let Ok(toml) = fs::read_to_string(&file) {
            fs::write(file, fitted(&toml)).unwrap();
        } else if is_locked_in() && has(["--listen", "-l"]) && !has(["--config", "-c"]) {
            let launch = std::mem::replace(self, Self::new());
            *self = launch.config(&fitted(""));
        }
    }

    fn spawn(&self, stdout: Stdio) -> Child {
        let (sender, receiver) = UnixStream::pair().unwrap();
        let mut command = match self.shell {
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script, BINARY]);
                shell
            }
            None if !self.passed.is_empty() => {
                let names: Vec<_> = self.passed.iter().map(|(name, _)| name.as_str()).collect();
                let mut python = Command::new(python().expect("Python, which the test has asked for"));
                // In isolation, and without the packages of the site: quicker.
                python.args(["-I", "-S", PASS, &names.join(":"), self.meant_for, BINARY]);
                python
            }
            None => Command::new(BINARY),
        };
        for key in [
            "ECHOD_LOG",
            "XDG_RUNTIME_DIR",
            "RUNTIME_DIRECTORY",
            "NOTIFY_SOCKET",
            "FDSTORE",
            "ECHOD_FDSTORE",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
            "NO_COLOR",
            "CLICOLOR_FORCE",
        ] {
            command.env_remove(key);
        }
        let stdin = match &self.stdin {
            Some(descriptor) => Stdio::from(descriptor.try_clone().unwrap()),
            None if !self.passed.is_empty() => Stdio::from(OwnedFd::from(receiver)),
            None => Stdio::null(),
        };
        let child = command
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .current_dir(self.dir())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(fs::File::create(log_path(self.dir())).unwrap())
            .spawn()
            .unwrap();
        let raw: Vec<RawFd> = self.passed.iter().map(|(_, descriptor)| descriptor.as_raw_fd()).collect();
        if !raw.is_empty() {
            let message = [ControlMessage::ScmRights(&raw)];
            let byte = [IoSlice::new(b"x")];
            sendmsg::<()>(sender.as_raw_fd(), &byte, &message, MsgFlags::empty(), None).unwrap();
        }
        child
    }

    fn finish(self, child: &mut Child, stdout: String) -> Finished {
        let Some(status) = poll(|| child.try_wait().unwrap()) else {
            let log = self.stderr();
            self.kill(child);
            panic!("echod {:?} did not end\n{log}", self.args);
        };
        let stderr = self.stderr();
        if self.args.iter().any(|arg| arg == "--daemonize") {
            // A daemon that cannot start has told its launcher why, and ends at the same time.
            poll(|| proc::working_in(self.dir()).is_empty().then_some(()));
        }
        let left = proc::working_in(self.dir());
        assert!(left.is_empty(), "echod ended but left {left:?} behind\n{stderr}");
        Finished { status, stdout, stderr, dir: self.dir }
    }

    fn kill(&self, child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
        proc::kill_all(self.dir());
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(log_path(self.dir())).unwrap()).into_owned()
    }
}

impl Finished {
    /// Asserts the exit code and that the message has every one of `words`.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in:\n{}", self.stderr);
        }
    }
}

/// Whether every daemon that is to stay is to be in its sandbox.
pub(crate) fn is_locked_in() -> bool {
    std::env::var("ECHOD_TEST_SANDBOX").is_ok_and(|value| value == "on")
}

/// The same configuration, as it can be had here: with epoll in the place of io_uring where that is denied, and with the sandbox
/// on if the whole suite is to be run so. What it says about either itself is left alone.
pub(crate) fn fitted(toml: &str) -> String {
    let (ring, without) = ("mode = \"io-uring\"", "mode = \"epoll\"");
    let needs_ring = toml.contains(ring) && !toml.contains("fallback = ");
    let toml = if needs_ring && !has_io_uring() { toml.replace(ring, without) } else { toml.to_owned() };
    if !is_locked_in() || toml.contains("\nsandbox = ") {
        return toml;
    }
    let key = "[daemon]\nsandbox = \"on\"\n";
    match toml.contains("[daemon]\n") {
        true => toml.replacen("[daemon]\n", key, 1),
        false => key.to_owned() + &toml,
    }
}

/// Where standard error goes.
pub(crate) fn log_path(dir: &Path) -> PathBuf {
    dir.join("stderr.log")
}
