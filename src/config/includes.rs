//! The files of networks that listeners name in `allow-include` and `deny-include`. Each is read once,
//! however many listeners name it, as one more source that errors can point at.

use std::{collections::BTreeMap, path::Path};

use ipnet::IpNet;

use super::{
    Environment,
    diagnostic::{Faults, Place, Source, Trouble},
    file::{File, Listener, Texts},
    networks,
};

/// A network, and where it is written.
pub(super) type Network = (IpNet, Place);

/// What the files hold, by the paths as written.
#[derive(Default)]
pub(super) struct Includes(BTreeMap<String, Result<Vec<Network>, Trouble>>);

impl Includes {
    /// Reads all that `files` name, and adds them to `sources`. A path counts from `directory`.
    pub(super) fn open(
        files: &[File],
        directory: &Path,
        environment: &Environment,
        sources: &mut Vec<Source>,
        faults: &mut Faults,
    ) -> Self {
        let mut includes = Self::default();
        let listeners = files.iter().flat_map(|file| file.listener.iter().map(|written| written.get_ref()));
        for listener in files.iter().map(|file| &file.defaults).chain(listeners) {
            for path in paths(listener) {
                includes.0.entry(path.to_owned()).or_insert_with(|| {
                    let source = networks::open(&directory.join(path), environment)?;
                    let networks = networks::read_list(&source.text, sources.len(), faults);
                    sources.push(source);
                    Ok(networks)
                });
            }
        }
        includes
    }

    /// All paths, as written.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The networks of the file `path`.
    pub(super) fn networks(&self, path: &str) -> Result<&[Network], Trouble> {
        let missing = || Trouble::new(format!("cannot read {}", super::quoted(path)), "");
        let read = self.0.get(path).ok_or_else(missing)?;
        read.as_deref().map_err(Trouble::clone)
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
