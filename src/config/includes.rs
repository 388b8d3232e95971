//! The files of networks that listeners name in `allow-include` and `deny-include`. Each is read once, however many listeners name
//! it, as one more source that errors can point at.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    Environment,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    keys::Written,
    networks,
};
use crate::config::keys::listener::WrittenListener;

/// A network, and where it is written.
type Network = (IpNet, Place);

/// What the files hold, by their paths.
pub(super) struct Includes<'e> {
    environment: &'e Environment,
    files: BTreeMap<PathBuf, Result<Vec<Network>, Diagnostic>>,
    /// The number of the first of `sources`.
    first: usize,
    pub(super) sources: Vec<Source>,
}

impl<'e> Includes<'e> {
    /// The sources of the files go on with number `first`.
    pub(super) fn new(environment: &'e Environment, first: usize) -> Self {
        Self { environment, files: BTreeMap::new(), first, sources: Vec::new() }
    }

    /// Reads the files that a table of a file in `directory` names, and adds what they hold to its lists: a list and its files are one
    /// setting.
    pub(super) fn add(&mut self, table: &mut WrittenListener<'_>, directory: &Path, to: &mut Diagnostics) {
        self.add_to(&mut table.allow, &table.allow_include, directory, to);
        self.add_to(&mut table.deny, &table.deny_include, directory, to);
    }

    fn add_to<'a>(
        &mut self,
        list: &mut Option<Box<Written<'a, Arc<[IpNet]>>>>,
        files: &Option<Box<Written<'a, Arc<[String]>>>>,
        directory: &Path,
        to: &mut Diagnostics,
    ) {
        let Some(files) = files else { return };
        let (mut found, mut is_right): (Vec<Network>, bool) = match list {
            None => (Vec::new(), true),
            Some(list) => {
                let places = list.site.places.iter().flat_map(|places| places.iter().cloned());
                let networks = list.value.iter().flat_map(|networks| networks.iter().copied());
                (networks.zip(places).collect(), list.value.is_some())
            }
        };
        is_right &= files.value.is_some();
        let paths = files.value.iter().flat_map(|paths| paths.iter());
        let places = files.site.places.iter().flat_map(|places| places.iter());
        for (path, place) in paths.zip(places) {
            match self.read(directory.join(path), to) {
                Ok(networks) => found.extend_from_slice(networks),
                Err(diagnostic) => {
                    to.push(place.clone(), diagnostic.clone());
                    is_right = false;
                }
            }
        }
        let (networks, places): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let mut site = list.as_ref().map_or(&files.site, |list| &list.site).clone();
        site.places = Some(places.into());
        *list = Some(Box::new(Written { value: is_right.then(|| networks.into()), site }));
    }

    fn read(&mut self, path: PathBuf, to: &mut Diagnostics) -> Result<&[Network], &Diagnostic> {
        let (sources, number) = (&mut self.sources, self.first);
        let environment = self.environment;
        let read = self.files.entry(path).or_insert_with_key(|path| {
            let source = networks::open(path, environment)?;
            let networks = networks::read_list(&source.text, number + sources.len(), to);
            sources.push(source);
            Ok(networks)
        });
        read.as_deref()
    }

    /// The paths of all of them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }
}
