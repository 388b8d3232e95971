//! Lists of who may come: networks, written out or in files of their own, and users and groups.

use ipnet::IpNet;

use super::{
    addresses::texts,
    reader::{Reader, Table},
    values,
};
use crate::config::{
    Owner,
    diagnostic::{Place, Trouble},
    file::{self, Scalar, Texts, Written},
    networks,
};

/// A list of networks, and the files that belong to it.
struct List {
    key: &'static str,
    written: fn(&file::Listener) -> &Written<Texts>,
    files: fn(&file::Listener) -> &Written<Texts>,
}

impl<'a> Reader<'a> {
    /// Who may come, if the file says so.
    pub(super) fn allow(&mut self) -> Option<Vec<IpNet>> {
        let key = "allow";
        let list = List { key, written: |keys| &keys.allow, files: |keys| &keys.allow_include };
        let (networks, place) = self.networks(&list)?;
        if networks.is_empty() && self.faults.is_empty() {
            let title = "`allow` holds no network: nobody could come in";
            let cure = "write the networks that may, or take it out to let everybody in";
            self.faults.push(place, Trouble::new(title, cure));
        }
        Some(networks)
    }

    /// Who may not come.
    pub(super) fn deny(&mut self) -> Option<Vec<IpNet>> {
        let key = "deny";
        let list = List { key, written: |keys| &keys.deny, files: |keys| &keys.deny_include };
        self.networks(&list).map(|(networks, _)| networks)
    }

    /// Whose datagrams are nobody's danger.
    pub(super) fn trusted(&mut self) -> Option<Vec<IpNet>> {
        let list = List { key: "trusted", written: |keys| &keys.trusted, files: |_| &None };
        self.networks(&list).map(|(networks, _)| networks)
    }

    /// Whose headers of the PROXY protocol are believed, if the file says so.
    pub(super) fn trusted_proxies(&mut self) -> Option<Vec<IpNet>> {
        let key = "trusted-proxies";
        let list = List { key, written: |keys| &keys.trusted_proxies, files: |_| &None };
        self.networks(&list).map(|(networks, _)| networks)
    }

    /// A list and its files are one setting: who writes either has neither from `[defaults]`.
    fn networks(&mut self, list: &List) -> Option<(Vec<IpNet>, Place)> {
        let is_written =
            |table: Table<'a>| (list.written)(table.keys).as_ref().or((list.files)(table.keys).as_ref());
        let defaults = Some(self.defaults).filter(|_| self.fit.takes_default(list.key));
        let table =
            [Some(self.own), defaults].into_iter().flatten().find(|table| is_written(*table).is_some())?;
        let place = Place::new(table.source, is_written(table)?.span());
        let mut found = Vec::new();
        for (text, span) in (list.written)(table.keys).as_ref().map(texts).unwrap_or_default() {
            let place = Place::new(table.source, span);
            match networks::read(text) {
                Ok(network) => found.push((network, place)),
                Err(trouble) => self.faults.push(place, trouble),
            }
        }
        for (path, span) in (list.files)(table.keys).as_ref().map(texts).unwrap_or_default() {
            match self.includes.networks(path) {
                Ok(networks) => found.extend_from_slice(networks),
                Err(trouble) => self.faults.push(Place::new(table.source, span), trouble),
            }
        }
        let (networks, places): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        self.origins.extend(places.into_iter().map(|place| (list.key, place)));
        Some((networks, place))
    }

    /// Users or groups that may come.
    pub(super) fn owners(
        &mut self,
        key: &'static str,
        field: impl Fn(&'a file::Listener) -> &'a Written<Texts>,
        read: fn(&Scalar) -> Result<Owner, Trouble>,
    ) -> Vec<Owner> {
        let own = field(self.own.keys).as_ref().map(|written| (written, self.own.source));
        let default = field(self.defaults.keys).as_ref().filter(|_| self.fit.takes_default(key));
        let found = own.or(default.map(|written| (written, self.defaults.source)));
        let Some((written, source)) = found else { return Vec::new() };
        let names = texts(written);
        if names.is_empty() {
            let title = format!("`{key}` names nobody");
            let cure = "write names or numbers, or take it out to let everybody in";
            self.faults.push(Place::new(source, written.span()), Trouble::new(title, cure));
        }
        let mut owners = Vec::new();
        for (name, span) in names {
            let place = Place::new(source, span);
            match read(&Scalar::Text(name.to_owned())) {
                Ok(owner) => {
                    self.origins.push((key, place));
                    owners.push(owner);
                }
                Err(trouble) => self.faults.push(place, trouble),
            }
        }
        owners
    }

    pub(super) fn allow_users(&mut self) -> Vec<Owner> {
        self.owners("allow-users", |keys| &keys.allow_users, values::user)
    }

    pub(super) fn allow_groups(&mut self) -> Vec<Owner> {
        self.owners("allow-groups", |keys| &keys.allow_groups, values::group)
    }
}
