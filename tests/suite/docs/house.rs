//! The rules of the house that no compiler checks: who may import whom, where unsafe code may stand and what stands above
//! it, how long a file may be, and what its types are called.

mod imports;
mod type_names;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::imports::{ModulePath, module_path, paths};

/// The rooms of the crate, the lowest first: each may import only those before it. ARCHITECTURE.md draws them.
const ROOMS: [&str; 16] = [
    "sys", "config", "service", "report", "process", "access", "socket", "offload", "stream", "faults",
    "serve", "modes", "observe", "client", "command", "daemon",
];

/// No file is to grow into something that nobody reads to its end. A table of keys is read by the row.
const LONGEST: usize = 400;
const TABLE: &str = "src/config/keys/listener.rs";

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for file in sources() {
        let path = module_path(&name(&file));
        // The root of the crate only names the rooms, and the program may use them all.
        let Some(room) = path.first() else { continue };
        let own = layer(room).unwrap_or_else(|| panic!("`{room}` has no place in ROOMS"));
        for imported in paths(&code(&file), &path).iter().filter_map(|path| path.first()) {
            let other = layer(imported).unwrap_or_else(|| panic!("`{imported}` has no place in ROOMS"));
            if other > own {
                wrong.push(format!("{} imports `{imported}`", name(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "these imports point up: {wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let of_one = |file: PathBuf| (module_path(&name(&file)), code(&file));
    let is_test = |module: &ModulePath| module.is_empty() || module.iter().any(|name| name == "tests");
    let code = sources().into_iter().map(of_one).filter(|(module, _)| !is_test(module)).collect();
    assert_eq!(imports::circle(&code), None, "each of these imports the next one, and the last the first");
}

#[test]
fn unsafe_code_is_fenced_and_explained() {
    let mut wrong = Vec::new();
    for file in sources() {
        let fenced = name(&file).starts_with("src/sys/");
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

fn layer(room: &str) -> Option<usize> {
    ROOMS.iter().position(|other| *other == room)
}

/// The text of `file` without comments, and without the unit tests at its end.
pub(crate) fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
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
pub(crate) fn sources() -> Vec<PathBuf> {
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
pub(crate) fn name(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}
