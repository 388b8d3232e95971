//! The documents: every relative link leads somewhere, what they cite of the source is there, and README.md and the pages of
//! docs/operate show what really happens.
//!
//! The language of a fenced block says what is done with it:
//!
//! | language | |
//! |---|---|
//! | `console` | A transcript. Commands behind `$ ` are run, and what follows is what they print; those behind `# ` need root and are only shown. A command with an `&` behind it is a server, and what follows is what it logs. The files of tests/recipes are in `recipes`. |
//! | `log` | Lines that the daemons of the page write. |
//! | `toml` | A configuration that passes `--check`. A first line `# NAME.toml` puts it into the directory of the page. |
//! | others | Not looked at. |
//!
//! `...` stands for any text in a line, and alone for any lines; times, process ids and ports of clients are not compared.

mod citations;
pub(crate) mod house;
mod links;
pub(crate) mod packages;
pub(crate) mod pages;
mod transcript;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::transcript::Page;
use crate::harness::Launch;

/// A test for each page, so that they run side by side.
macro_rules! pages {
    ($($name:ident: $file:literal;)*) => {
        $(#[test]
        fn $name() {
            holds($file);
        })*

        const PAGES: &[&str] = &[$($file),*];
    };
}

pages! {
    readme: "README.md";
    index: "docs/operate/README.md";
    access: "docs/operate/access.md";
    container: "docs/operate/container.md";
    fleet: "docs/operate/fleet.md";
    faults: "docs/operate/faults.md";
    first_reflector: "docs/operate/first-reflector.md";
    hardening: "docs/operate/hardening.md";
    install: "docs/operate/install.md";
    limits: "docs/operate/limits.md";
    logging: "docs/operate/logging.md";
    measure: "docs/operate/measure.md";
    measuring: "docs/operate/measuring.md";
    modes: "docs/operate/modes.md";
    observe: "docs/operate/observe.md";
    offload: "docs/operate/offload.md";
    proxy: "docs/operate/proxy.md";
    reload_and_restart: "docs/operate/reload-and-restart.md";
    services: "docs/operate/services.md";
    sockets: "docs/operate/sockets.md";
    systemd: "docs/operate/systemd.md";
    testing: "docs/operate/testing.md";
    troubleshooting: "docs/operate/troubleshooting.md";
    udp_safety: "docs/operate/udp-safety.md";
}

#[test]
fn every_page_for_operators_has_its_test() {
    let mut pages: Vec<_> = fs::read_dir(root().join("docs/operate"))
        .unwrap()
        .map(|entry| format!("docs/operate/{}", entry.unwrap().file_name().display()))
        .collect();
    pages.push("README.md".to_owned());
    let missing: Vec<_> = pages.iter().filter(|page| !PAGES.contains(&page.as_str())).collect();
    assert!(missing.is_empty(), "not in the list of this test: {missing:?}");
}

#[test]
fn the_first_documents_are_short() {
    for (name, most) in [("README.md", 170), ("ARCHITECTURE.md", 120), ("CONTRIBUTING.md", 130)] {
        let lines = fs::read_to_string(root().join(name)).unwrap().lines().count();
        assert!(lines <= most, "{name} has {lines} lines; {most} are enough");
    }
}

/// Checks the configurations of a page, then runs its commands in a network of their own.
fn holds(file: &str) {
    let page = Page::read(&root().join(file));
    for (line, configuration) in page.configurations() {
        let whole = match configuration.contains("[[listener]]") {
            true => configuration.to_owned(),
            false => {
                format!("{configuration}\n[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n")
            }
        };
        let checked = Launch::new().config(&whole).args(&["--check"]).run();
        assert!(checked.status.success(), "{file}:{line} is refused:\n{}", checked.stderr);
    }
    page.run(file);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of the project.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 20, "these cannot be all the documents: {found:?}");
    found
}
