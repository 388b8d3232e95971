//! What a key of the configuration is. A table of them (`config/keys/listener.rs`) declares each once; the macro turns it into the
//! struct of the values, the struct of what is written, and the keys themselves. Read a table first, then this file.

use std::sync::Arc;

use super::{
    applicability::{Need, Profile},
    diagnostic::{Diagnostic, Diagnostics},
    quoted,
    source::Place,
};

mod codec;
pub(super) mod daemon;
pub(super) mod faults;
mod form;
pub(super) mod listener;
pub(super) mod log;
pub(super) mod observe;
mod raw;
pub(super) mod unknown_key;

pub(super) use codec::{Ask, Codec, Int, IntOrOff, List, Notation, Quiet, Word};
pub(super) use form::{Form, Range};
pub(super) use raw::{Raw, Row, Table};

/// A row of a table. Every field must be given: what is forgotten is a compile error in that row.
pub(super) struct Key<T: 'static> {
    /// How the value is written.
    pub(super) value: &'static dyn Codec<T>,
    /// The value of a key that is not written.
    pub(super) default: Preset<T>,
    /// The listeners that may have it meet all of these.
    pub(super) needs: &'static [Need],
    /// What a reload does with a new value.
    pub(super) reload: Reload,
    /// A value as it stands in a file.
    pub(super) example: &'static str,
}

/// The value of a key that is not written. It may depend on the protocol and the mode.
pub(super) enum Preset<T> {
    /// There is none: the key must be written. The function makes a placeholder, so that the rest can be checked.
    Required(fn(&Profile) -> T),
    /// A value that a file could have.
    Value(fn(&Profile) -> T),
    /// One that no file could have, and the words of the pages for it.
    Unset(&'static str, fn(&Profile) -> T),
}

/// When a new value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reload {
    /// At a reload; a listener serves the clients that it has by the old value.
    Live,
    /// At a reload, with sockets that are bound anew.
    Rebind,
    /// When the daemon is started the next time.
    Restart,
}

/// A key with its name and its text, which the macro takes from the field and its doc comment.
pub(super) struct Field<T: 'static> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) key: Key<T>,
}

/// A value that a table has; it is `None` if it is wrong.
#[derive(Clone)]
pub(super) struct Written<'a, T> {
    pub(super) value: Option<T>,
    pub(super) site: KeySite<'a>,
}

/// Where a key of a table is written.
#[derive(Clone)]
pub(super) struct KeySite<'a> {
    /// The key itself.
    pub(super) key_at: Place,
    pub(super) raw: Raw<'a>,
    /// The places of the values of a list.
    pub(super) places: Option<Arc<[Place]>>,
}

impl<T: Clone> Field<T> {
    /// Takes the key out of `table`.
    pub(super) fn read<'a>(&self, table: &mut Table<'a>, to: &mut Diagnostics) -> Option<Written<'a, T>> {
        let Row { key_at, raw, .. } = table.swap_remove(table.iter().position(|row| row.name == self.name)?);
        let value = self.key.value.read(self.name, &raw, to);
        let places = matches!(self.key.value.form(), Form::List(_)).then(|| raw.places());
        Some(Written { value, site: KeySite { key_at, raw, places } })
    }

    pub(super) fn default(&self, it: &Profile) -> T {
        match &self.key.default {
            Preset::Required(value) | Preset::Value(value) | Preset::Unset(_, value) => value(it),
        }
    }

    /// The value of the table itself, else that of `[defaults]` where it fits, else the default.
    pub(super) fn choose(
        &self,
        own: Option<&Written<'_, T>>,
        defaults: Option<&Written<'_, T>>,
        it: &Profile,
    ) -> T {
        let written = own.or_else(|| defaults.filter(|_| self.misfit(it).is_none()));
        written.and_then(|written| written.value.clone()).unwrap_or_else(|| self.default(it))
    }

    /// The same for what decides which keys fit: unknown if what is written is wrong, or must be and is not.
    pub(super) fn known(
        &self,
        own: Option<&Written<'_, T>>,
        defaults: Option<&Written<'_, T>>,
        it: &Profile,
    ) -> Option<T> {
        match (own.or(defaults), &self.key.default) {
            (Some(written), _) => written.value.clone(),
            (None, Preset::Required(_)) => None,
            (None, Preset::Value(value) | Preset::Unset(_, value)) => Some(value(it)),
        }
    }
}

