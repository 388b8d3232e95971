//! The texts that settings are read from, and the places in them that errors and `echod explain` cite.

use std::{ops::Range, sync::OnceLock};

/// One text that settings were read from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// What the errors call it: a path, or an option.
    pub(super) name: String,
    /// The text as its author wrote it.
    pub(super) text: String,
    /// It is a URL, not TOML.
    pub(super) is_url: bool,
    /// It is a file that another one includes.
    pub(super) is_included: bool,
    /// Where each line of `text` begins, found on first use: counting from the top for each place would be quadratic.
    lines: OnceLock<Vec<usize>>,
}

/// A piece of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The index of the source.
    pub(super) source: usize,
    /// The first byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

impl Source {
    /// A file.
    pub(super) fn file(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            is_url: false,
            is_included: false,
            lines: OnceLock::new(),
        }
    }

    /// The same file as one that another includes.
    pub(super) fn included(self) -> Self {
        Self { is_included: true, ..self }
    }

    /// A URL, given to the option `name`.
    pub(super) fn url(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { is_url: true, ..Self::file(name, text) }
    }

    /// The number of the line of `place`, counted from 1. A URL has one line, so it has none.
    pub(super) fn line(&self, place: &Place) -> Option<usize> {
        (!self.is_url).then(|| self.line_at(place.start) + 1)
    }

    /// The lines around `span` of `text`: the number of the first, counted from 1, and what `text` has from there to the last.
    /// One line more at either side, so that a caret behind the end of the text finds the line it follows.
    pub(super) fn lines_around(&self, span: &Range<usize>) -> (usize, Range<usize>) {
        let lines = self.lines();
        let first = self.line_at(span.start).saturating_sub(1);
        let end = lines.get(self.line_at(span.end) + 2).copied();
        (first + 1, lines[first]..end.unwrap_or(self.text.len()))
    }

    /// The index of the line of byte number `at`, counted from 0.
    pub(super) fn line_at(&self, at: usize) -> usize {
        self.lines().partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Where the line of that index begins.
    pub(super) fn line_start(&self, line: usize) -> usize {
        self.lines().get(line).copied().unwrap_or(self.text.len())
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let after =
                self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(after).collect()
        })
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Place {
    /// The piece `span` of source number `source`.
    pub(super) fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}
