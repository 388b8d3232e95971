//! How values are written: a codec reads a value from a file or a URL, writes it so that it is read the same, and tells its form.

use std::{ops::RangeInclusive, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Form, Range, Raw};
use crate::config::{
    diagnostic::{Diagnostic, Diagnostics},
    misfit::{Found, misfit},
    words,
};

/// How a value of type `T` is written, wherever it is written.
pub(in crate::config) trait Codec<T>: Sync {
    fn form(&self) -> Form;

    /// Reads the value of `key`, or notes all that is wrong with it.
    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<T>;

    /// Writes it so that `read` reads the same; `None` has no form.
    fn write(&self, value: &T) -> Option<toml::Value>;

    /// Whether `--print-config` has it.
    fn is_printed(&self) -> bool {
        true
    }
}

/// What a [`Notation`] reads.
pub(in crate::config) struct Ask<'r> {
    pub(in crate::config) key: &'r str,
    pub(in crate::config) form: Form,
    pub(in crate::config) raw: &'r Raw<'r>,
}

impl Ask<'_> {
    pub(in crate::config) fn found(&self) -> Found<'_> {
        self.raw.found()
    }

    /// The text that is there.
    pub(in crate::config) fn text(&self) -> Result<&str, Diagnostic> {
        match self.found() {
            Found::Text(text) => Ok(text),
            _ => Err(self.misfit()),
        }
    }

    /// The value is of another kind than it must be, or beyond its limits.
    pub(in crate::config) fn misfit(&self) -> Diagnostic {
        match self.raw.as_integer() {
            Some(number) if self.form.takes_numbers() || matches!(self.form, Form::Keepalive) => {
                misfit(self.key, self.form, Found::Integer(&number.to_string()))
            }
            _ => misfit(self.key, self.form, self.found()),
        }
    }
}

/// A notation of one value.
pub(in crate::config) struct Notation<T> {
    pub(in crate::config) form: Form,
    pub(in crate::config) read: fn(&Ask<'_>) -> Result<T, Diagnostic>,
    pub(in crate::config) write: fn(&T) -> Option<toml::Value>,
}

impl<T> Codec<T> for Notation<T> {
    fn form(&self) -> Form {
        self.form
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<T> {
        let read = (self.read)(&Ask { key, form: self.form, raw });
        read.map_err(|diagnostic| to.push(raw.at.clone(), diagnostic)).ok()
    }

    fn write(&self, value: &T) -> Option<toml::Value> {
        (self.write)(value)
    }
}

/// A word of a choice. Its words are serde's.
pub(in crate::config) struct Word;

impl<T: DeserializeOwned + Serialize> Codec<T> for Word {
    fn form(&self) -> Form {
        Form::Word(words::all::<T>)
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<T> {
        let ask = Ask { key, form: Codec::<T>::form(self), raw };
        let read = ask.text().and_then(|word| words::read(key, word));
        read.map_err(|diagnostic| to.push(raw.at.clone(), diagnostic)).ok()
    }

    fn write(&self, value: &T) -> Option<toml::Value> {
        toml::Value::try_from(value).ok()
    }
}

/// A whole number from the first to the second.
pub(in crate::config) struct Int(pub(in crate::config) i64, pub(in crate::config) i64);

impl<T: TryFrom<i64> + TryInto<i64> + Copy> Codec<T> for Int {
    fn form(&self) -> Form {
        Form::Number(Range(self.0, self.1))
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<T> {
        within(self.0..=self.1, raw.as_integer(), &Ask { key, form: Codec::<T>::form(self), raw }, to)
    }

    fn write(&self, value: &T) -> Option<toml::Value> {
        (*value).try_into().ok().map(toml::Value::Integer)
    }
}

/// The `number` as a `T`, if it is in `range`; otherwise a diagnostic.
fn within<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
    number: Option<i64>,
    ask: &Ask<'_>,
    to: &mut Diagnostics,
) -> Option<T> {
    let read = number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
    if read.is_none() {
        to.push(ask.raw.at.clone(), ask.misfit());
    }
    read
}

/// The same, or `off`, which is 0.
pub(in crate::config) struct IntOrOff(pub(in crate::config) i64, pub(in crate::config) i64);

impl<T: TryFrom<i64> + TryInto<i64> + Copy> Codec<T> for IntOrOff {
    fn form(&self) -> Form {
        Form::Limit(Range(self.0, self.1))
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<T> {
        let number = if raw.found() == Found::Text("off") { Some(0) } else { raw.as_integer() };
        within(self.0..=self.1, number, &Ask { key, form: Codec::<T>::form(self), raw }, to)
    }

    fn write(&self, value: &T) -> Option<toml::Value> {
        (*value).try_into().ok().map(toml::Value::Integer)
    }
}

/// Any number of texts; one of them needs no brackets. Listeners that have a list from one place share it.
pub(in crate::config) struct List<T> {
    /// An element.
    pub(in crate::config) example: &'static str,
    pub(in crate::config) read: fn(&str) -> Result<T, Diagnostic>,
    pub(in crate::config) write: fn(&T) -> String,
    /// What is wrong with a list without elements, if anything.
    pub(in crate::config) empty: Option<fn(&str) -> Diagnostic>,
}

impl<T> Codec<Arc<[T]>> for List<T> {
    fn form(&self) -> Form {
        Form::List(self.example)
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<Arc<[T]>> {
        let elements = raw.elements();
        let (mut values, mut is_right) = (Vec::with_capacity(elements.len()), true);
        if let (true, Some(empty)) = (elements.is_empty(), self.empty) {
            to.push(raw.at.clone(), empty(key));
            is_right = false;
        }
        for element in &elements {
            let ask = Ask { key, form: Codec::form(self), raw: element };
            match ask.text().and_then(self.read) {
                Ok(value) => values.push(value),
                Err(diagnostic) => {
                    to.push(element.at.clone(), diagnostic);
                    is_right = false;
                }
            }
        }
        is_right.then(|| values.into())
    }

    fn write(&self, values: &Arc<[T]>) -> Option<toml::Value> {
        let is_right = !(values.is_empty() && self.empty.is_some());
        is_right.then(|| {
            values.iter().map(|value| toml::Value::String((self.write)(value))).collect::<Vec<_>>().into()
        })
    }
}

/// A value that is read and never printed: it has done its work once the file is read.
pub(in crate::config) struct Quiet<C>(pub(in crate::config) C);

impl<T, C: Codec<T>> Codec<T> for Quiet<C> {
    fn form(&self) -> Form {
        self.0.form()
    }

    fn read(&self, key: &str, raw: &Raw<'_>, to: &mut Diagnostics) -> Option<T> {
        self.0.read(key, raw, to)
    }

    fn write(&self, value: &T) -> Option<toml::Value> {
        self.0.write(value)
    }

    fn is_printed(&self) -> bool {
        false
    }
}
