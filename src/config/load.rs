//! From what was asked for to a valid [`Config`], or to all that is wrong with it.

use std::{
    env, fmt, fs,
    io::{self, IsTerminal},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use annotate_snippets::{Level, Renderer};

use super::{
    Config, Note,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    document::Document,
    encoding,
    included::{self, Included},
    includes::Includes,
    keys::Sites,
    origins::Origins,
    scheme, text_file,
    validate::{Validated, WrittenConfig, WrittenTable, validate},
};
use crate::config::keys::{
    daemon::WrittenDaemon, faults::WrittenFaultPlan, listener::WrittenListener, log::WrittenLog,
    observe::WrittenObserve,
};

/// Where the settings come from. With neither a file nor a URL it is the embedded default file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// A configuration file.
    pub file: Option<PathBuf>,
    /// Listeners written as URLs, beside those of the file.
    pub listen: Vec<String>,
}

/// What settings may depend on outside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The directory that `%t` stands for.
    pub runtime_directory: Option<PathBuf>,
    /// Whether a sandbox lets the process read in a few directories only.
    pub sandboxed: bool,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What is to be served.
    pub config: Config,
    /// Where the values of each listener are written.
    pub origins: Vec<Origins>,
    /// What to look at, such as what was left out because it is optional.
    pub notes: Vec<Note>,
    /// The files that were read, and those that a reload is to look for.
    pub files: Vec<PathBuf>,
}

/// Why there is no configuration, with all that is wrong, ready to be printed as it is: it begins with `error: `.
/// [`fmt::Display`] uses colour if standard error is a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ErrorKind,
    plain: String,
    coloured: Option<String>,
}

/// The kinds of [`ConfigError`] that deserve an exit code of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What is written in a file is wrong.
    Invalid,
    /// What an option says is wrong.
    Usage,
    /// The file may not be read.
    PermissionDenied,
    /// The file cannot be read for another reason; mostly there is none.
    Unreadable,
}

/// Reads and checks everything that `inputs` name.
pub fn load(inputs: &Inputs, environment: &Environment) -> Result<Loaded, ConfigError> {
    let main = match &inputs.file {
        Some(path) => Some(open(path, environment)?),
        None if inputs.listen.is_empty() => Some(Source::file("echod.toml (built in)", DEFAULT)),
        None => None,
    };
    let urls = inputs.listen.iter().map(|url| Source::url("--listen", url)).collect();
    check(main, urls, inputs.file.as_deref(), environment)
}

/// Reads and checks a URL alone, that of another option than `--listen`.
pub fn load_url(option: &str, url: &str, environment: &Environment) -> Result<Loaded, ConfigError> {
    check(None, vec![Source::url(option, url)], None, environment)
}

/// The sources are the file first, so that its `[daemon]`, `[log]` and `[defaults]` are those of the first source; then the files that
/// it includes, and the URLs.
fn check(
    main: Option<Source>,
    urls: Vec<Source>,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let mut diagnostics = Diagnostics::default();
    let included = main.as_ref().zip(file).map(|(main, file)| included::read(main, file, environment));
    let Included { sources, paths, wanted, faults } = included.unwrap_or_default();
    faults.into_iter().for_each(|(place, wrong)| diagnostics.push(place, wrong));
    let sources: Vec<_> = main.into_iter().chain(sources).chain(urls).collect();
    // A path counts from the file that it is written in; in a URL, from the configuration.
    let own = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let of_included = |number: usize| paths.get(number.checked_sub(1)?).and_then(|path| path.parent());
    let directory = |number| of_included(number).unwrap_or(own);
    let mut includes = Includes::new(environment, sources.len());
    let validated = read(&sources, directory, &mut includes, environment, &mut diagnostics);
    let named = includes.paths().map(Path::to_path_buf);
    let files: Vec<_> =
        file.map(Path::to_path_buf).into_iter().chain(paths.iter().cloned()).chain(named).collect();
    let sources: Arc<[Source]> = sources.into_iter().chain(includes.sources).collect();
    let Some(Validated { config, origins, mut notes }) = validated.filter(|_| diagnostics.is_empty()) else {
        return Err(ConfigError::new(&diagnostics, &sources));
    };
    notes.extend(files.iter().filter_map(|path| anybody_s(path)));
    let files = files.into_iter().chain(wanted).collect();
    let origins = origins.into_iter().map(|places| Origins::new(places, Arc::clone(&sources))).collect();
    Ok(Loaded { config, origins, notes, files })
}

