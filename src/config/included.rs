//! The files that `include` of a configuration names, each of which has more tables of those that there may be any number of. They are
//! sources of their own, so that an error points into the file that has it.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    Environment,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    document::Document,
    misfit::Found,
    networks, quoted,
};

/// What the `include` of a configuration leads to.
#[derive(Default)]
pub(super) struct Included {
    /// The files, in the order in which they are read.
    pub(super) sources: Vec<Source>,
    /// Their paths.
    pub(super) paths: Vec<PathBuf>,
    /// All that is written, whether there is such a file or not: a reload reads it again.
    pub(super) wanted: Vec<PathBuf>,
    /// What is wrong, and where the first source says it.
    pub(super) faults: Vec<(Place, Diagnostic)>,
}

/// Reads the files that `main`, the text of the file `path`, includes.
pub(super) fn read(main: &Source, path: &Path, environment: &Environment) -> Included {
    let mut included = Included::default();
    // Most files include nothing, and a large one takes a while to parse.
    let is_key = |line: &str| line.trim_start().trim_start_matches(['"', '\'']).starts_with("include");
    if !main.text.lines().any(is_key) {
        return included;
    }
    // Its errors are noted when it is read for good.
    let document = Document::parse(main, 0, &mut Diagnostics::default());
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut seen = BTreeSet::from([path.to_path_buf()]);
    for element in document.includes() {
        let Found::Text(text) = element.found() else { continue };
        let wanted = directory.join(text);
        match files(text, &wanted, path, environment) {
            Ok(files) => {
                for file in files {
                    if seen.insert(file.clone()) {
                        included.open(file, &element.at, environment);
                    }
                }
            }
            Err(wrong) => included.faults.push((element.at.clone(), wrong)),
        }
        included.wanted.push(wanted);
    }
    included
}

impl Included {
    fn open(&mut self, path: PathBuf, at: &Place, environment: &Environment) {
        match networks::open_as(&path, environment, "save it as UTF-8") {
            Ok(source) => {
                self.sources.push(source.included());
                self.paths.push(path);
            }
            Err(wrong) => self.faults.push((at.clone(), wrong)),
        }
    }
}

/// The files that `text`, the path `wanted`, means: one, or those that a pattern matches, in the order of their names. The configuration
/// itself is none, though a pattern may match it.
fn files(
    text: &str,
    wanted: &Path,
    main: &Path,
    environment: &Environment,
) -> Result<Vec<PathBuf>, Diagnostic> {
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let (directory, name) = (wanted.parent().unwrap_or(Path::new("")), wanted.file_name());
    if text.is_empty() {
        return Err(Diagnostic::new("a path cannot be empty", "name a file, or take it out"));
    }
    if text.rsplit_once('/').is_some_and(|(directory, _)| is_pattern(directory)) {
        let title = format!("{} has a pattern in the name of a directory", quoted(text));
        return Err(Diagnostic::new(
            title,
            "name each directory; `*` and `?` may stand in the name of a file",
        ));
    }
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino(), file.is_dir())).ok();
    let own = id(main);
    let Some(pattern) = name.map(|name| name.to_string_lossy()).filter(|name| is_pattern(name)) else {
        if own.is_some() && id(wanted) == own {
            return Err(Diagnostic::new(format!("{} is this file itself", quoted(text)), "take it out"));
        }
        return Ok(vec![wanted.to_path_buf()]);
    };
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let names = match names(here) {
        Ok(names) => names,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => {
            let help = if error.kind() == io::ErrorKind::PermissionDenied { environment.help() } else { "" };
            let title = format!("cannot list the directory {}: {error}", quoted(&here.to_string_lossy()));
            return Err(Diagnostic::new(title, help));
        }
    };
    let is_file = |path: &PathBuf| id(path).is_none_or(|file| !file.2 && Some(file) != own);
    let matching = names.into_iter().filter(|name| matches(pattern.as_bytes(), name.as_bytes()));
    Ok(matching.map(|name| directory.join(name)).filter(is_file).collect())
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // No pattern of a file in UTF-8 is like another name.
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether `name` is as `pattern` says: `*` is any text, and `?` any byte. A hidden name is not matched by a wildcard.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    name.starts_with(b".") <= pattern.starts_with(b".") && is_like(pattern, name)
}

fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of_name) = (0, 0);
    // Where the last `*` is, and how much of the name it has taken.
    let mut star = None;
    while of_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of_name));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[of_name] => (at, of_name) = (at + 1, of_name + 1),
            _ => match star {
                Some((last, taken)) => {
                    star = Some((last, taken + 1));
                    (at, of_name) = (last + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_a_shell_does() {
        for (pattern, yes, no) in [
            ("*.toml", &["a.toml", "10-b.toml"][..], &[".toml", ".a.toml", "a.toml~", "a.tom", "toml"][..]),
            ("*", &["a", "ab.c"], &[".a", ""]),
            (".*", &[".a"], &["a"]),
            ("?0-*.t*l", &["10-a.toml", "20-.tl"], &["0-a.toml", "10a.toml"]),
            ("a*b*c", &["abc", "aXbXbYc"], &["ab", "abcd", "acb"]),
            ("a", &["a"], &["b", "aa"]),
        ] {
            for (names, expected) in [(yes, true), (no, false)] {
                for name in names.iter().filter(|name| !name.is_empty() || pattern != "*") {
                    assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
                }
            }
        }
    }
}
