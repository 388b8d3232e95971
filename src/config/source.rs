//! The texts that settings are read from, and the places in them that errors and `echod explain` cite.

use std::{cell::OnceCell, ops::Range};

/// One text that settings were read from.
pub(super) struct Source {
    /// What the errors call it: a path, or an option.
    pub(super) name: String,
    /// The text that its author wrote, and that errors cite.
    pub(super) text: String,
    /// The TOML made from it, if it is none itself.
    pub(super) made: Option<Made>,
    /// Where each line of `text` begins, once somebody asked: counting from the top for each place would be quadratic.
    lines: OnceCell<Vec<usize>>,
}

/// TOML that was made from other text.
pub(super) struct Made {
    /// The TOML.
    pub(super) toml: String,
    /// Pairs of a piece of the TOML and the piece of the text that it was made from.
    pub(super) origins: Vec<(Range<usize>, Range<usize>)>,
}

/// A piece of the TOML of a source.
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
    /// A file, or another text that is TOML itself.
    pub(super) fn toml(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), made: None, lines: OnceCell::new() }
    }

    /// A text that TOML was made from.
    pub(super) fn made(name: impl Into<String>, text: impl Into<String>, made: Made) -> Self {
        Self { made: Some(made), ..Self::toml(name, text) }
    }

    /// The TOML to read.
    pub(super) fn as_toml(&self) -> &str {
        self.made.as_ref().map_or(&self.text, |made| &made.toml)
    }

    /// The number of the line of `place`, counted from 1. What was made from a URL has one line, which nobody asks for.
    pub(super) fn line(&self, place: &Place) -> Option<usize> {
        self.made.is_none().then(|| self.line_at(place.start) + 1)
    }

    /// Where the author finds `place`: a piece of `text`.
    pub(super) fn cited(&self, place: &Place) -> Range<usize> {
        let Some(made) = &self.made else {
            return place.start..place.end;
        };
        let holds = |piece: &Range<usize>| piece.start <= place.start && place.end <= piece.end;
        let origin = made.origins.iter().find(|(piece, _)| holds(piece));
        origin.map_or(0..self.text.len(), |(_, origin)| origin.clone())
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
    fn line_at(&self, at: usize) -> usize {
        self.lines().partition_point(|start| *start <= at).saturating_sub(1)
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let after =
                self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(after).collect()
        })
    }
}

impl Place {
    /// The piece `span` of source number `source`.
    pub(super) fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}
