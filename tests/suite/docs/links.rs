//! Relative links of all documents, and the headings that they name.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{documents, root};

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).unwrap());
        for target in targets(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let is_known = match (file.exists(), anchor) {
                (false, _) => false,
                (true, "") => true,
                (true, anchor) => !is_document(&file) || headings(&file).contains(anchor),
            };
            if !is_known {
                wrong.push(format!("{}: {target}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(count > 80, "these cannot be all the links: {count}");
    assert!(wrong.is_empty(), "these links lead nowhere: {wrong:#?}");
}

#[test]
fn headings_are_named_as_readers_of_markdown_name_them() {
    assert_eq!(slug("## Ports below 1024, without `root`!"), "ports-below-1024-without-root");
    assert_eq!(slug("# echod --probe"), "echod---probe");
    assert_eq!(targets("see [a](b.md#c), [d](<e f>) and\n[g]: h.md"), ["b.md#c", "e f", "h.md"]);
    assert_eq!(prose("a [b](c) `[d](e)`\n```\n[f](g)\n```\nh"), "a [b](c) \n\nh\n");
}

/// The text without blocks and words of code, in which a bracket is no link.
fn prose(text: &str) -> String {
    let (mut prose, mut is_code) = (String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            prose.push_str(if is_code { "" } else { "\n" });
        } else if !is_code {
            // A link may be around a word of code, and never within one.
            let words = line.split('`').enumerate().filter(|(number, _)| number % 2 == 0);
            words.for_each(|(_, word)| prose.push_str(word));
            prose.push('\n');
        }
    }
    prose
}

/// What the links of a text lead to: `[text](target)` and `[name]: target`.
fn targets(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, mark) in text.match_indices("](") {
        let rest = &text[at + mark.len()..];
        let target = match rest.strip_prefix('<') {
            Some(rest) => rest.split('>').next(),
            None => rest.split([')', ' ']).next(),
        };
        found.extend(target.map(str::to_owned));
    }
    let definitions = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    found.extend(definitions.map(|(_, target)| target.split(' ').next().unwrap_or_default().to_owned()));
    found
}

fn is_document(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
}

/// The anchors of a document; of two headings alike the second one has a number.
fn headings(file: &PathBuf) -> BTreeSet<String> {
    let (mut found, mut is_code) = (BTreeSet::new(), false);
    for line in fs::read_to_string(file).unwrap().lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code || !line.starts_with('#') {
            continue;
        }
        let slug = slug(line);
        let mut names = std::iter::once(slug.clone()).chain((1..).map(|number| format!("{slug}-{number}")));
        found.extend(names.find(|name| !found.contains(name)));
    }
    found
}

/// The anchor of a heading: its letters and digits in lower case, with hyphens for spaces.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}
