//! What the documents for students and contributors cite of the source is there: every file, function, type, macro and constant
//! between backticks, and every function in the file that stands beside it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::root;

/// Names of others: the kernel's, Python's.
const FOREIGN: &[&str] = &[
    "IORING_CQE_F_SOCK_NONEMPTY",
    "IOSQE_CQE_SKIP_SUCCESS",
    "IPV6_FREEBIND",
    "IP_PMTUDISC_DO",
    "IP_PMTUDISC_DONT",
    "RWF_NOWAIT",
    "SHUT_WR",
    "UDP_GRO",
    "VmRSS",
    "ForkingMixIn",
    "RequestHandlerClass",
    "SystemExit",
    "TCPServer",
    "ThreadingMixIn",
    "UDPServer",
    "UnixDatagramServer",
    "UnixStreamServer",
    "close_request()",
    "finish()",
    "finish_request()",
    "handle()",
    "handle_error()",
    "handle_request()",
    "handle_timeout()",
    "process_request()",
    "serve_forever()",
    "server_close()",
    "service_actions()",
    "setup()",
    "shutdown()",
    "shutdown_request()",
    "verify_request()",
];

#[test]
fn what_documents_cite_is_there() {
    let source = Source::read();
    let (mut missing, mut count) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(root()).unwrap().display();
        for (number, line) in text.lines().enumerate() {
            for cited in cited(line) {
                count += 1;
                if !source.has(cited) {
                    missing.push(format!("{name}:{}: `{cited}`", number + 1));
                }
            }
            for (file, function) in pairs(line) {
                let last = function.rsplit("::").next().unwrap_or(function);
                if source.file(file).is_some_and(|defined| !defined.contains(last)) {
                    missing.push(format!("{name}:{}: {function} is not in {file}", number + 1));
                }
            }
        }
    }
    assert!(count > 300, "these cannot be all: {count}");
    assert!(missing.is_empty(), "cited and not there: {missing:#?}");
}

/// Every file that a document may cite, with what it defines: `name()`, `name!` and `name` of functions, macros and all others.
struct Source {
    files: Vec<(String, BTreeSet<String>)>,
    words: BTreeSet<String>,
}

