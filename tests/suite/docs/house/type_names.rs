//! A type name means one thing in the whole server, so that it can be read, searched and spoken of without its path.

use std::collections::BTreeMap;

use super::{code, name, sources};

/// A room that is read apart from the others: the client is a program of its own, which serves nobody and has words of its own.
const APART: &str = "src/client/";

#[test]
fn no_two_types_have_one_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources().into_iter().filter(|file| !name(file).starts_with(APART)) {
        for declared in code(&file).lines().filter_map(declared) {
            places.entry(declared.to_owned()).or_default().push(name(&file));
        }
    }
    assert!(places.len() > 200, "these cannot be all the types: {:?}", places.keys());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "give each of these types a name of its own: {places:#?}");
}

/// The type that a line declares for other files. One that is private is read beside its use.
fn declared(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind = words.iter().position(|word| ["struct", "enum", "trait", "union", "type"].contains(word))?;
    let (visibility, name) = (&words[..kind], words.get(kind + 1)?);
    let is_visible = visibility.first().is_some_and(|word| word.starts_with("pub"))
        && visibility[1..].iter().all(|word| word.ends_with(')') || *word == "unsafe");
    let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (is_visible && name.starts_with(char::is_uppercase)).then_some(name)
}

#[test]
fn declarations_are_found() {
    let declares = [
        ("pub struct Peer {", Some("Peer")),
        ("    pub(in crate::config) struct List<T> {", Some("List")),
        ("pub(crate) type Table<'a> = Vec<Row<'a>>;", Some("Table")),
        ("pub unsafe trait Atomics {}", Some("Atomics")),
        ("struct Armed;", None),
        ("    type Target = [T];", None),
        ("pub fn kind(type_: Type) -> Type {", None),
        ("        pub enum $name {", None),
    ];
    for (line, name) in declares {
        assert_eq!(declared(line), name, "{line}");
    }
}
