//! A page as a session: its commands are run by one shell, in their order, and what they print is compared with what it shows.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::symlink, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

use crate::harness::{PATIENCE, poll, skipped};

/// The runtime directory of a user, as pages show it.
const RUNTIME_DIRECTORY: &str = "/run/user/1000";

/// Programs that are not run: they build, or need an engine for containers or a cluster.
const SHOWN_ONLY: [&str; 4] = ["cargo", "kubectl", "podman", "packaging/build.sh"];

/// What nginx loads to proxy connections; a package of its own in Debian (libnginx-mod-stream).
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(super) struct Page {
    blocks: Vec<Block>,
}

struct Block {
    language: String,
    /// The number of the headings above it.
    section: usize,
    /// The number of its first line.
    line: usize,
    lines: Vec<String>,
}

/// What a page shows, in its order.
enum Step<'a> {
    /// A command, what it prints, and the line where it stands. One with an `&` behind it serves until the end of the page.
    Command { line: usize, command: &'a str, expected: Vec<&'a str> },
    /// What the daemons of the page have written by then.
    Log { line: usize, expected: Vec<&'a str> },
}

impl Page {
    pub(super) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut blocks: Vec<Block> = Vec::new();
        let (mut is_code, mut section) = (false, 0);
        for (number, line) in text.lines().enumerate() {
            match line.strip_prefix("```") {
                Some(language) if !is_code => {
                    is_code = true;
                    let language = language.to_owned();
                    blocks.push(Block { language, section, line: number + 2, lines: Vec::new() });
                }
                Some(_) => is_code = false,
                None if is_code => blocks.last_mut().unwrap().lines.push(line.to_owned()),
                None => section += usize::from(line.starts_with("## ")),
            }
        }
        Self { blocks }
    }

    /// The configurations, and the lines where they begin.
    pub(super) fn configurations(&self) -> impl Iterator<Item = (usize, String)> {
        let blocks = self.blocks.iter().filter(|block| block.language == "toml");
        blocks.map(|block| (block.line, block.lines.join("\n")))
    }

    /// Runs the commands, if there are any, and compares.
    pub(super) fn run(&self, file: &str) {
        let steps = self.steps();
        // The plain daemon does not start with an endpoint that it cannot serve.
        let observes = self.configurations().any(|(_, text)| text.contains("[observe]"));
        if steps.is_empty() || observes && cfg!(not(feature = "observe")) {
            return;
        }
        let Some(mut shell) = Shell::start() else {
            skipped("no network namespace can be made, the commands in the documents are not run");
            return;
        };
        for (_, configuration) in self.configurations() {
            let name = configuration.lines().next().unwrap_or_default().strip_prefix("# ");
            if let Some(name) = name.filter(|name| name.ends_with(".toml") && !name.contains('/')) {
                fs::write(shell.dir.path().join(name), &configuration).unwrap();
            }
        }
        // What is not installed leaves something out: a server the rest of its section, a client the log there.
        let (mut left_out, mut unasked) = (None, None);
        for (section, step) in steps.into_iter() {
            if left_out == Some(section) {
                continue;
            }
            match step {
                Step::Command { line, command, expected } => {
                    if is_of_client(command) && cfg!(not(feature = "client")) {
                        // The plain daemon has none.
                    } else if let Some(program) = programs(command).iter().find(|program| !is_there(program))
                    {
                        skipped(format_args!(
                            "{program} is not installed, its commands in the documents are not run"
                        ));
                        left_out = command.ends_with(" &").then_some(section);
                        unasked = Some(section);
                    } else if let Some(server) = command.strip_suffix(" &") {
                        match server.starts_with("echod ") {
                            true => shell.serve(server),
                            false => shell.start_server(server),
                        }
                        shell.wait_for(&expected, &format!("{file}:{line}"));
                    } else {
                        let printed = shell.run(command);
                        let lines: Vec<_> = printed.lines().collect();
                        assert!(is_like(&expected, &lines), "{file}:{line}: $ {command}\n{printed}");
                    }
                }
                Step::Log { .. } if unasked == Some(section) => {}
                Step::Log { line, expected } => shell.wait_for(&expected, &format!("{file}:{line}")),
            }
        }
    }

    /// The steps, each with the number of its section.
    fn steps(&self) -> Vec<(usize, Step<'_>)> {
        let mut steps = Vec::new();
        for Block { language, section, line, lines } in &self.blocks {
            match &**language {
                "console" => steps.extend(commands(*line, lines).into_iter().map(|step| (*section, step))),
                "log" => {
                    let expected = lines.iter().map(|line| &**line).collect();
                    steps.push((*section, Step::Log { line: *line, expected }));
                }
                _ => {}
            }
        }
        steps
    }
}

