//! echod(8). The options come from the definition of the command line; the tables, which end the long help, become sections.

use std::fmt::Write;

use clap::{Arg, CommandFactory};
use clap_mangen::Man;
use echod::command::cli::Cli;

/// What neither the options nor the tables of the help say.
const FILES: &str = "\
.TP
.I /etc/echod/echod.toml
The configuration of the service, see
.BR echod.toml (5).
.B echod
itself reads no file but the one that
.B \\-\\-config
names.
.TP
.I /run/echod
The runtime directory of the service; %t in the path of a unix socket.
.TP
.I /usr/share/doc/echod
Where a package is installed: pages for operators, one for each task (docs/operate), and example configurations.
";

const CONFORMING: &str = "\
RFC 862 (Echo Protocol), RFC 863 (Discard), RFC 864 (Character Generator), RFC 865 (Quote of the Day), RFC 867 (Daytime)
and RFC 868 (Time), over TCP and UDP.
In one point it is stricter: the answer to a datagram is never longer than its request, unless
.B allow\\-amplification
is set, because a sender's address can be forged.
Exit codes are those of
.BR sysexits (3).
";

const SEE: &str = "\
.BR echod.toml (5),
.BR systemd.service (5),
.BR systemd.socket (5),
.BR sd_notify (3),
.BR socket (7),
.BR epoll (7),
.BR io_uring (7)
";

/// How roff is told of apostrophes; every rendered part begins with it.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The whole page.
pub(super) fn page() -> String {
    // Headings are for the help; here all options are one section.
    let command = Cli::command()
        .subcommand_value_name("COMMAND")
        .mut_args(|option| values_in_words(option).help_heading(None::<&str>));
    let man = man(command.clone());
    let help = command.get_after_long_help().unwrap().to_string();
    let mut page = APOSTROPHE.to_owned();
    page += &rendered(|page| man.render_title(page));
    page += &rendered(|page| man.render_name_section(page));
    page += &rendered(|page| man.render_synopsis_section(page));
    page += &rendered(|page| man.render_description_section(page));
    page += &rendered(|page| man.render_options_section(page));
    page.push_str(".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page.push_str(&of_command(sub));
    }
    for (title, table) in [
        ("MODES", "Modes"),
        ("SIGNALS", "Signals"),
        ("\"EXIT STATUS\"", "Exit codes"),
        ("ENVIRONMENT", "Environment"),
    ] {
        let _ = write!(page, ".SH {title}\n{}", entries(&help, table));
    }
    let _ = write!(page, ".SH FILES\n{FILES}.SH EXAMPLES\n{}", entries(&help, "Examples"));
    let _ = write!(page, ".SH \"CONFORMING TO\"\n{CONFORMING}.SH \"SEE ALSO\"\n{SEE}");
    page
}

fn man(command: clap::Command) -> Man {
    // The release that the page belongs to says more than a day; without any, readers of manuals complain.
    let source = concat!("echod ", env!("CARGO_PKG_VERSION"));
    Man::new(command)
        .title("echod")
        .section("8")
        .date("2026-11-24")
        .source(source)
        .manual("System Manager\\(aqs Manual")
}

/// The values that an option may have, in its text instead of in a list below it.
fn values_in_words(option: Arg) -> Arg {
    let values: Vec<_> =
        option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if values.is_empty() || !option.get_action().takes_values() {
        return option;
    }
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    option.hide_possible_values(true).help(format!("{help}. One of {}", values.join(", ")))
}

/// What a command does, and its own options below it.
fn of_command(command: &clap::Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about()).unwrap().to_string();
    let options = rendered(|page| man(command.clone()).render_options_section(page));
    let own = options.strip_prefix(".SH OPTIONS\n").unwrap();
    format!(
        ".TP\n\\fBechod {}\\fR\n{}\n.RS\n{own}.RE\n",
        escape(command.get_name()),
        escape(&about).replace("\n\n", "\n.IP\n")
    )
}

/// A table of the help as the entries of a section: lines of two columns, of which the second may go on below.
fn entries(help: &str, title: &str) -> String {
    let mut tables = help.split("\n\n");
    let table =
        tables.find(|table| table.starts_with(title)).unwrap_or_else(|| panic!("no {title} in the help"));
    let mut page = String::new();
    for line in table.lines().skip(1) {
        let Some(line) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) else {
            let _ = writeln!(page, "{}", escape(line.trim_start()));
            continue;
        };
        let (term, text) = line.split_once("  ").unwrap_or((line, ""));
        let _ = writeln!(page, ".TP\n\\fB{}\\fR", escape(term));
        if !text.trim().is_empty() {
            let _ = writeln!(page, "{}", escape(text.trim_start()));
        }
    }
    page
}

/// Text as roff wants it; none of ours begins a line with a dot.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}

fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut page = Vec::new();
    render(&mut page).unwrap();
    String::from_utf8(page).unwrap().replacen(APOSTROPHE, "", 1)
}
