//! The pages that go with the binary: echod(8), those of its commands, echod.toml(5), the commented configuration and its schema, the completions of shells and
//! docs/reference. What follows from the code is generated, and a test fails when the files in the repository are no longer what
//! would be.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::CommandFactory;
use clap_complete::Shell;
use echod::command::cli::Cli;

use crate::harness::skipped;

mod configuration;
pub(crate) mod keys;
mod manual;
mod reference;
#[cfg(feature = "client")]
mod report;
mod schema;

/// With this variable the generated files are written anew instead of compared.
const RENEW: &str = "ECHOD_RENEW_PAGES";

#[test]
fn generated_files_are_what_the_source_makes_them() {
    let mut stale = Vec::new();
    let mut files = vec![
        ("docs/reference/counters-and-reasons.md", reference::counters_and_reasons()),
        ("docs/reference/log-events.md", reference::log_events()),
        ("man/echod.toml.5", configuration::manual()),
        ("config/echod.toml", configuration::commented()),
        ("config/echod.schema.json", configuration::json_schema()),
        ("docs/reference/configuration.md", configuration::markdown()),
    ];
    #[cfg(feature = "client")]
    files.extend([
        ("config/report.schema.json", report::schema()),
        ("docs/reference/report.md", report::markdown()),
    ]);
    let shells = [
        (Shell::Bash, "completions/echod.bash"),
        (Shell::Zsh, "completions/_echod"),
        (Shell::Fish, "completions/echod.fish"),
    ];
    #[cfg(feature = "observe")]
    files.push(("docs/reference/metrics.md", reference::metrics()));
    // The plain daemon has fewer commands than they tell of.
    if cfg!(all(feature = "client", feature = "observe")) {
        files.extend([
            ("man/echod.8", manual::page()),
            ("docs/reference/command-line.md", reference::command_line()),
            ("docs/reference/exit-codes.md", reference::exit_codes()),
        ]);
        files.extend(shells.map(|(shell, name)| (name, completions(shell))));
    }
    let mut files: Vec<_> = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    files.extend(manual::of_client());
    for (name, text) in files {
        let path = root().join(&name);
        if std::env::var_os(RENEW).is_some() {
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} are stale; renew them by `{RENEW}=1 cargo test --test suite pages::generated`"
    );
}

/// The command line with the options of its commands, which are defined when a command is asked for.
fn definition() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// The commands, without the help that every command line has.
fn commands(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

/// Every option that the definition has, those of commands too.
#[test]
fn every_option_is_in_the_help_and_the_manual() {
    let mut command = definition();
    let mut texts = vec![(command.clone(), command.render_long_help().to_string())];
    texts.extend(command.get_subcommands_mut().map(|sub| (sub.clone(), sub.render_long_help().to_string())));
    let mut options = 0;
    for (command, help) in texts {
        let page = match manual::has_page(&command) {
            true => format!("man/echod-{}.1", command.get_name()),
            false => "man/echod.8".to_owned(),
        };
        let manual = unescape(&read(&page));
        let longs = command.get_arguments().filter(|option| !option.is_hide_set());
        for long in longs.filter_map(|option| option.get_long().map(ToOwned::to_owned)) {
            let names = |text: &str| {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
                text.split(|c| !word(c)).any(|found| found.strip_prefix("--") == Some(&*long))
            };
            assert!(names(&help), "--{long} is not in the help of {}", command.get_name());
            assert!(names(&manual), "--{long} is not in {page}");
            options += 1;
        }
    }
    assert!(options > 10, "these cannot be all the options: {options}");
}

#[test]
fn the_manual_has_every_section() {
    let manual = read("man/echod.8");
    let sections: Vec<_> = manual.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "COMMANDS",
        "MODES",
        "SIGNALS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "\"CONFORMING TO\"",
        "\"SEE ALSO\"",
    ];
    assert_eq!(sections, expected);
}

