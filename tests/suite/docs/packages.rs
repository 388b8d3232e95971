//! What packaging/ says about the packages, held against what there is to install. Whether they can be installed is for
//! packaging/test-packages.sh to see.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::harness::Launch;

/// Folders of files that users are to have, each of them.
const SHIPPED: [&str; 12] = [
    "systemd",
    "man",
    "completions",
    "config",
    "docs/operate",
    "docs/reference",
    "docs/learn",
    "docs/internals",
    "packaging/kubernetes",
    "packaging/prometheus",
    "packaging/grafana",
    "tests/recipes",
];

#[test]
fn the_packages_are_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("packaging/debian/changelog");
    let latest = changelog.lines().next().unwrap();
    assert!(latest.starts_with(&format!("echod ({version}-1) ")), "{latest}");
    let spec = read("packaging/echod.spec");
    let told = spec.lines().find_map(|line| line.strip_prefix("Version:")).map(str::trim);
    assert_eq!(told, Some(version));
    let latest = spec.lines().find(|line| line.starts_with("* ")).unwrap();
    assert!(latest.ends_with(&format!(" - {version}-1")), "{latest}");
}

/// The fuzz targets have a lock file of their own, and a step of CI that takes it as it is.
#[test]
fn the_lock_of_the_fuzz_targets_knows_every_dependency() {
    let manifest: Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let lock: Table = toml::from_str(&read("fuzz/Cargo.lock")).unwrap();
    let packages = lock["package"].as_array().unwrap();
    let own = packages.iter().find(|package| package["name"].as_str() == Some("echod")).unwrap();
    let locked: BTreeSet<_> =
        own["dependencies"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let named = |(name, what): (&String, &Value)| {
        what.get("package").and_then(Value::as_str).unwrap_or(name.as_str()).to_owned()
    };
    let wanted = manifest["dependencies"].as_table().unwrap().into_iter().map(named);
    // Where there are several versions, a lock file writes that of each behind its name.
    let is_missing =
        |name: &String| !locked.iter().any(|locked| locked.split(' ').next() == Some(name.as_str()));
    let missing: Vec<_> = wanted.filter(is_missing).collect();
    assert!(
        missing.is_empty(),
        "not in fuzz/Cargo.lock; run cargo metadata --manifest-path fuzz/Cargo.toml: {missing:?}"
    );
}

#[test]
fn every_file_for_users_is_in_the_deb() {
    let sources: Vec<_> = assets().into_iter().map(|[source, ..]| source).collect();
    let missing = missing(&sources);
    assert!(missing.is_empty(), "not among the assets of package.metadata.deb in Cargo.toml: {missing:?}");
}

/// It takes whole folders; what it then lists is compared with them by rpmbuild.
#[test]
fn every_file_for_users_is_in_the_rpm() {
    let spec = read("packaging/echod.spec");
    let words = spec.split_whitespace().map(|word| word.trim_end_matches(';').to_owned());
    let missing = missing(&words.collect::<Vec<_>>());
    assert!(missing.is_empty(), "not in the %install of packaging/echod.spec: {missing:?}");
}

/// What the README and the documents link to lies beside them where they are installed, too.
#[test]
fn the_packages_have_what_their_documents_link_to() {
    let spec = read("packaging/echod.spec");
    let words: Vec<_> = spec.split_whitespace().map(|word| word.trim_end_matches(';').to_owned()).collect();
    let mut linked = BTreeSet::new();
    let pages = SHIPPED.iter().filter(|folder| folder.starts_with("docs/")).flat_map(|folder| files(folder));
    for page in pages.chain(["README.md".to_owned()]) {
        let text = read(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let targets = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        linked.extend(targets.map(|target| (from_root(&page, target), page.clone())));
    }
    assert!(linked.len() > 50, "these cannot be all the links: {linked:?}");
    for (target, page) in linked {
        let folder = target.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let place = format!("usr/share/doc/echod/{folder}");
        let mut assets = assets().into_iter();
        assert!(
            assets.any(|[source, to, _]| names(&source, &target) && to == place),
            "{target}, which {page} links to, is not in the deb"
        );
        assert!(words.iter().any(|word| names(word, &target)), "{target} is not in the rpm");
    }
}

/// The path from the root of what `page` calls `target`.
fn from_root(page: &str, target: &str) -> String {
    let mut path: Vec<&str> = page.split('/').collect();
    path.pop();
    for step in target.split('/') {
        match step {
            ".." => _ = path.pop().expect("it leads out of the repository"),
            step => path.push(step),
        }
    }
    path.join("/")
}

/// The one file with settings, programs and everything else, as their permissions tell them apart.
#[test]
fn what_the_deb_installs_is_readable_and_no_more() {
    for [source, target, mode] in assets() {
        let expected = if target.starts_with("usr/bin/") { "755" } else { "644" };
        assert_eq!(mode, expected, "{source}");
        let is_of_etc = ["etc/echod/echod.toml", "etc/echod/conf.d/"].contains(&&*target);
        assert!(target.starts_with("usr/") || is_of_etc, "{target}");
    }
}

/// Only the service is enabled and started, and what runs is never stopped before the new files are there.
#[test]
fn the_deb_starts_the_service_alone_and_restarts_it_after_an_upgrade() {
    let deb = deb();
    let mut told = BTreeSet::new();
    for unit in deb["systemd-units"].as_array().unwrap() {
        let name = unit["unit-name"].as_str().unwrap();
        let is_service = name == "echod";
        for key in ["enable", "start", "restart-after-upgrade"] {
            assert_eq!(unit[key].as_bool(), Some(is_service), "{key} of {name}");
        }
        assert_eq!(unit["stop-on-upgrade"].as_bool(), Some(false), "{name}");
        told.insert(name.to_owned());
    }
    let units =
        files("systemd").into_iter().filter(|unit| unit.ends_with(".service") || unit.ends_with(".socket"));
    let units: BTreeSet<_> =
        units.map(|unit| Path::new(&unit).file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(told, units);
}

/// What the container serves is what is published of it, and what is asked whether it is well.
#[test]
fn the_container_is_asked_where_it_serves() {
    let recipe = read("packaging/Containerfile");
    let config: Table = read("packaging/container.toml").parse().unwrap();
    let listeners = config["listener"].as_array().unwrap();
    let mut ports = BTreeSet::new();
    for listener in listeners {
        let protocol = listener["protocol"].as_str().unwrap();
        for address in listener["address"].as_array().unwrap() {
            let (_, port) = address.as_str().unwrap().rsplit_once(':').unwrap();
            ports.insert(format!("{port}/{protocol}"));
        }
    }
    let line = |start: &str| recipe.lines().find_map(|line| line.trim().strip_prefix(start)).unwrap();
    let exposed: BTreeSet<_> = line("EXPOSE ").split(' ').map(str::to_owned).collect();
    assert_eq!(ports, exposed);
    assert_eq!(line("CMD [\"/echod\", \"--probe\", "), "\"tcp://127.0.0.1:7007\"]");
    assert!(ports.contains("7007/tcp"), "{ports:?}");
    assert!(!line("USER ").starts_with('0'));
    let path = root().join("packaging/container.toml");
    Launch::new().args(&["--check", "--config", path.to_str().unwrap()]).run().expect(0, &[]);
}

#[test]
fn what_the_container_is_made_of_is_there() {
    let recipe = read("packaging/Containerfile");
    let copied = recipe.lines().filter_map(|line| line.strip_prefix("COPY "));
    let copied: Vec<_> = copied.filter(|words| !words.starts_with("--from")).collect();
    assert!(copied.len() > 3, "{copied:?}");
    for words in copied {
        let (sources, _) = words.rsplit_once(' ').unwrap();
        sources.split(' ').for_each(|source| assert!(root().join(source).exists(), "{source}"));
    }
}

/// Whether a pattern means that file; a `*` in it stands for any text without a slash.
fn names(pattern: &str, file: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == file,
        Some((start, end)) => {
            let middle = file.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            middle.is_some_and(|middle| !middle.contains('/'))
        }
    }
}

/// The files for users that none of `sources` names.
fn missing(sources: &[String]) -> Vec<String> {
    let all: Vec<_> = SHIPPED.iter().flat_map(|folder| files(folder)).collect();
    assert!(all.len() > 15, "these cannot be all the files: {all:?}");
    all.into_iter().filter(|file| !sources.iter().any(|source| names(source, file))).collect()
}

/// Source, target and mode of everything in the deb.
fn assets() -> Vec<[String; 3]> {
    let deb = deb();
    let assets = deb["assets"].as_array().unwrap().iter();
    let words = |asset: &Value| {
        let words = asset.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
        <[String; 3]>::try_from(words.collect::<Vec<_>>()).unwrap()
    };
    assets.map(words).collect()
}

fn deb() -> Table {
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

/// Every file in `folder` and below it, as a path from the root of the repository.
fn files(folder: &str) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    files
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
