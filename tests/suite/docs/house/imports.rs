//! Who imports whom: the paths in the code of a file, and the circles that they make.

use std::collections::{BTreeMap, BTreeSet};

/// A module, or an item in one, as the names on the way from the root of the crate.
pub(super) type ModulePath = Vec<String>;

/// The module that a file holds: `src/modes/mod.rs` and `src/modes.rs` are `modes`.
pub(super) fn module_path(file: &str) -> ModulePath {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let root = ["lib", "main"].contains(&path);
    if root { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Every path in the code of `module` that begins with `crate`, `self` or `super`, each member of a group by itself.
pub(super) fn paths(code: &str, module: &[String]) -> Vec<ModulePath> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let (before, rest) = (&code[..at], &code[at..]);
        let start = before.rfind(|c: char| !is_letter(c)).map_or(0, |end| end + 1);
        if before[..start].ends_with("::") {
            continue;
        }
        let base = match &before[start..] {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => parent(module),
            _ => continue,
        };
        expand(base, &rest[2..], &mut found);
    }
    found
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn parent(module: &[String]) -> ModulePath {
    module.split_last().map(|(_, parent)| parent.to_vec()).unwrap_or_default()
}

/// Follows what stands behind `base::`.
fn expand(base: ModulePath, rest: &str, found: &mut Vec<ModulePath>) {
    if let Some(group) = rest.strip_prefix('{') {
        members(group).into_iter().for_each(|member| expand(base.clone(), member.trim_start(), found));
        return;
    }
    let word: String = rest.chars().take_while(|c| is_letter(*c)).collect();
    let path = match word.as_str() {
        "" | "self" => base,
        "super" => parent(&base),
        _ => base.into_iter().chain([word.clone()]).collect(),
    };
    match rest[word.len()..].strip_prefix("::") {
        Some(rest) => expand(path, rest, found),
        None => found.push(path),
    }
}

/// The members of a group of imports, whose opening brace has been read; groups inside them are left whole.
fn members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                return members;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    panic!("a group of imports has no end: {group}");
}

/// A circle of modules, if these imports make one. A module and those inside it may know each other.
pub(super) fn circle(code: &BTreeMap<ModulePath, String>) -> Option<Vec<String>> {
    let holder = |path: ModulePath| {
        let lengths = (1..=path.len()).rev();
        lengths.map(|length| path[..length].to_vec()).find(|module| code.contains_key(module))
    };
    let imports: BTreeMap<&ModulePath, BTreeSet<ModulePath>> = code
        .iter()
        .map(|(module, code)| {
            let others = paths(code, module).into_iter().filter_map(holder);
            (
                module,
                others.filter(|other| !other.starts_with(module) && !module.starts_with(other)).collect(),
            )
        })
        .collect();
    let (mut done, mut way) = (BTreeSet::new(), Vec::new());
    code.keys().find_map(|module| visit(module, &imports, &mut done, &mut way))
}

/// Goes on from `module`, on a `way` on which no module may come twice.
fn visit(
    module: &ModulePath,
    imports: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>,
    done: &mut BTreeSet<ModulePath>,
    way: &mut Vec<ModulePath>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|before| before == module) {
        return Some(way[start..].iter().map(|module| module.join("::")).collect());
    }
    if done.contains(module) {
        return None;
    }
    way.push(module.clone());
    let found = imports[module].iter().find_map(|other| visit(other, imports, done, way));
    way.pop();
    done.insert(module.clone());
    found
}

#[test]
fn paths_are_found_in_groups_and_expressions() {
    let code =
        "use crate::{a::{self, b::C}, d}; use super::e; use crate::f; let x = self::g::H; other::super_::i()";
    let module = ["m", "n"].map(str::to_owned);
    let found: Vec<String> = paths(code, &module).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a", "a::b::C", "d", "m::e", "f", "m::n::g::H"]);
}

#[test]
fn a_circle_is_found_and_a_family_is_none() {
    let file = |module: &str, code: &str| (module.split("::").map(str::to_owned).collect(), code.to_owned());
    let family =
        [file("a", "use crate::a::b::C;"), file("a::b", "use super::D;"), file("c", "use crate::a::D;")];
    assert_eq!(circle(&family.clone().into()), None);
    let more = [file("d", "use crate::e::F;"), file("e", "use crate::c::G; use super::d::H;")];
    let circle = circle(&family.into_iter().chain(more).collect());
    assert_eq!(circle.unwrap(), ["d", "e"]);
}