/// A key without its type, for what is the same for all: the pages and applicability.
pub(super) trait AnyKey: Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn form(&self) -> Form;
    fn needs(&self) -> &'static [Need];
    fn reload(&self) -> Reload;
    fn example(&self) -> &'static str;
    fn is_required(&self) -> bool;
    /// Whether `--print-config` has it.
    fn is_printed(&self) -> bool;
    /// The default as it would be written.
    fn default_for(&self, it: &Profile) -> Option<toml::Value>;
    /// The words for a default that no value says.
    fn default_words(&self) -> Option<&'static str>;

    /// Why a listener with this profile may not have it, if so.
    fn misfit(&self, it: &Profile) -> Option<Diagnostic> {
        self.needs().iter().find_map(|need| need.misfit(self.name(), it))
    }
}

impl<T: Clone> AnyKey for Field<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about.trim()
    }

    fn form(&self) -> Form {
        self.key.value.form()
    }

    fn needs(&self) -> &'static [Need] {
        self.key.needs
    }

    fn reload(&self) -> Reload {
        self.key.reload
    }

    fn example(&self) -> &'static str {
        self.key.example
    }

    fn is_required(&self) -> bool {
        matches!(self.key.default, Preset::Required(_))
    }

    fn is_printed(&self) -> bool {
        self.key.value.is_printed()
    }

    fn default_for(&self, it: &Profile) -> Option<toml::Value> {
        match &self.key.default {
            Preset::Value(value) => self.key.value.write(&value(it)),
            Preset::Required(_) | Preset::Unset(..) => None,
        }
    }

    fn default_words(&self) -> Option<&'static str> {
        match self.key.default {
            Preset::Unset(words, _) => Some(words),
            Preset::Required(_) | Preset::Value(_) => None,
        }
    }
}

/// What a table says, without its types.
pub(super) trait Sites<'a> {
    /// The keys that are written, in the order of the table, and where.
    fn sites(&self) -> Vec<(&'static dyn AnyKey, &KeySite<'a>)>;
}

/// The values of a table, without their types.
pub(super) trait Values {
    /// Every key, and its value as a file has it.
    fn to_toml(&self) -> Vec<(&'static dyn AnyKey, Option<toml::Value>)>;

    /// The keys that have another value in `new`.
    fn changed(&self, new: &Self) -> Vec<&'static dyn AnyKey>;
}

/// Notes what is left of a table: keys that are not among the `known` ones.
pub(super) fn note_unknown(rest: &Table<'_>, known: &[&'static str], to: &mut Diagnostics) {
    for Row { name, key_at, .. } in rest {
        let title = format!("unknown key {}", quoted(name));
        to.push(key_at.clone(), Diagnostic::new(title, unknown_key::help(name, known.iter().copied())));
    }
}

/// The name of a field as a key: `max_connections` is `max-connections`.
pub(super) const fn hyphens<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = if name.as_bytes()[at] == b'_' { b'-' } else { name.as_bytes()[at] };
        at += 1;
    }
    bytes
}