/// The commands of a transcript that are run, with what follows them.
fn commands(first: usize, lines: &[String]) -> Vec<Step<'_>> {
    let mut found: Vec<Step<'_>> = Vec::new();
    let mut is_shown_only = true;
    for (number, line) in lines.iter().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            is_shown_only = programs(command).iter().any(|program| SHOWN_ONLY.contains(&program.as_str()));
            if !is_shown_only {
                found.push(Step::Command { line: first + number, command, expected: Vec::new() });
            }
        } else if line.starts_with("# ") {
            is_shown_only = true;
        } else if let Some(Step::Command { expected, .. }) = found.last_mut().filter(|_| !is_shown_only) {
            expected.push(line);
        }
    }
    found
}

/// One shell for the commands of a page, in a directory and a network of its own: they use well-known ports.
struct Shell {
    dir: TempDir,
    child: Child,
    /// A line for each command that has ended.
    ended: mpsc::Receiver<String>,
}

impl Shell {
    /// The shell, unless it cannot have a network of its own.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["bin", "runtime"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_echod"), dir.path().join("bin/echod")).unwrap();
        symlink(super::root().join("tests/recipes"), dir.path().join("recipes")).unwrap();
        let search = format!("{}/bin:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
        let namespaces: &[&str] = match geteuid().is_root() {
            true => &["--net"],
            false => &["--user", "--map-root-user", "--net"],
        };
        let mut child = Command::new("unshare")
            .args(namespaces)
            .args(["bash", "-c", "ip link set lo up && echo ended && exec bash"])
            .current_dir(dir.path())
            .env("PATH", search)
            .env("XDG_RUNTIME_DIR", dir.path().join("runtime"))
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("ECHOD_LOG")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let shell = Self { dir, child, ended };
        shell.ended.recv_timeout(PATIENCE).is_ok().then_some(shell)
    }

    /// Runs a command to its end; what it has printed.
    #[track_caller]
    fn run(&mut self, command: &str) -> String {
        self.say(&format!("{{ {command}\n}} >printed 2>&1 </dev/null"));
        self.read("printed")
    }

    /// Starts a daemon, and waits until it has closed its standard output, which says that it serves.
    #[track_caller]
    fn serve(&mut self, daemon: &str) {
        let announce = if daemon.contains("--announce") { "" } else { "--announce" };
        self.say(&format!(
            "rm -f ready; mkfifo ready\n{daemon} {announce} >ready 2>>log </dev/null &\ncat ready >>log"
        ));
    }

    /// Starts another server. That it serves shows in what it writes.
    #[track_caller]
    fn start_server(&mut self, server: &str) {
        self.say(&format!("{server} >>log 2>&1 </dev/null &"));
    }

    /// Has the shell do something, and waits until that is done.
    #[track_caller]
    fn say(&mut self, script: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{script}\necho ended").unwrap();
        let ended = self.ended.recv_timeout(PATIENCE);
        assert_eq!(ended.as_deref(), Ok("ended"), "{script}\n{}", self.read("log"));
    }

    /// Waits until the daemons have written these lines.
    #[track_caller]
    fn wait_for(&self, expected: &[&str], place: &str) {
        for line in expected {
            let is_there = || self.read("log").lines().any(|logged| fits(line, logged)).then_some(());
            assert!(poll(is_there).is_some(), "{place}: not logged: {line}\n{}", self.read("log"));
        }
    }

    /// A file of the shell, with the runtime directory as pages show it.
    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.path().join(name)).unwrap_or_default();
        let runtime = self.dir.path().join("runtime").display().to_string();
        String::from_utf8_lossy(&bytes).replace(&runtime, RUNTIME_DIRECTORY)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The programs of a pipeline or a list of commands. What is in single quotes is an argument, whatever is in it.
fn programs(command: &str) -> Vec<String> {
    let unquoted = command.split('\'').step_by(2).collect::<Vec<_>>().join("_");
    let parts = unquoted.split("&&").flat_map(|part| part.split('|'));
    parts.filter_map(|part| part.split_whitespace().next().map(str::to_owned)).collect()
}

/// Whether a command needs the client.
fn is_of_client(command: &str) -> bool {
    ["ping", "bench", "selftest"].iter().any(|name| command.contains(&format!("echod {name} ")))
}

