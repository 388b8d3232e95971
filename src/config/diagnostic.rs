//! Errors that point: path, line and column, the cited line, a caret, and the help beside it.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

pub(super) use super::source::{Place, Source};

/// What is wrong with a value, and the help.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Diagnostic {
    /// What is wrong.
    pub(super) title: String,
    /// What to do.
    pub(super) help: String,
}

/// All that was found to be wrong, sorted by place; the same fault counts once.
#[derive(Default)]
pub(super) struct Diagnostics(BTreeSet<PlacedDiagnostic>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PlacedDiagnostic {
    place: Option<Place>,
    diagnostic: Diagnostic,
    /// An earlier place that this one contradicts, and what is there.
    earlier: Option<(Place, String)>,
}

impl Diagnostic {
    /// What is wrong, and the help. Control characters of a file that either shows do not reach the terminal.
    pub(super) fn new(title: impl Into<String>, help: impl Into<String>) -> Self {
        Self { title: visible(title.into()), help: visible(help.into()) }
    }
}

/// The text with a picture in place of each control character, as the renderer draws them in cited lines; it leaves those between
/// U+0080 and U+009F alone, of which one begins a command to a terminal.
fn visible(text: String) -> String {
    let is_shown = |char: char| !char.is_control();
    if text.chars().all(is_shown) {
        return text;
    }
    let picture = |char| match char {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(char)).unwrap_or(UNSHOWN),
        other if is_shown(other) => other,
        _ => UNSHOWN,
    };
    text.chars().map(picture).collect()
}

/// A cited piece of a source without the control characters that the renderer does not replace.
fn citable(text: &str) -> Cow<'_, str> {
    let is_unshown = |char| matches!(char, '\u{80}'..='\u{9f}');
    match text.contains(is_unshown) {
        true => text.replace(is_unshown, UNSHOWN.encode_utf8(&mut [0; 4])).into(),
        false => text.into(),
    }
}

/// In place of a control character that has no picture. It takes as many bytes as that, so that places stay.
const UNSHOWN: char = '\u{bf}';

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.help.as_str() {
            "" => f.write_str(&self.title),
            help => write!(f, "{}; {help}", self.title),
        }
    }
}

impl Diagnostics {
    /// Notes a fault at `place`.
    pub(super) fn push(&mut self, place: Place, diagnostic: Diagnostic) {
        self.0.insert(PlacedDiagnostic { place: Some(place), diagnostic, earlier: None });
    }

    /// Notes a fault at `place` that contradicts what `note` says about an `earlier` place.
    pub(super) fn push_clash(
        &mut self,
        place: Place,
        diagnostic: Diagnostic,
        earlier: Place,
        note: impl Into<String>,
    ) {
        self.0.insert(PlacedDiagnostic {
            place: Some(place),
            diagnostic,
            earlier: Some((earlier, note.into())),
        });
    }

    /// Notes a fault of the whole.
    pub(super) fn push_whole(&mut self, diagnostic: Diagnostic) {
        self.0.insert(PlacedDiagnostic { place: None, diagnostic, earlier: None });
    }

    /// Whether all is well.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of them are in such sources.
    pub(super) fn are_of(&self, source: impl Fn(usize) -> bool) -> bool {
        self.0.iter().all(|fault| fault.place.as_ref().is_some_and(|place| source(place.source)))
    }

    /// The text for people: a paragraph for each fault.
    pub(super) fn render(&self, sources: &[Source], coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let paragraphs = self.0.iter().map(|fault| renderer.render(&[fault.group(sources)]));
        paragraphs.collect::<Vec<_>>().join("\n\n")
    }
}

impl PlacedDiagnostic {
    fn group<'a>(&'a self, sources: &'a [Source]) -> Group<'a> {
        let Diagnostic { title, help } = &self.diagnostic;
        let title = Level::ERROR.primary_title(title);
        let Some(place) = &self.place else {
            return Group::with_title(title).element(Level::HELP.message(help));
        };
        let here = (AnnotationKind::Primary, place, help);
        match &self.earlier {
            None => title.element(snippet(sources, &[here])),
            Some((earlier, note)) => {
                let there = (AnnotationKind::Context, earlier, note);
                match earlier.source == place.source {
                    true => title.element(snippet(sources, &[there, here])),
                    false => title.element(snippet(sources, &[here])).element(snippet(sources, &[there])),
                }
            }
        }
    }
}

