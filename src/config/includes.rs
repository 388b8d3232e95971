//! The files of networks that listeners name in `allow-include` and `deny-include`. Each is read once, as one more source
//! that errors can point at.

use std::{collections::BTreeMap, path::Path};

use super::{
    Environment,
    diagnostic::{Source, Trouble},
    file::{File, Listener, Texts},
    networks,
};

/// The files, by the paths as written.
#[derive(Default)]
pub(super) struct Includes(BTreeMap<String, Result<usize, Trouble>>);

impl Includes {
    /// Reads all that `files` name, and adds them to `sources`. A path counts from `directory`.
    pub(super) fn open(
        files: &[File],
        directory: &Path,
        environment: &Environment,
        sources: &mut Vec<Source>,
    ) -> Self {
        let mut includes = Self::default();
        let listeners = files.iter().flat_map(|file| file.listener.iter().map(|written| written.get_ref()));
        for listener in files.iter().map(|file| &file.defaults).chain(listeners) {
            for path in paths(listener) {
                includes.0.entry(path.to_owned()).or_insert_with(|| {
                    sources.push(networks::open(&directory.join(path), environment)?);
                    Ok(sources.len() - 1)
                });
            }
        }
        includes
    }

    /// All paths, as written.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The number of the source that `path` has become.
    pub(super) fn source(&self, path: &str) -> Result<usize, Trouble> {
        let missing = || Err(Trouble::new(format!("cannot read {}", super::quoted(path)), ""));
        self.0.get(path).cloned().unwrap_or_else(missing)
    }
}

fn paths(listener: &Listener) -> Vec<&str> {
    let written = [&listener.allow_include, &listener.deny_include].into_iter().flatten();
    written
        .flat_map(|written| match written.get_ref() {
            Texts::One(path) => vec![path.as_str()],
            Texts::Many(paths) => paths.iter().map(|path| path.get_ref().as_str()).collect(),
        })
        .collect()
}
