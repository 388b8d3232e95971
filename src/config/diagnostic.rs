//! Errors that point: path, line and column, the cited line, a caret, and the cure beside it.

use std::{collections::BTreeSet, fmt, ops::Range};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

/// One text that settings were read from.
pub(super) struct Source {
    /// What the errors call it: a path, or an option.
    pub(super) name: String,
    /// The text that its author wrote, and that errors cite.
    pub(super) text: String,
    /// The TOML made from it, if it is none itself.
    pub(super) made: Option<Made>,
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

/// What is wrong with a value, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    /// What is wrong.
    pub(super) title: String,
    /// What to do.
    pub(super) cure: String,
}

/// All that was found to be wrong, sorted by place; the same fault counts once.
#[derive(Default)]
pub(super) struct Faults(BTreeSet<Fault>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    place: Option<Place>,
    trouble: Trouble,
    /// An earlier place that this one contradicts, and what is there.
    earlier: Option<(Place, String)>,
}

impl Source {
    /// A file, or another text that is TOML itself.
    pub(super) fn toml(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), made: None }
    }

    /// The TOML to read.
    pub(super) fn as_toml(&self) -> &str {
        self.made.as_ref().map_or(&self.text, |made| &made.toml)
    }

    /// The line of `place`: `echod.toml:12`.
    pub(super) fn line(&self, place: &Place) -> String {
        match &self.made {
            Some(_) => self.name.clone(),
            None => {
                let above = self.text.as_bytes().iter().take(place.start).filter(|byte| **byte == b'\n');
                format!("{}:{}", self.name, above.count() + 1)
            }
        }
    }

    /// Where the author finds `place`: a piece of `text`.
    fn cited(&self, place: &Place) -> Range<usize> {
        let Some(made) = &self.made else {
            return place.start..place.end;
        };
        let holds = |piece: &Range<usize>| piece.start <= place.start && place.end <= piece.end;
        let origin = made.origins.iter().find(|(piece, _)| holds(piece));
        origin.map_or(0..self.text.len(), |(_, origin)| origin.clone())
    }
}

impl Place {
    /// The piece `span` of source number `source`.
    pub(super) fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}

impl Trouble {
    /// What is wrong, and the cure.
    pub(super) fn new(title: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { title: title.into(), cure: cure.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cure.as_str() {
            "" => f.write_str(&self.title),
            cure => write!(f, "{}; {cure}", self.title),
        }
    }
}

impl Faults {
    /// Notes a fault at `place`.
    pub(super) fn push(&mut self, place: Place, trouble: Trouble) {
        self.0.insert(Fault { place: Some(place), trouble, earlier: None });
    }

    /// Notes a fault at `place` that contradicts what `note` says about an `earlier` place.
    pub(super) fn push_clash(
        &mut self,
        place: Place,
        trouble: Trouble,
        earlier: Place,
        note: impl Into<String>,
    ) {
        self.0.insert(Fault { place: Some(place), trouble, earlier: Some((earlier, note.into())) });
    }

    /// Notes a fault of the whole.
    pub(super) fn push_whole(&mut self, trouble: Trouble) {
        self.0.insert(Fault { place: None, trouble, earlier: None });
    }

    /// Whether all is well.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text for people: a paragraph for each fault.
    pub(super) fn render(&self, sources: &[Source], coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let paragraphs = self.0.iter().map(|fault| renderer.render(&[fault.group(sources)]));
        paragraphs.collect::<Vec<_>>().join("\n\n")
    }
}

impl Fault {
    fn group<'a>(&'a self, sources: &'a [Source]) -> Group<'a> {
        let Trouble { title, cure } = &self.trouble;
        let title = Level::ERROR.primary_title(title);
        let Some(place) = &self.place else {
            return Group::with_title(title).element(Level::HELP.message(cure));
        };
        let here = annotation(AnnotationKind::Primary, place, cure, sources);
        match &self.earlier {
            None => title.element(snippet(&sources[place.source], [here])),
            Some((earlier, note)) => {
                let there = annotation(AnnotationKind::Context, earlier, note, sources);
                match earlier.source == place.source {
                    true => title.element(snippet(&sources[place.source], [there, here])),
                    false => title
                        .element(snippet(&sources[place.source], [here]))
                        .element(snippet(&sources[earlier.source], [there])),
                }
            }
        }
    }
}

fn snippet<'a>(
    source: &'a Source,
    annotations: impl IntoIterator<Item = Annotation<'a>>,
) -> Snippet<'a, Annotation<'a>> {
    Snippet::source(&source.text).path(&source.name).annotations(annotations)
}

fn annotation<'a>(kind: AnnotationKind, place: &Place, label: &'a str, sources: &[Source]) -> Annotation<'a> {
    let annotation = kind.span(sources[place.source].cited(place));
    if label.is_empty() { annotation } else { annotation.label(label) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        let made = Made { toml: "mode = 'x'".into(), origins: vec![(0..4, 6..10), (7..10, 11..12)] };
        let url = Source { name: "--listen".into(), text: "udp:a?mode=x".into(), made: Some(made) };
        vec![Source::toml("echod.toml", "a = 1\nmax-conections = 100\n"), url]
    }

    #[test]
    fn a_fault_cites_its_line() {
        let mut faults = Faults::default();
        faults.push(
            Place::new(0, 6..20),
            Trouble::new("unknown key `max-conections`", "did you mean `max-connections`?"),
        );
        let expected = "\
error: unknown key `max-conections`
 --> echod.toml:2:1
  |
2 | max-conections = 100
  | ^^^^^^^^^^^^^^ did you mean `max-connections`?";
        assert_eq!(faults.render(&sources(), false), expected);
        assert!(faults.render(&sources(), true).contains('\u{1b}'));
    }

    #[test]
    fn a_made_text_cites_what_it_was_made_from() {
        let mut faults = Faults::default();
        faults.push(Place::new(1, 7..10), Trouble::new("unknown mode", ""));
        faults.push(Place::new(1, 5..6), Trouble::new("somewhere", "here"));
        let expected = "\
error: somewhere
 --> --listen:1:1
  |
1 | udp:a?mode=x
  | ^^^^^^^^^^^^ here

error: unknown mode
 --> --listen:1:12
  |
1 | udp:a?mode=x
  |            ^";
        assert_eq!(faults.render(&sources(), false), expected);
    }

    #[test]
    fn faults_are_sorted_and_count_once() {
        let mut faults = Faults::default();
        for start in [9, 2, 9] {
            faults.push(Place::new(0, start..start + 1), Trouble::new("t", ""));
        }
        faults.push_whole(Trouble::new("nothing to serve", "add a listener"));
        let text = faults.render(&sources(), false);
        assert_eq!(text.matches("error").count(), 3);
        assert!(text.starts_with("error: nothing to serve\n |\n = help: add a listener\n"), "{text}");
        assert!(text.find(":1:3").unwrap() < text.find(":2:4").unwrap());
    }

    #[test]
    fn two_places_are_shown_together() {
        let mut faults = Faults::default();
        faults.push_clash(
            Place::new(0, 10..14),
            Trouble::new("twice", "second"),
            Place::new(0, 0..1),
            "first",
        );
        faults.push_clash(Place::new(1, 0..4), Trouble::new("twice", "second"), Place::new(0, 0..1), "first");
        let text = faults.render(&sources(), false);
        assert_eq!(text.matches("- first").count(), 2, "{text}");
        assert_eq!(text.matches("^ second").count(), 2, "{text}");
        assert!(text.contains("::: echod.toml:1:1"), "{text}");
    }
}