#[test]
fn the_manuals_of_commands_have_every_section() {
    for (file, page) in manual::of_client() {
        let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(sections[..4], ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"], "{file}");
        assert!(sections.ends_with(&["EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""]), "{file}: {sections:?}");
    }
}

/// Every manual that there is.
fn manuals() -> Vec<String> {
    let files = fs::read_dir(root().join("man")).unwrap();
    let files: Vec<_> = files.map(|file| format!("man/{}", file.unwrap().file_name().display())).collect();
    assert!(files.len() > 2, "these cannot be all the manuals: {files:?}");
    files
}

#[test]
fn the_manuals_are_of_this_version() {
    for page in manuals() {
        let version = concat!("\"echod ", env!("CARGO_PKG_VERSION"), "\"");
        let page = read(&page);
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.contains(version), "{title}");
    }
}

#[test]
fn man_reads_the_pages_without_a_warning() {
    for page in manuals() {
        let page = root().join(page);
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&page);
        quiet(man.envs([("LC_ALL", "C.UTF-8"), ("MANROFFSEQ", ""), ("MANWIDTH", "80")]), &page);
        let mut mandoc = Command::new("mandoc");
        quiet(mandoc.args(["-T", "lint", "-W", "warning"]).arg(&page), &page);
    }
}

/// bash offers the starts of URLs where there is one, and adds no space behind it.
#[test]
fn bash_completes_urls() {
    let script = r#"
        compopt() { told="$*"; }
        source "$0"
        ask() { told=; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _echod_urls echod "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]} $told"; }
        ask echod --listen t
        ask echod --probe unix
        ask echod --log-level w
    "#;
    let file = root().join("completions/echod.bash");
    let output = Command::new("bash").args(["-c", script]).arg(&file).stdin(Stdio::null()).output();
    let Ok(output) = output else { return skipped("bash is not installed, its completions are not asked") };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines, ["tcp:// -o nospace", "unix: unix-seqpacket: unix-datagram: -o nospace", "warn "]);
    if cfg!(feature = "client") {
        let script = script.replace("ask echod --listen t", "ask echod selftest u");
        let output =
            Command::new("bash").args(["-c", &script]).arg(&file).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            told.lines().next(),
            Some("udp:// unix: unix-seqpacket: unix-datagram: -o nospace"),
            "{told}"
        );
    }
}

#[test]
fn shells_accept_the_completions() {
    for (shell, name) in [
        ("bash", "completions/echod.bash"),
        ("zsh", "completions/_echod"),
        ("fish", "completions/echod.fish"),
    ] {
        let path = root().join(name);
        quiet(Command::new(shell).arg("-n").arg(&path), &path);
    }
}

/// Runs `checker`, which is to have no complaint about `file`. Where it is not installed that is said.
#[track_caller]
fn quiet(checker: &mut Command, file: &Path) {
    let program = checker.get_program().to_owned();
    match checker.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (program, file) = (program.display(), file.display());
            skipped(format_args!("{program} is not installed; {file} is not checked by it"));
        }
        Err(error) => panic!("cannot run {}: {error}", program.display()),
        Ok(output) => {
            let told = [output.stderr, if program == "mandoc" { output.stdout } else { Vec::new() }].concat();
            assert_eq!(String::from_utf8_lossy(&told), "", "{} about {}", program.display(), file.display());
            assert!(output.status.success(), "{}: {}", program.display(), output.status);
        }
    }
}

/// What a URL may begin with, for shells to offer.
const URLS: [&str; 5] = ["tcp://", "udp://", "unix:", "unix-seqpacket:", "unix-datagram:"];

fn is_url(option: &clap::Arg) -> bool {
    option.get_value_names().is_some_and(|names| names[..] == ["URL"])
}

/// Where there is a URL, completion offers how it may begin; what follows is free, so that the definition knows nothing of this.
fn offering_urls(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|option| match is_url(&option) {
        true => option.value_parser(clap::builder::PossibleValuesParser::new(URLS)),
        false => option,
    });
    command.mut_subcommands(offering_urls)
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut offering_urls(definition()), "echod", &mut text);
    let text = String::from_utf8(text).unwrap();
    match shell {
        Shell::Bash => text.replace("complete -F _echod ", "complete -F _echod_urls ") + BASH_URLS,
        Shell::Fish => text + &fish_urls(),
        _ => text,
    }
}

/// What stands without an option, of which the generator for fish knows nothing.
fn fish_urls() -> String {
    let command = definition();
    let has_url = |sub: &&clap::Command| sub.get_positionals().any(is_url);
    let line = |sub: &clap::Command| {
        let name = sub.get_name();
        format!(
            "complete -c echod -n \"__fish_echod_using_subcommand {name}\" -f -a \"{}\"\n",
            URLS.join(" ")
        )
    };
    command.get_subcommands().filter(has_url).map(line).collect()
}

/// The start of a URL is not the whole word.
const BASH_URLS: &str = r#"
_echod_urls() {
    _echod "$@"
    [[ "${COMPREPLY[*]}" != *: && "${COMPREPLY[*]}" != *:// ]] || compopt -o nospace
}
"#;

/// The text that a line of roff stands for, as far as our pages need it.
fn unescape(roff: &str) -> String {
    let plain =
        ["\\fB", "\\fI", "\\fR", "\\&"].iter().fold(roff.to_owned(), |text, mark| text.replace(mark, ""));
    plain.replace("\\-", "-").replace("\\*(Aq", "'").replace("\\(aq", "'").replace("\\e", "\\")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