/// A table of keys: the struct of their values, the struct of what is written, and the keys themselves.
macro_rules! keys {
    (
        $(#[doc = $title:literal])+ $Values:ident, $Written:ident, $Keys:ident = $KEYS:ident;
        $($(#[doc = $about:literal])+ $field:ident: $type:ty = $key:expr,)+
    ) => {
        $(#[doc = $title])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $Values { $($(#[doc = $about])+ pub $field: $type,)+ }

        /// What one table says of it, with the places. Most keys are not written, so a key takes the room of a pointer.
        #[derive(Clone, Default)]
        pub(in crate::config) struct $Written<'a> {
            $(pub(in crate::config) $field: Option<Box<$crate::config::keys::Written<'a, $type>>>,)+
        }

        pub(in crate::config) struct $Keys { $(pub(in crate::config) $field: $crate::config::keys::Field<$type>,)+ }

        pub(in crate::config) static $KEYS: $Keys = $Keys {$(
            $field: $crate::config::keys::Field {
                name: {
                    const BYTES: [u8; stringify!($field).len()] = $crate::config::keys::hyphens(stringify!($field));
                    match std::str::from_utf8(&BYTES) { Ok(name) => name, Err(_) => unreachable!() }
                },
                about: concat!($($about),+),
                key: $key,
            },
        )+};

        impl $Keys {
            /// All of them, in the order of the table.
            pub(in crate::config) fn all(&'static self) -> Vec<&'static dyn $crate::config::keys::AnyKey> {
                vec![$(&self.$field),+]
            }
        }

        impl<'a> $Written<'a> {
            /// Reads a table. What is wrong or unknown is noted; the rest is read all the same.
            pub(in crate::config) fn read(
                mut table: $crate::config::keys::Table<'a>,
                to: &mut $crate::config::diagnostic::Diagnostics,
            ) -> Self {
                let written = Self { $($field: $KEYS.$field.read(&mut table, to).map(Box::new),)+ };
                $crate::config::keys::note_unknown(&table, &[$($KEYS.$field.name),+], to);
                written
            }

            /// The values: its own, else those of `defaults` that fit, else the defaults of the keys.
            pub(in crate::config) fn or(&self, defaults: &Self, it: &$crate::config::applicability::Profile) -> $Values {
                $Values { $($field: $KEYS.$field.choose(self.$field.as_deref(), defaults.$field.as_deref(), it),)+ }
            }
        }

        impl<'a> $crate::config::keys::Sites<'a> for $Written<'a> {
            fn sites(&self) -> Vec<(&'static dyn $crate::config::keys::AnyKey, &$crate::config::keys::KeySite<'a>)> {
                let mut sites: Vec<(&'static dyn $crate::config::keys::AnyKey, _)> = Vec::new();
                $(sites.extend(self.$field.as_deref().map(|written| (&$KEYS.$field as _, &written.site)));)+
                sites
            }
        }

        impl $crate::config::keys::Values for $Values {
            fn to_toml(&self) -> Vec<(&'static dyn $crate::config::keys::AnyKey, Option<toml::Value>)> {
                vec![$((&$KEYS.$field, $KEYS.$field.key.value.write(&self.$field))),+]
            }

            fn changed(&self, new: &Self) -> Vec<&'static dyn $crate::config::keys::AnyKey> {
                let changed = [$((&$KEYS.$field as &'static dyn $crate::config::keys::AnyKey, self.$field != new.$field)),+];
                changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
            }
        }
    };
}
pub(super) use keys;

/// The form of the value of `key`, of whatever table that has it.
pub(super) fn form(key: &str) -> Option<Form> {
    all().find(|(_, known)| known.name() == key).map(|(_, known)| known.form())
}

/// All keys, each with the header of its table.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static dyn AnyKey)> {
    let of = |table, keys: Vec<&'static dyn AnyKey>| keys.into_iter().map(move |key| (table, key));
    let (daemon, log) = (crate::config::keys::daemon::DAEMON.all(), crate::config::keys::log::LOG.all());
    of("[daemon]", daemon)
        .chain(of("[log]", log))
        .chain(of("[[listener]]", crate::config::keys::listener::LISTENER.all()))
        .chain(of("[[faults]]", crate::config::keys::faults::FAULTS.all()))
        .chain(of("[observe]", crate::config::keys::observe::OBSERVE.all()))
}