/// Reads every value, then checks what depends on several. Beside an error of the syntax only values are read: what the parser has
/// guessed or swallowed must not be called missing, or wrong together with others.
fn read<'d>(
    sources: &[Source],
    directory: impl Fn(usize) -> &'d Path,
    includes: &mut Includes<'_>,
    environment: &Environment,
    to: &mut Diagnostics,
) -> Option<Validated> {
    let documents: Vec<_> =
        sources.iter().enumerate().map(|(number, source)| Document::parse(source, number, to)).collect();
    let is_whole = documents.iter().all(Document::is_whole);
    let mut written = WrittenConfig::default();
    for (number, document) in documents.iter().enumerate() {
        let tables = document.tables(to);
        // An included file and a URL have none of these tables.
        if number == 0 {
            written.daemon = WrittenDaemon::read(tables.daemon, to);
            written.log = WrittenLog::read(tables.log, to);
            written.observe = WrittenObserve::read(tables.observe, to);
            written.defaults = WrittenListener::read(tables.defaults, to);
            includes.add(&mut written.defaults, directory(0), to);
        }
        for (at, table) in tables.faults {
            written.faults.push((at, WrittenFaultPlan::read(table, to)));
        }
        for (at, table) in tables.listeners {
            let count = table.len();
            let mut keys = WrittenListener::read(table, to);
            let has_all = keys.sites().len() == count;
            includes.add(&mut keys, directory(number), to);
            if is_whole {
                written.add(&WrittenTable { at, keys, is_whole: has_all }, environment, to);
            }
        }
    }
    is_whole.then(|| validate(written, sources, environment, to))
}

/// The file `config/echod.toml`, which is also its own manual.
const DEFAULT: &str = include_str!("../../config/echod.toml");

/// A warning, if every user may write to the file.
fn anybody_s(path: &Path) -> Option<Note> {
    let file = fs::metadata(path).ok()?;
    (file.is_file() && file.mode() & 0o002 != 0).then(|| {
        let path = path.display();
        Note::new(format!(
            "{path} can be written by everybody, who could so change what is served; try `chmod o-w {path}`"
        ))
    })
}

fn open(path: &Path, environment: &Environment) -> Result<Source, ConfigError> {
    let bytes = text_file::read(path).map_err(|error| ConfigError::unreadable(path, environment, &error))?;
    let name = path.display().to_string();
    match encoding::decode(bytes) {
        Ok(text) => Ok(Source::file(name, text)),
        Err(wrong) => {
            let mut diagnostics = Diagnostics::default();
            let place = Place::new(0, wrong.at..wrong.at + char::REPLACEMENT_CHARACTER.len_utf8());
            diagnostics.push(place, Diagnostic::new(wrong.what, "save the file as UTF-8"));
            Err(ConfigError::new(&diagnostics, &[Source::file(name, wrong.text)]))
        }
    }
}

impl Environment {
    /// The environment of this process: `$RUNTIME_DIRECTORY` as systemd.exec(5) sets it, `$XDG_RUNTIME_DIR` of a login
    /// session, or /run for root. A name that is not UTF-8 could not be printed back, and counts as none.
    pub fn from_process() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let of_service =
            variable("RUNTIME_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
        let of_session = || variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let of_root = || nix::unistd::geteuid().is_root().then(|| PathBuf::from("/run"));
        Self { runtime_directory: of_service.or_else(of_session).or_else(of_root), sandboxed: false }
    }

    /// What to do where the permission to read a file is missing.
    pub(super) fn help(&self) -> &'static str {
        match self.sandboxed {
            true => {
                "make it readable for the user of the daemon; if it is in another directory than before, restart echod, whose \
                 sandbox reads only where it read when it started"
            }
            false => "make it readable for the user of the daemon",
        }
    }
}

impl ConfigError {
    /// Whether the file is wrong, or could not be read.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The whole text without colour.
    pub fn plain(&self) -> &str {
        &self.plain
    }

    fn new(diagnostics: &Diagnostics, sources: &[Source]) -> Self {
        let kind = match diagnostics.are_of(|source| sources[source].is_url) {
            true => ErrorKind::Usage,
            false => ErrorKind::Invalid,
        };
        let coloured = wants_colour().then(|| diagnostics.render(sources, true));
        Self { kind, plain: diagnostics.render(sources, false), coloured }
    }

    fn unreadable(path: &Path, environment: &Environment, error: &io::Error) -> Self {
        let (kind, what) = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::PermissionDenied, format!("permission denied; {}", environment.help()))
            }
            io::ErrorKind::NotFound if !text_file::leads_nowhere(path) => (
                ErrorKind::Unreadable,
                match path.to_str().and_then(scheme::listener_url) {
                    Some(url) => format!("there is no such file; did you mean `--listen {url}`?"),
                    None => "there is no such file; without `--config` the default is used".into(),
                },
            ),
            _ => {
                let (what, help) = text_file::told(error);
                (ErrorKind::Unreadable, format!("{what}; {help}"))
            }
        };
        Self::without_place(kind, path, &what)
    }

    fn without_place(kind: ErrorKind, path: &Path, what: &str) -> Self {
        let title = format!("cannot read configuration {}: {what}", path.display());
        let render = |renderer: Renderer| {
            let group = annotate_snippets::Group::with_title(Level::ERROR.primary_title(title.clone()));
            renderer.render(&[group])
        };
        let coloured = wants_colour().then(|| render(Renderer::styled()));
        Self { kind, plain: render(Renderer::plain()), coloured }
    }
}

/// Whether errors are shown in colour.
fn wants_colour() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.coloured.as_deref().unwrap_or(&self.plain))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n{}", self.kind, self.plain)
    }
}

impl std::error::Error for ConfigError {}