fn is_there(program: &str) -> bool {
    let found = Command::new("bash").args(["-c", "command -v \"$0\"", program]).stdin(Stdio::null()).output();
    if program == "nginx" && !Path::new(NGINX_STREAM).exists() {
        return false;
    }
    program == "echod" || found.is_ok_and(|output| output.status.success())
}

/// Whether `lines` are as `expected`, where `...` alone stands for any number of them.
fn is_like(expected: &[&str], lines: &[&str]) -> bool {
    match expected {
        [] => lines.is_empty(),
        ["...", rest @ ..] => (0..=lines.len()).any(|skipped| is_like(rest, &lines[skipped..])),
        [first, rest @ ..] => {
            lines.first().is_some_and(|line| fits(first, line)) && is_like(rest, &lines[1..])
        }
    }
}

/// Whether `line` is as `expected`, where `...` stands for any text.
fn fits(expected: &str, line: &str) -> bool {
    let (expected, line) = (without_chance(expected), without_chance(line));
    let mut pieces = expected.split("...");
    let Some(mut rest) = line.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut is_open = false;
    let mut last = "";
    for piece in pieces {
        is_open = true;
        last = piece;
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty() || is_open && (last.is_empty() || line.ends_with(last))
}

/// Rows of figures, and the lines of ping(8) that have some: what stands behind these words is measured.
const FIGURES: [&str; 9] = [
    "  sent ",
    "  answered ",
    "  response ",
    "  service ",
    "  connect ",
    "rtt min/avg/max/mdev = ",
    "rtt p50 ",
    "connect ",
    "late ",
];

/// The line without what differs from one run to the next: times, durations, figures, ports of clients, numbers of processes and users.
fn without_chance(line: &str) -> String {
    if let Some(row) = FIGURES.iter().find(|row| line.starts_with(**row)) {
        return format!("{row}FIGURES");
    }
    if line.contains(" packets transmitted, ") {
        return "FIGURES".to_owned();
    }
    let mut found = Vec::new();
    let mut before = "";
    for word in line.trim_end_matches(" (late)").split(' ') {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let end = word.trim_end_matches([',', ')']);
        let is_span = ["us", "ms", "s"].iter().any(|unit| {
            end.strip_suffix(unit).is_some_and(|number| number.contains('.') && number.parse::<f64>().is_ok())
        });
        let port = end.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let is_figure = word
            .split_once('=')
            .is_some_and(|(_, number)| number.contains('.') && number.parse::<f64>().is_ok());
        found.push(match port {
            _ if is_figure => "FIGURE".to_owned(),
            _ if digits == 17 && word.ends_with('Z') && word.contains('T') => "TIME".to_owned(),
            _ if is_span => "SPAN".to_owned(),
            _ if ["(pid", "uid"].contains(&before) => "NUMBER".to_owned(),
            Some(port) if port >= 32768 => word.replace(&port.to_string(), "PORT"),
            _ => word.to_owned(),
        });
        before = word;
    }
    found.join(" ")
}

#[test]
fn what_a_page_shows_may_differ_by_chance_alone() {
    assert!(fits("a ... c", "a b b c") && fits("a ...", "a ") && fits("...c", "c"));
    assert!(!fits("a ... c", "a b d") && !fits("a", "a b") && !fits("a ...b", "a b c"));
    let shown = "2026-11-23T07:27:59.310Z INFO  tcp://127.0.0.1:50724 closed after 285.334us, 6 bytes";
    assert!(fits(
        shown,
        "2027-01-02T03:04:05.678Z INFO  tcp://127.0.0.1:32800 closed after 1.002ms, 6 bytes"
    ));
    assert!(!fits(
        shown,
        "2027-01-02T03:04:05.678Z INFO  tcp://127.0.0.1:7777 closed after 1.002ms, 6 bytes"
    ));
    assert!(
        fits("seq=1 time=0.121 ms", "seq=1 time=12.5 ms")
            && !fits("seq=1 time=0.121 ms", "seq=2 time=0.121 ms")
    );
    assert!(fits("3 packets transmitted, 3 received", "3 packets transmitted, 2 received"));
    assert!(fits("rtt min/avg/max/mdev = 1/2/3/4 ms", "rtt min/avg/max/mdev = 0.1/0.2/0.3/0.4 ms"));
    let three = ["a", "...", "c"];
    assert!(
        is_like(&three, &["a", "b", "b", "c"])
            && is_like(&three, &["a", "c"])
            && !is_like(&three, &["a", "b"])
    );
}
