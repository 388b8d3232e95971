//! echod(8), and echod-NAME(1) for each command of the client. The options come from the definition of the command line; the tables,
//! which end the help, become sections. What neither says of a command of the client is in its template.

use std::fmt::Write;

use clap::Arg;
use clap_mangen::Man;

use super::{commands, definition, read, root};

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
    let command = definition()
        .subcommand_value_name("COMMAND")
        .mut_args(|option| values_in_words(option).help_heading(None::<&str>));
    let man = man(command.clone(), "echod", "8");
    let help = command.get_after_long_help().unwrap().to_string();
    let mut page = APOSTROPHE.to_owned();
    page += &rendered(|page| man.render_title(page));
    page += &rendered(|page| man.render_name_section(page));
    page += &rendered(|page| man.render_synopsis_section(page));
    page += &rendered(|page| man.render_description_section(page));
    page += &rendered(|page| man.render_options_section(page));
    page.push_str(".SH COMMANDS\n");
    for sub in commands(&command).filter(|sub| !sub.is_hide_set()) {
        page.push_str(&match has_page(sub) {
            true => short(sub),
            false => of_command(sub),
        });
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
    let _ = write!(page, ".SH \"CONFORMING TO\"\n{CONFORMING}.SH \"SEE ALSO\"\n");
    for sub in commands(&command).filter(|sub| has_page(sub)) {
        let _ = writeln!(page, ".BR echod\\-{} (1),", sub.get_name());
    }
    page + SEE
}

/// The pages of the commands that have one: their files, and their text.
pub(super) fn of_client() -> Vec<(String, String)> {
    let command = definition();
    let commands = commands(&command).filter(|sub| has_page(sub));
    commands.map(|sub| (format!("man/echod-{}.1", sub.get_name()), client_page(sub))).collect()
}

/// Whether a command has a page of its own: it has a template.
pub(super) fn has_page(command: &clap::Command) -> bool {
    root().join(template(command)).exists()
}

fn template(command: &clap::Command) -> String {
    format!("tests/suite/docs/pages/templates/echod-{}.1.in", command.get_name())
}

/// The page of a command of the client, whose template has the sections between its options and its examples.
fn client_page(command: &clap::Command) -> String {
    let name = format!("echod-{}", command.get_name());
    let help = command.get_after_help().unwrap().to_string();
    let of_man = command
        .clone()
        .display_name(&name)
        .bin_name(format!("echod {}", command.get_name()))
        .after_help(None)
        .mut_args(|option| values_in_words(option).help_heading(None::<&str>));
    let man = man(of_man, &name, "1");
    let mut page = APOSTROPHE.to_owned();
    page += &rendered(|page| man.render_title(page));
    page += &rendered(|page| man.render_name_section(page));
    page += &rendered(|page| man.render_synopsis_section(page));
    page += &rendered(|page| man.render_description_section(page));
    page += &rendered(|page| man.render_options_section(page));
    page += &read(&template(command));
    let _ = write!(page, ".SH EXAMPLES\n{}", entries(&help, "Examples"));
    let _ = write!(page, ".SH \"EXIT STATUS\"\n{}", entries(&help, "Exit codes"));
    page.push_str(".SH \"SEE ALSO\"\n");
    for other in commands(&definition()).filter(|other| has_page(other)) {
        if other.get_name() != command.get_name() {
            let _ = writeln!(page, ".BR echod\\-{} (1),", other.get_name());
        }
    }
    page + ".BR echod (8),\n.BR sysexits (3)\n"
}

/// What a command does that has a page.
fn short(command: &clap::Command) -> String {
    let name = command.get_name();
    let about = escape(&command.get_about().unwrap().to_string());
    format!(".TP\n\\fBechod {name}\\fR\n{about}: see\n.BR echod\\-{name} (1).\n")
}

fn man(command: clap::Command, title: &str, section: &str) -> Man {
    // The release that the page belongs to says more than a day; without any, readers of manuals complain.
    let source = concat!("echod ", env!("CARGO_PKG_VERSION"));
    Man::new(command)
        .title(title)
        .section(section)
        .date("2026-11-24")
        .source(source)
        .manual(if section == "8" { "System Manager\\(aqs Manual" } else { "General Commands Manual" })
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
    let options = rendered(|page| {
        man(command.clone().mut_args(values_in_words), "echod", "8").render_options_section(page)
    });
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
