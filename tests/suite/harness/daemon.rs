//! A running daemon.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom},
    ops::Index,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
};

use echod::report::{fault_kind::FaultKind, log_event::LogEvent, refusal_reason::RefusalReason};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Client, Endpoint, Launch,
    launch::{fitted, log_path},
    poll, proc,
};

/// A daemon that is ready. Dropped, it is killed, and none of its family may be left.
pub(crate) struct Echod {
    child: Child,
    dir: TempDir,
    /// One object for each bound socket, as announced.
    pub(crate) announced: Vec<Value>,
}

impl Echod {
    /// Starts a daemon with this configuration and waits until it is ready.
    pub(crate) fn start(toml: &str) -> Self {
        Launch::new().config(toml).start()
    }

    /// The same with a log that has the events of the daemon as JSON.
    pub(crate) fn start_with_events(toml: &str) -> Self {
        Launch::new().config(toml).args(&["--log-format", "json"]).start()
    }

    /// Starts a daemon without a file.
    pub(crate) fn with_args(args: &[&str]) -> Self {
        Launch::new().args(args).start()
    }

    pub(super) fn new(child: Child, dir: TempDir, announced: &[String]) -> Self {
        let announced = announced.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { child, dir, announced }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Where the (first) socket of a listener can be reached.
    #[track_caller]
    pub(crate) fn endpoint(&self, name: &str) -> Endpoint {
        self.endpoints(name).swap_remove(0)
    }

    /// Where all sockets of a listener can be reached.
    #[track_caller]
    pub(crate) fn endpoints(&self, name: &str) -> Vec<Endpoint> {
        let found = self
            .announced
            .iter()
            .filter(|line| line["name"] == name)
            .map(|line| Endpoint::announced(line, self.dir.path()))
            .collect::<Vec<_>>();
        assert!(!found.is_empty(), "no listener {name} in {:?}", self.announced);
        found
    }

    /// The port of a listener.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.endpoint(name).inet().port()
    }

    /// A client of a listener.
    #[track_caller]
    pub(crate) fn client(&self, name: &str) -> Client {
        Client::connect(&self.endpoint(name))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Writes another configuration and lets the daemon read it; waits until it says what became of that.
    #[track_caller]
    pub(crate) fn reload(&self, toml: &str) {
        // In one step: it may be reading just now, for an earlier signal.
        fs::write(self.path("new.toml"), fitted(toml)).unwrap();
        fs::rename(self.path("new.toml"), self.path("echod.toml")).unwrap();
        self.read_again();
    }

    /// Lets the daemon read its configuration again; waits until it says what became of that.
    #[track_caller]
    pub(crate) fn read_again(&self) {
        let told = || self.log().lines().filter(|line| line.contains("reloaded: ")).count();
        let before = told();
        self.signal(Signal::SIGHUP);
        self.or_log(poll(|| (told() > before).then_some(())), "the end of a reload");
    }

    /// How the daemon ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the daemon's end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let status = poll(|| self.exited());
        self.or_log(status, "the daemon to end")
    }

