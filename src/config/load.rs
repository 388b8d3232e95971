//! From what was asked for to a valid [`Config`], or to all that is wrong with it.

use std::{
    env, fmt, fs,
    io::{self, IsTerminal},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use annotate_snippets::{Level, Renderer};

use super::{
    Config,
    diagnostic::{Faults, Place, Source, Trouble},
    encoding,
    includes::Includes,
    origins::Origins,
    parse, scheme, text_file, url, validate,
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
    /// What was left out because it is optional, a line for the log each.
    pub notes: Vec<String>,
    /// The files that were read.
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
    let mut faults = Faults::default();
    let sources = sources(inputs, environment, &mut faults)?;
    check(sources, inputs.file.as_deref(), environment, faults)
}

/// Reads and checks a URL alone, that of another option than `--listen`.
pub fn load_url(option: &str, url: &str, environment: &Environment) -> Result<Loaded, ConfigError> {
    let mut faults = Faults::default();
    let mut source = url::source(url, 0, &mut faults);
    option.clone_into(&mut source.name);
    check(vec![source], None, environment, faults)
}

fn check(
    mut sources: Vec<Source>,
    file: Option<&Path>,
    environment: &Environment,
    mut faults: Faults,
) -> Result<Loaded, ConfigError> {
    let files: Vec<_> = sources
        .iter()
        .enumerate()
        .map(|(number, source)| parse::parse(source.as_toml(), number, &mut faults))
        .collect();
    let directory = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let includes = Includes::open(&files, directory, environment, &mut sources, &mut faults);
    let mut loaded = validate::validate(&sources, &files, &includes, environment, &mut faults);
    let included = includes.paths().map(|path| directory.join(path));
    loaded.files = file.map(Path::to_path_buf).into_iter().chain(included).collect();
    loaded.notes.extend(loaded.files.iter().filter_map(|path| anybody_s(path)));
    match faults.is_empty() {
        true => Ok(loaded),
        false => Err(ConfigError::new(&faults, &sources)),
    }
}

/// The file `config/echod.toml`, which is also its own manual.
const DEFAULT: &str = include_str!("../../config/echod.toml");

/// The file first, so that its `[daemon]`, `[log]` and `[defaults]` are those of the first source.
fn sources(
    inputs: &Inputs,
    environment: &Environment,
    faults: &mut Faults,
) -> Result<Vec<Source>, ConfigError> {
    let file = match &inputs.file {
        Some(path) => Some(read(path, environment)?),
        None if inputs.listen.is_empty() => Some(Source::toml("echod.toml (built in)", DEFAULT)),
        None => None,
    };
    let first_url = usize::from(file.is_some());
    let urls = inputs.listen.iter().zip(first_url..).map(|(text, number)| url::source(text, number, faults));
    Ok(file.into_iter().chain(urls).collect())
}

/// A warning, if everybody may write to the file.
fn anybody_s(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    (file.is_file() && file.mode() & 0o002 != 0).then(|| {
        let path = path.display();
        format!(
            "{path} can be written by everybody, who could so change what is served; try `chmod o-w {path}`"
        )
    })
}

fn read(path: &Path, environment: &Environment) -> Result<Source, ConfigError> {
    let bytes = text_file::read(path).map_err(|error| ConfigError::unreadable(path, environment, &error))?;
    let name = path.display().to_string();
    match encoding::decode(bytes) {
        Ok(text) => Ok(Source::toml(name, text)),
        Err(wrong) => {
            let mut faults = Faults::default();
            let place = Place::new(0, wrong.at..wrong.at + char::REPLACEMENT_CHARACTER.len_utf8());
            faults.push(place, Trouble::new(wrong.what, "save the file as UTF-8"));
            Err(ConfigError::new(&faults, &[Source::toml(name, wrong.text)]))
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
    pub(super) fn cure(&self) -> &'static str {
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

    fn new(faults: &Faults, sources: &[Source]) -> Self {
        let kind = match faults.are_of(|source| sources[source].made.is_some()) {
            true => ErrorKind::Usage,
            false => ErrorKind::Invalid,
        };
        let coloured = wants_colour().then(|| faults.render(sources, true));
        Self { kind, plain: faults.render(sources, false), coloured }
    }

    fn unreadable(path: &Path, environment: &Environment, error: &io::Error) -> Self {
        let (kind, what) = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                (ErrorKind::PermissionDenied, format!("permission denied; {}", environment.cure()))
            }
            io::ErrorKind::NotFound => (
                ErrorKind::Unreadable,
                match path.to_str().and_then(scheme::listener_url) {
                    Some(url) => format!("there is no such file; did you mean `--listen {url}`?"),
                    None => "there is no such file; without `--config` the default is used".into(),
                },
            ),
            io::ErrorKind::IsADirectory => {
                (ErrorKind::Unreadable, "it is a directory; name a file in it".into())
            }
            _ => (ErrorKind::Unreadable, error.to_string()),
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