/// Cites the places of one source, each with its label. The renderer looks at every line that it is given, so it is not
/// given the whole source for every fault.
fn snippet<'a>(
    sources: &'a [Source],
    marks: &[(AnnotationKind, &Place, &'a String)],
) -> Snippet<'a, Annotation<'a>> {
    let Some(source) = marks.first().map(|(_, place, _)| &sources[place.source]) else {
        return Snippet::source("");
    };
    let start = marks.iter().map(|(_, place, _)| place.start).min().unwrap_or(0);
    let end = marks.iter().map(|(_, place, _)| place.end).max().unwrap_or(0);
    let (first_line, lines) = source.lines_around(&(start..end));
    let annotations = marks.iter().map(|(kind, place, label)| {
        let annotation = kind.span(place.start - lines.start..place.end - lines.start);
        if label.is_empty() { annotation } else { annotation.label(label.as_str()) }
    });
    let annotations: Vec<_> = annotations.collect();
    let text = citable(&source.text[lines]);
    Snippet::source(text).line_start(first_line).path(visible(source.name.clone())).annotations(annotations)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sources() -> Vec<Source> {
        vec![
            Source::file("echod.toml", "a = 1\nmax-conections = 100\n"),
            Source::url("--listen", "udp:a?mode=x"),
        ]
    }

    #[test]
    fn a_fault_cites_its_line() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.push(
            Place::new(0, 6..20),
            Diagnostic::new("unknown key `max-conections`", "did you mean `max-connections`?"),
        );
        let expected = "\
error: unknown key `max-conections`
 --> echod.toml:2:1
  |
2 | max-conections = 100
  | ^^^^^^^^^^^^^^ did you mean `max-connections`?";
        assert_eq!(diagnostics.render(&sources(), false), expected);
        assert!(diagnostics.render(&sources(), true).contains('\u{1b}'));
    }

    /// Neither in what is cited nor in what is said of it: U+009B begins a command to a terminal as Escape does.
    #[test]
    fn no_control_character_reaches_the_terminal() {
        let text = "a = \x1b[1m\u{9b}1m\x7f\n";
        let mut diagnostics = Diagnostics::default();
        diagnostics.push(Place::new(0, 4..12), Diagnostic::new(text, text));
        diagnostics.push_whole(Diagnostic::new("t", text));
        let told = diagnostics.render(&[Source::file("\u{9b}.toml", text)], false);
        assert!(told.chars().all(|char| char == '\n' || !char.is_control()), "{told:?}");
        assert!(told.contains("a = ␛[1m¿1m"), "{told}");
    }

    #[test]
    fn faults_are_sorted_and_count_once() {
        let mut diagnostics = Diagnostics::default();
        for start in [9, 2, 9] {
            diagnostics.push(Place::new(0, start..start + 1), Diagnostic::new("t", ""));
        }
        diagnostics.push_whole(Diagnostic::new("nothing to serve", "add a listener"));
        let text = diagnostics.render(&sources(), false);
        assert_eq!(text.matches("error").count(), 3);
        assert!(text.starts_with("error: nothing to serve\n |\n = help: add a listener\n"), "{text}");
        assert!(text.find(":1:3").unwrap() < text.find(":2:4").unwrap());
    }

    #[test]
    fn two_places_are_shown_together() {
        let mut diagnostics = Diagnostics::default();
        diagnostics.push_clash(
            Place::new(0, 10..14),
            Diagnostic::new("twice", "second"),
            Place::new(0, 0..1),
            "first",
        );
        diagnostics.push_clash(
            Place::new(1, 0..4),
            Diagnostic::new("twice", "second"),
            Place::new(0, 0..1),
            "first",
        );
        let text = diagnostics.render(&sources(), false);
        assert_eq!(text.matches("- first").count(), 2, "{text}");
        assert_eq!(text.matches("^ second").count(), 2, "{text}");
        assert!(text.contains("::: echod.toml:1:1"), "{text}");
    }

    /// What the renderer makes of the whole text.
    fn rendered_from_the_whole(source: &Source, marks: &[(AnnotationKind, &Place, &str)]) -> String {
        let annotations: Vec<_> = marks
            .iter()
            .map(|(kind, place, label)| kind.span(place.start..place.end).label(*label))
            .collect();
        let snippet = Snippet::source(&source.text).path(&source.name).annotations(annotations);
        Renderer::plain().render(&[Level::ERROR.primary_title("title").element(snippet)])
    }

    proptest! {
        #[test]
        fn the_lines_around_a_place_are_enough(
            text in "[a\u{e4}\t \r\n]{0,40}\n{0,9}[a\u{e4}\n]{0,40}", from in 0..90_usize, length in 0..30_usize, other in 0..90_usize,
        ) {
            let at = |mut byte: usize| {
                byte = byte.min(text.len());
                while !text.is_char_boundary(byte) {
                    byte -= 1;
                }
                byte
            };
            let sources = [Source::file("f", text.clone())];
            let here = Place::new(0, at(from)..at(from + length));
            let there = Place::new(0, at(other)..at(other + 1));
            let mut diagnostics = Diagnostics::default();
            diagnostics.push(here.clone(), Diagnostic::new("title", "help"));
            let marks = [(AnnotationKind::Primary, &here, "help")];
            prop_assert_eq!(diagnostics.render(&sources, false), rendered_from_the_whole(&sources[0], &marks));
            let mut diagnostics = Diagnostics::default();
            diagnostics.push_clash(here.clone(), Diagnostic::new("title", "help"), there.clone(), "note");
            let marks = [(AnnotationKind::Context, &there, "note"), marks[0]];
            prop_assert_eq!(diagnostics.render(&sources, false), rendered_from_the_whole(&sources[0], &marks));
        }
    }
}