    /// Sends SIGTERM and waits for an end with exit code 0 that leaves nothing running.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.expect_success();
    }

    /// Waits for an end with exit code 0 that leaves nothing running.
    #[track_caller]
    pub(crate) fn expect_success(&mut self) {
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        let left = proc::working_in(self.dir.path());
        assert!(left.is_empty(), "the daemon ended before {left:?} of its family\n{}", self.log());
    }

    /// All that was logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log_bytes()).into_owned()
    }

    /// That nothing went wrong: otherwise the first line that tells of it, before all that was logged.
    #[track_caller]
    pub(crate) fn expect_no_trouble(&self) {
        let log = self.log();
        let is_trouble = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
        if let Some(line) = log.lines().find(is_trouble) {
            panic!("{line}\nin:\n{log}");
        }
    }

    pub(crate) fn log_bytes(&self) -> Vec<u8> {
        self.log_from(0)
    }

    fn log_from(&self, place: u64) -> Vec<u8> {
        let mut file = fs::File::open(log_path(self.dir.path())).unwrap();
        file.seek(SeekFrom::Start(place)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Waits for a whole line in the log.
    #[track_caller]
    pub(crate) fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        let line = poll(|| {
            let log = self.log();
            log.split_inclusive('\n').find(|line| line.ends_with('\n') && wanted(line)).map(str::to_owned)
        });
        self.or_log(line, "a line in the log")
    }

    /// Waits for an event in a log of format `json`.
    #[track_caller]
    pub(crate) fn wait_event(&self, event: LogEvent, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = poll(|| self.events(event).into_iter().find(&wanted));
        self.or_log(found, event.word())
    }

    /// Waits for `count` events in a log of format `json`, and asserts that there are no more of them.
    #[track_caller]
    pub(crate) fn wait_events(&self, event: LogEvent, count: usize) -> Vec<Value> {
        let found = poll(|| Some(self.events(event)).filter(|events| events.len() >= count));
        let events = self.or_log(found, &format!("{count} of {}", event.word()));
        assert_eq!(events.len(), count, "{events:#?}");
        events
    }

    /// The events of a log of format `json` so far.
    pub(crate) fn events(&self, event: LogEvent) -> Vec<Value> {
        events_in(&self.log(), event)
    }

    /// Asserts that nothing was logged as an error in a log of format `json`.
    #[track_caller]
    pub(crate) fn expect_no_error_event(&self) {
        let log = self.log();
        assert!(!log.contains("\"level\":\"error\""), "{log}");
    }

    /// Waits for `count` whole lines in the log, and asserts that there are no more of them. A line may come a moment
    /// after what it tells of was counted.
    #[track_caller]
    pub(crate) fn wait_lines(&self, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = poll(|| {
            let log = self.log();
            let whole = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            let lines = whole.filter(|line| wanted(line)).map(str::to_owned).collect::<Vec<_>>();
            (lines.len() >= count).then_some(lines)
        });
        let lines = self.or_log(lines, &format!("{count} lines in the log"));
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    /// What SIGUSR1 makes the daemon say about a listener.
    #[track_caller]
    pub(crate) fn state(&self, name: &str) -> State {
        let start = format!("listener \"{name}\": open ");
        let of_text = |line: &str| {
            let numbers = line[line.find(&start)?..].strip_prefix(&start[..start.len() - "open ".len()])?;
            Some(State(numbers.trim().split(", ").filter_map(number).collect()))
        };
        let of_json = |line: &str| {
            let mine = |state: &Value| state["listener"] == name && state["state"] == "serving";
            let state = events_in(line, LogEvent::ListenerState).into_iter().find(mine)?;
            let fields = state.as_object()?.iter();
            Some(State(fields.filter_map(|(key, value)| Some((key.clone(), value.as_u64()?))).collect()))
        };
        // What is told from here on; the whole log of a long test would be read again for each of thousands of questions.
        let before = fs::metadata(log_path(self.dir.path())).unwrap().len();
        let told = || {
            let log = self.log_from(before);
            let log = String::from_utf8_lossy(&log);
            let mut whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole.find_map(|line| if line.starts_with('{') { of_json(line) } else { of_text(line) })
        };
        self.signal(Signal::SIGUSR1);
        self.or_log(poll(told), "a state line")
    }

    /// Waits until the state of a listener is as `wanted`.
    #[track_caller]
    pub(crate) fn wait_state(&self, name: &str, wanted: impl Fn(&State) -> bool) {
        let mut last = State(BTreeMap::new());
        let reached = poll(|| {
            last = self.state(name);
            wanted(&last).then_some(())
        });
        self.or_log(reached, &format!("another state than {last:?}"));
    }

    /// The direct children: a process for each forking listener.
    pub(crate) fn children(&self) -> Vec<i32> {
        proc::children(self.pid())
    }

    /// The processes below the direct children: those that serve clients.
    pub(crate) fn grandchildren(&self) -> Vec<i32> {
        self.children().into_iter().flat_map(proc::descendants).collect()
    }

    /// Everyone in the daemon's directory, the daemon included.
    pub(crate) fn group(&self) -> Vec<i32> {
        proc::working_in(self.dir.path())
    }

    /// Clock ticks (1/100 s) that the daemon and all its processes have used. It is less for a moment while one of them has ended
    /// and nobody has waited for it.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        self.group().into_iter().map(proc::cpu_ticks).sum()
    }

    #[track_caller]
    pub(crate) fn or_log<T>(&self, answer: Option<T>, what: &str) -> T {
        answer.unwrap_or_else(|| panic!("waited in vain for {what}; the log:\n{}", self.log()))
    }
}

impl Drop for Echod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let gone = poll(|| self.group().is_empty().then_some(()));
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        if gone.is_none() {
            let left = self.group();
            proc::kill_all(self.dir.path());
            if !std::thread::panicking() {
                panic!("{left:?} survived the daemon\n{}", self.log());
            }
        }
    }
}

/// The events in the whole lines of a log of format `json`.
pub(crate) fn events_in(log: &str, event: LogEvent) -> Vec<Value> {
    let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let values = whole.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.filter(|value| value["event"] == event.word()).collect()
}

/// The numbers of a state line. A reason for refusals or a fault on purpose that is not in it has none.
#[derive(Debug)]
pub(crate) struct State(BTreeMap<String, u64>);

impl Index<&str> for State {
    type Output = u64;

    #[track_caller]
    fn index(&self, key: &str) -> &u64 {
        let is_reason = RefusalReason::ALL.iter().any(|reason| reason.word() == key)
            || FaultKind::ALL.iter().any(|fault| fault.counter() == key);
        self.0.get(key).or(is_reason.then_some(&0)).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }
}

/// `received 36 bytes` as a pair; `None` for what is not a number.
fn number(entry: &str) -> Option<(String, u64)> {
    let (key, value) = entry.trim_end_matches(" bytes").rsplit_once(' ')?;
    Some((key.to_owned(), value.parse().ok()?))
}
