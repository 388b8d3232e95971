//! The units of systemd/, read by systemd itself: whether it understands every line, and what it says of their exposure.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::harness::skipped;

const UNITS: &str = "usr/lib/systemd/system";

/// A root directory with nothing in it but our units and what they start.
struct Stage {
    dir: TempDir,
    /// The root directory of the system whose systemd-analyze reads it, if that is not this one.
    reader: Option<OsString>,
}

/// Shows a folder to systemd-analyze in another root directory.
const ELSEWHERE: &str = "mount --bind \"$1\" \"$0/mnt\" && mount -t proc proc \"$0/proc\" && shift && exec chroot \"$0\" systemd-analyze \"$@\"";

impl Stage {
    /// The stage, or a word about why there is none.
    fn set() -> Option<Self> {
        if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped("systemd-analyze is not installed; nothing is said about systemd/");
            return None;
        }
        let stage = Self { dir: tempfile::tempdir().unwrap(), reader: None };
        for program in ["usr/bin/echod", "bin/kill"] {
            stage.write(program, "#!/bin/sh\n");
            fs::set_permissions(stage.path(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        // What every service stands on; its own units are not our business.
        for target in ["sysinit", "basic", "shutdown", "sockets", "multi-user", "network", "nss-lookup"] {
            stage.write(&format!("{UNITS}/{target}.target"), "[Unit]\nDefaultDependencies=no\n");
        }
        for unit in units() {
            stage.write(&format!("{UNITS}/{unit}"), &fs::read_to_string(folder().join(unit)).unwrap());
        }
        Some(stage)
    }

    fn drop_in(&self, name: &str) {
        let text = fs::read_to_string(folder().join("drop-ins").join(name)).unwrap();
        self.write(&format!("etc/systemd/system/echod.service.d/{name}"), &text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs systemd-analyze over the stage.
    fn analyze(&self, arguments: &[&str]) -> Output {
        let (mut analyze, root) = match &self.reader {
            None => (Command::new("systemd-analyze"), self.dir.path()),
            Some(reader) => {
                let mut elsewhere = Command::new("unshare");
                elsewhere.args(["--mount", "sh", "-c", ELSEWHERE]).arg(reader).arg(self.dir.path());
                (elsewhere, Path::new("/mnt"))
            }
        };
        let root = format!("--root={}", root.display());
        analyze.args(arguments).args(["--no-pager", &root]).stdin(Stdio::null()).output().unwrap()
    }

    /// Not a word about any of the units.
    #[track_caller]
    fn verify(&self) {
        let verified = ["verify", "--man=no", "--recursive-errors=no"];
        let names = units();
        let arguments: Vec<_> = verified.into_iter().chain(names.iter().map(String::as_str)).collect();
        let output = self.analyze(&arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success(), "{}", output.status);
    }

    /// Whether the exposure of the service, in tenths, is `most` or less.
    fn is_exposed_up_to(&self, most: u32) -> (bool, String) {
        let threshold = format!("--threshold={most}");
        let output = self.analyze(&["security", "--offline=true", &threshold, "echod.service"]);
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&told).into_owned())
    }
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let Some(stage) = Stage::set() else { return };
    stage.verify();
    stage.drop_in("activated.conf");
    stage.verify();
    stage.drop_in("offload.conf");
    stage.verify();
    // What would be a misspelt line is told: the silence above means something.
    stage.write("etc/systemd/system/echod.service.d/wrong.conf", "[Service]\nRestrt=always\n");
    let told = stage.analyze(&["verify", "--man=no", "--recursive-errors=no", "echod.service"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("Restrt"), "{told:?}");
}

#[test]
fn the_service_is_exposed_to_little_and_the_activated_one_to_less() {
    let Some(stage) = Stage::set() else { return };
    let (fine, told) = stage.is_exposed_up_to(15);
    assert!(fine, "{told}");
    assert!(!stage.is_exposed_up_to(5).0, "binding by itself cannot be as tight: is the threshold read?");
    stage.drop_in("activated.conf");
    let (fine, told) = stage.is_exposed_up_to(5);
    assert!(fine, "{told}");
    let Some(stage) = Stage::set() else { return };
    stage.drop_in("offload.conf");
    let (fine, told) = stage.is_exposed_up_to(17);
    assert!(fine, "{told}");
}

/// A later systemd knows what an earlier one does not. `ECHOD_NEWER_SYSTEMD` names the root directory of a system that has one.
#[test]
fn the_drop_in_for_reloads_is_understood_where_it_can_be() {
    let Some(mut stage) = Stage::set() else { return };
    stage.reader = std::env::var_os("ECHOD_NEWER_SYSTEMD");
    let version = String::from_utf8(stage.analyze(&["--version"]).stdout).unwrap();
    let number: u32 = version.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    if number < 253 {
        skipped(format_args!("systemd {number} does not know Type=notify-reload, 253 does"));
        return;
    }
    stage.drop_in("notify-reload.conf");
    stage.verify();
}

/// Each socket unit passes its sockets to the listener of its name, in the configuration of the service.
#[test]
fn socket_units_and_listeners_have_the_same_names() {
    let config = fs::read_to_string(root().join("config/service.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let listeners = config["listener"].as_array().unwrap();
    let mut listeners: Vec<_> = listeners.iter().map(|listener| listener["name"].as_str().unwrap()).collect();
    listeners.sort_unstable();
    let sockets = units().into_iter().filter(|unit| unit.ends_with(".socket"));
    let mut passed: Vec<_> = sockets
        .map(|unit| {
            let text = fs::read_to_string(folder().join(&unit)).unwrap();
            let name = text.lines().find_map(|line| line.strip_prefix("FileDescriptorName="));
            assert_eq!(Some(unit.as_str()), name.map(|name| format!("echod-{name}.socket")).as_deref());
            name.unwrap().to_owned()
        })
        .collect();
    passed.sort_unstable();
    assert_eq!(passed, listeners);
    let activated = fs::read_to_string(folder().join("drop-ins/activated.conf")).unwrap();
    passed.iter().for_each(|name| assert!(activated.contains(&format!("echod-{name}.socket")), "{name}"));
}

/// The unit offers a place for every socket, and says how many also where systemd does not (before 254).
#[test]
fn the_service_has_room_for_its_sockets() {
    let unit = fs::read_to_string(folder().join("echod.service")).unwrap();
    let number = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.parse::<u32>().ok());
    let room = number("FileDescriptorStoreMax=").unwrap();
    assert_eq!(number("Environment=ECHOD_FDSTORE="), Some(room));
    assert!(room >= 6 * 64, "six addresses, with as many event loops as a large machine has cores");
    // What is kept would be lost with the directory.
    assert!(unit.contains("\nRuntimeDirectoryPreserve=yes\n"));
}

/// What is installed serves this machine, until its administrator says otherwise.
#[test]
fn the_service_and_its_sockets_are_for_this_machine() {
    let config = fs::read_to_string(root().join("config/service.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let mut addresses = Vec::new();
    for listener in config["listener"].as_array().unwrap() {
        match &listener["address"] {
            toml::Value::Array(list) => {
                addresses.extend(list.iter().map(|one| one.as_str().unwrap().to_owned()))
            }
            one => addresses.push(one.as_str().unwrap().to_owned()),
        }
    }
    for unit in units() {
        let text = fs::read_to_string(folder().join(unit)).unwrap();
        let listens = text.lines().filter(|line| line.starts_with("Listen"));
        addresses.extend(listens.map(|line| line.split_once('=').unwrap().1.to_owned()));
    }
    assert_eq!(addresses.len(), 12, "{addresses:?}");
    let near = ["127.0.0.1:", "[::1]:", "%t/", "/run/echod/"];
    let is_near = |address: &String| near.iter().any(|prefix| address.starts_with(prefix));
    assert!(addresses.iter().all(is_near), "{addresses:?}");
}

/// Every service and socket in systemd/.
fn units() -> Vec<String> {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut units: Vec<_> =
        names.filter(|name| name.ends_with(".service") || name.ends_with(".socket")).collect();
    units.sort();
    assert_eq!(units.len(), 5, "{units:?}");
    units
}

fn folder() -> PathBuf {
    root().join("systemd")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
