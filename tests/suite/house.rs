//! The rules of the house that no compiler checks: who may import whom, where unsafe code may stand and what stands above
//! it, and how long a file may be.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every module of the crate, the lowest first: each may import only those before it. ARCHITECTURE.md has the same list.
const ROOMS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("config", &[]),
    ("service", &[]),
    ("report", &[]),
    ("process", &[]),
    ("access", &[]),
    ("socket", &[]),
    ("stream", &[]),
    ("serve", &[]),
    ("modes", &[]),
    ("command", &[]),
    ("daemon", &[]),
    ("lib", &[]),
];

/// No file is to grow into something that nobody reads to its end. A table of keys is read by the row.
const LONGEST: usize = 350;
const TABLE: &str = "src/config/listener.rs";

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for file in sources() {
        let module = module_of(&file);
        if module == "main" {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("`{module}` has no place in ROOMS"));
        for imported in imports(&code(&file)) {
            let other = layer(&imported).unwrap_or_else(|| panic!("`{imported}` has no place in ROOMS"));
            if other <= own {
                continue;
            }
            wrong.push(format!("{} imports `{imported}`", name(&file)));
        }
    }
    assert!(wrong.is_empty(), "these imports point up: {wrong:#?}");
}

#[test]
fn unsafe_code_is_fenced_and_explained() {
    let mut wrong = Vec::new();
    for file in sources() {
        let fenced = module_of(&file) == "sys";
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let place = || format!("{}:{}: {line}", name(&file), number + 1);
            match unsafe_word(line) {
                Some(_) if !fenced => wrong.push(format!("not under src/sys: {}", place())),
                Some("block" | "impl") if !is_explained(&lines[..number]) => {
                    wrong.push(format!("no SAFETY comment: {}", place()));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_source_file_is_too_long() {
    let length = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    let long: Vec<_> = sources()
        .iter()
        .map(|file| (length(file), name(file)))
        .filter(|(lines, name)| *lines > LONGEST && name != TABLE)
        .collect();
    assert!(long.is_empty(), "more than {LONGEST} lines: {long:?}");
}

fn layer(module: &str) -> Option<usize> {
    ROOMS.iter().position(|(room, modules)| *room == module || modules.contains(&module))
}

/// The module right under the root of the crate that `file` belongs to.
fn module_of(file: &Path) -> String {
    let name = name(file);
    let first = name["src/".len()..].split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

/// The text of `file` without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first name of every path that begins at the root of the crate, those in `use crate::{...}` too.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, root) in code.match_indices("crate::") {
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            None => _ = found.insert(word(rest)),
            Some(group) => found.extend(members(group).iter().map(|member| word(member.trim_start()))),
        }
    }
    found.remove("");
    found
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

/// What follows the word `unsafe` in a line of code, if it is there.
fn unsafe_word(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    let (before, after) = code.split_once("unsafe")?;
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    if before.ends_with(joins) || after.starts_with(joins) {
        return None;
    }
    match after.trim_start() {
        after if after.starts_with('{') => Some("block"),
        after if after.starts_with("impl") => Some("impl"),
        _ => Some("declaration"),
    }
}

/// Whether the lines `above` end in a comment about safety; attributes may stand between.
fn is_explained(above: &[&str]) -> bool {
    let comment = above.iter().rev().skip_while(|line| line.starts_with("#["));
    comment.take_while(|line| line.starts_with("//")).any(|line| line.contains("SAFETY:"))
}

/// Every file under src.
fn sources() -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root().join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 30, "these cannot be all the files: {files:?}");
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `src/sys/fork.rs`.
fn name(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}