impl Source {
    fn read() -> Source {
        let (mut files, mut words) = (Vec::new(), BTreeSet::new());
        for path in ["src", "tests"].iter().flat_map(|folder| below(&root().join(folder), "rs")) {
            // What is cited here is not there because of that.
            if path.file_name().is_some_and(|name| name == "citations.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            words.extend(text.split(|c| !is_letter(c)).map(ToOwned::to_owned));
            files.push((path.strip_prefix(root()).unwrap().display().to_string(), definitions(&text)));
        }
        Source { files, words }
    }

    fn has(&self, cited: &str) -> bool {
        if FOREIGN.contains(&cited) {
            return true;
        }
        if cited.contains('/') || cited.ends_with(".rs") {
            return self.file(cited).is_some()
                || root().join(cited).exists()
                || root().join("src").join(cited).exists();
        }
        let (owner, last) =
            cited.rsplit_once("::").map_or((None, cited), |(owner, last)| (Some(owner), last));
        let is_defined = || self.files.iter().any(|(_, defined)| defined.contains(last));
        // A constant, an error number of the kernel, a variant.
        let is_word = owner.is_some() || !last.contains(|c: char| c.is_lowercase());
        let is_there = is_defined() || (is_word && self.words.contains(last));
        is_there && owner.is_none_or(|owner| self.words.contains(owner))
    }

    /// What the file defines that `cited` names: as a path in the repository, in `src`, or by its name alone.
    fn file(&self, cited: &str) -> Option<&BTreeSet<String>> {
        let ends = format!("/{cited}");
        let is_it = |name: &str| name == cited || name == format!("src{ends}");
        let found = self.files.iter().find(|(name, _)| is_it(name));
        let by_name = || self.files.iter().find(|(name, _)| !cited.contains('/') && name.ends_with(&ends));
        found.or_else(by_name).map(|(_, defined)| defined)
    }
}

fn definitions(text: &str) -> BTreeSet<String> {
    let mut words = text.split(|c: char| c.is_whitespace() || "(<:;={".contains(c));
    let mut defined = BTreeSet::new();
    while let Some(word) = words.next() {
        let mut name = || words.by_ref().find(|word| !word.is_empty() && *word != "fn").unwrap_or_default();
        match word {
            "fn" => _ = defined.insert(format!("{}()", name())),
            "macro_rules!" => _ = defined.insert(format!("{}!", name())),
            // `const fn`, too.
            "const" => {
                let name = name();
                defined.extend([format!("{name}()"), name.to_owned()]);
            }
            "struct" | "enum" | "trait" | "type" | "static" | "union" => {
                _ = defined.insert(name().to_owned())
            }
            _ => {}
        }
    }
    defined
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What a line cites of the source: words between backticks that look like it, and those of a road (`file.rs  function()`).
fn cited(line: &str) -> Vec<&str> {
    let words = line.split('`').skip(1).step_by(2);
    let road = road(line).into_iter().flat_map(|(file, function)| [file, function]);
    words.filter(|word| is_citation(word)).chain(road).collect()
}

fn is_citation(word: &str) -> bool {
    let name = word.strip_suffix("()").or_else(|| word.strip_suffix('!')).unwrap_or(word);
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if word.ends_with(".rs") || word.starts_with("src/") || word.starts_with("tests/") {
        // `src/service/NAME.rs` is a file that there is to be.
        return word.chars().all(is_path) && !word.contains("NAME");
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(is_name) || name.ends_with(':') {
        return false;
    }
    let last = name.rsplit("::").next().unwrap_or(name);
    let is_upper = last.starts_with(|c: char| c.is_ascii_uppercase()) && last.len() > 1;
    name.len() < word.len() || (is_upper && !last.chars().all(|c| c.is_ascii_digit()))
}

/// Files and functions that stand beside each other: in a row of a table, in a road, and as `function()` in `file.rs`.
fn pairs(line: &str) -> Vec<(&str, &str)> {
    let mut pairs: Vec<_> = road(line).into_iter().collect();
    let words: Vec<&str> = line.split('`').collect();
    for (at, beside) in words.iter().enumerate().skip(2).step_by(2) {
        let Some(after) = words.get(at + 1) else { break };
        let before = words[at - 1];
        match beside.trim() {
            "in" if before.ends_with("()") && after.ends_with(".rs") => pairs.push((after, before)),
            "|" if before.ends_with(".rs") && after.ends_with("()") => pairs.push((before, after)),
            _ => {}
        }
    }
    pairs
}

/// `    modes/threading.rs       stream()    accept a client ...`
fn road(line: &str) -> Option<(&str, &str)> {
    let mut words = line.strip_prefix("    ")?.split_whitespace();
    let (file, function) = (words.next()?, words.next()?);
    (file.ends_with(".rs") && function.ends_with("()")).then_some((file, function))
}

fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("ARCHITECTURE.md"), root().join("CONTRIBUTING.md")];
    found
        .extend(["docs/learn", "docs/internals"].iter().flat_map(|folder| below(&root().join(folder), "md")));
    found
}

fn below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|other| other == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn what_is_cited_is_found_in_a_line() {
    assert_eq!(
        cited("`a/b.rs` and `go()`, `Type`, `Type::new()`, `EAGAIN`, `accept(2)`, `mode`, `make!`"),
        ["a/b.rs", "go()", "Type", "Type::new()", "EAGAIN", "make!"]
    );
    assert_eq!(cited("    a/b.rs   go()   what it does"), ["a/b.rs", "go()"]);
    assert_eq!(pairs("| `a/b.rs` | `go()` | what `other()` does |"), [("a/b.rs", "go()")]);
    assert_eq!(pairs("see `go()` in `a/b.rs`, not `c.rs`"), [("a/b.rs", "go()")]);
    let text = "pub const fn go<T>(x: T) {} fn going() {} pub struct Type<'a>(u8); macro_rules! make { const ONE: u8";
    assert_eq!(Vec::from_iter(definitions(text)), ["ONE", "ONE()", "Type", "go", "go()", "going()", "make!"]);
}
