//! The files and directories that can be reached, as a Landlock ruleset (landlock(7)).
//!
//! A rule is about an inode and what is beneath it. Files are replaced while the daemon runs (a configuration by its editor, a log
//! when it is rotated, a socket file by the next one), so the rules are about their directories. What was opened before stays
//! as it is, and a unix socket that others have bound can be connected to by its name, such as /dev/log.

use std::{
    collections::BTreeMap,
    fmt, fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use crate::config::{Address, Config, LogTarget};
use crate::process::sandbox::seccomp::SyscallNeeds;

type Rights = BitFlags<AccessFs>;

/// What is known of Landlock here: rights that a later kernel knows are not asked for.
const KNOWN: ABI = ABI::V7;

/// To look at files and directories.
const READ: Rights = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// To execute programs, too.
const RUN: Rights = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});

/// To make a log file, and write to it.
pub(super) const LOG: Rights = make_bitflags!(AccessFs::{WriteFile | MakeReg});

/// To make a unix socket, to move a stale one aside, and to remove it.
pub(super) const SOCKET: Rights = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// To remove a file.
const REMOVE: Rights = make_bitflags!(AccessFs::{RemoveFile});

/// What the C library reads to look up hosts and users and to tell the time, and the standard library to count the cores that
/// we may use. All of /etc, because files there are replaced; what is secret there is not for our user.
const SYSTEM: [&str; 10] = [
    "/etc",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr/share/zoneinfo",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/nscd",
    "/var/lib/extrausers",
    "/var/lib/sss/mc",
];

/// Where libraries are that are loaded when a name is looked up, beside those that are loaded already.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Over TCP we connect to a name server only, which may say that an answer is too long for a datagram.
const DOMAIN: u16 = 53;

/// What can be reached.
pub(super) struct FsRules {
    /// The number of the kernel's interface.
    version: ABI,
    paths: usize,
    /// By device and inode.
    rights: BTreeMap<(u64, u64), Rights>,
}

/// Leaves no more than the files in use reachable.
///
/// # Errors
/// Says why the kernel does not do it, and what to do.
pub(super) fn restrict(config: &Config, files: &[PathBuf], needs: SyscallNeeds) -> Result<FsRules, String> {
    let (mut rights, mut opened) = (BTreeMap::<_, Rights>::new(), Vec::new());
    for (path, of_path) in rules(config, files, needs) {
        // What is not there need not be reached.
        let (Ok(found), Ok(descriptor)) = (fs::metadata(&path), PathFd::new(&path)) else { continue };
        // A pipe, such as /dev/stderr may be, is nowhere, and can always be opened again.
        if found.file_type().is_fifo() || found.file_type().is_socket() {
            continue;
        }
        let of_path = if found.is_dir() { of_path } else { of_path & AccessFs::from_file(KNOWN) };
        *rights.entry((found.dev(), found.ino())).or_default() |= of_path;
        opened.push((descriptor, of_path));
    }
    let paths = rights.len();
    let status = enforce(opened).map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Err("it is switched off; add `landlock` to `lsm=` of the kernel's command line".to_owned())
        }
        (RulesetStatus::NotEnforced, _) | (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => Err(
            "this kernel is older than Linux 5.13 or was built without it, or the sandbox that echod runs in denies it: allow it there".to_owned(),
        ),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(FsRules { version: effective_abi.min(KNOWN), paths, rights })
        }
    }
}

fn enforce(rules: Vec<(PathFd, Rights)>) -> Result<RestrictionStatus, RulesetError> {
    // New ports are a reload's to bind, so binding is free; abstract names are those of clients and of the service manager.
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::Signal)?
        .create()?
        .add_rule(NetPort::new(DOMAIN, AccessNet::ConnectTcp))?;
    for (descriptor, rights) in rules {
        ruleset = ruleset.add_rule(PathBeneath::new(descriptor, rights))?;
    }
    ruleset.restrict_self()
}

/// What is to be reached, and how.
fn rules(config: &Config, files: &[PathBuf], needs: SyscallNeeds) -> BTreeMap<PathBuf, Rights> {
    let mut rules = BTreeMap::<PathBuf, Rights>::new();
    let mut allow = |path: PathBuf, rights| *rules.entry(path).or_default() |= rights;
    SYSTEM.into_iter().chain(LIBRARIES).for_each(|path| allow(path.into(), READ));
    allow("/dev/null".into(), READ | AccessFs::WriteFile);
    let links = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime"].map(PathBuf::from);
    files.iter().chain(&links).flat_map(|file| places(file)).for_each(|place| allow(place, READ));
    let run = if needs.forking { RUN } else { READ };
    loaded().into_iter().for_each(|directory| allow(directory, run));
    if needs.forking {
        allow("/proc/self/exe".into(), RUN);
    }
    if let Some(path) = &config.daemon.pid_file {
        allow(directory(path), REMOVE);
    }
    if let (LogTarget::File, Some(path)) = (config.log.target, &config.log.file) {
        // The file itself, too: /dev/stderr is not in its directory.
        allow(path.clone(), LOG);
        allow(directory(path), LOG);
    }
    for address in config.listeners.iter().flat_map(|listener| &listener.address) {
        if let Address::Path(path) = address {
            allow(directory(path), SOCKET);
        }
    }
    rules
}

/// Where a file is, and where it is if it is a link: for other files of the same name are to be read as well. One at the root
/// stands for itself, for everything is beneath the root.
fn places(file: &Path) -> Vec<PathBuf> {
    let real = fs::canonicalize(file).ok();
    let place = |file: &Path| {
        let directory = directory(file);
        let is_root = fs::canonicalize(&directory).is_ok_and(|directory| directory == Path::new("/"));
        if is_root { file.to_owned() } else { directory }
    };
    std::iter::once(place(file)).chain(real.as_deref().map(place)).collect()
}

pub(super) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => ".".into(),
    }
}

/// The directories of the libraries that are loaded, the loader itself among them: lines such as
/// `7f0-7f5 r-xp 00001000 fe:00 4711 /usr/lib/libc.so.6`.
fn loaded() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = std::env::current_exe().ok();
    let code = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')));
    let files = code.filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    files.filter(|file| own.as_deref() != Some(*file)).map(directory).collect()
}

impl FsRules {
    /// Whether a file may be made at `path`. Where its directory does not exist somebody else says so.
    pub(super) fn admits(&self, path: &Path, wanted: Rights) -> bool {
        let Ok(real) = fs::canonicalize(directory(path)) else { return true };
        let granted = real.ancestors().chain([path]).filter_map(|place| fs::metadata(place).ok());
        let granted = granted.filter_map(|place| self.rights.get(&(place.dev(), place.ino())));
        granted.fold(Rights::empty(), |sum, rights| sum | *rights).contains(wanted)
    }
}

impl fmt::Display for FsRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "landlock (ABI {}: {} paths)", self.version, self.paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Inputs, load};

    fn config(toml: &str) -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("echod.toml");
        let listener = "[[listener]]\nprotocol = 'unix'\naddress = '/run/echod/echod.sock'\n";
        fs::write(&file, format!("{toml}{listener}")).unwrap();
        let inputs = Inputs { file: Some(file), listen: Vec::new() };
        (dir, load(&inputs, &Environment::default()).unwrap().config)
    }

    fn needs(forking: bool) -> SyscallNeeds {
        SyscallNeeds { forking, io_uring: false }
    }

    #[test]
    fn directories_in_use_have_the_rights_of_their_use() {
        let (_dir, config) = config(
            "[daemon]\npid-file = '/run/echod/pid'\n[log]\ntarget = 'file'\nfile = '/var/log/echod/log'\n",
        );
        let rules = rules(&config, &["/etc/echod/echod.toml".into()], needs(false));
        let of = |path: &str| rules.get(Path::new(path)).copied().unwrap_or_default();
        assert_eq!(of("/run/echod"), SOCKET | REMOVE);
        assert_eq!(of("/var/log/echod"), LOG);
        assert_eq!(of("/etc/echod"), READ);
        assert_eq!(of("/"), Rights::empty());
        // Nobody may execute anything, nor write to what is only read.
        let written = |rights: &Rights| rights.intersects(AccessFs::from_write(KNOWN));
        let written: Vec<_> =
            rules.iter().filter(|(_, rights)| written(rights)).map(|(path, _)| path).collect();
        assert_eq!(
            written,
            ["/dev/null", "/run/echod", "/var/log/echod", "/var/log/echod/log"].map(Path::new)
        );
        assert!(rules.values().all(|rights| !rights.contains(AccessFs::Execute)));
    }

    #[test]
    fn a_forking_listener_may_execute_this_program_and_its_loader() {
        let (_dir, config) = config("");
        let rules = rules(&config, &[], needs(true));
        let run: Vec<_> = rules.iter().filter(|(_, rights)| rights.contains(AccessFs::Execute)).collect();
        assert!(run.iter().any(|(path, _)| *path == Path::new("/proc/self/exe")), "{run:?}");
        assert!(
            run.iter()
                .all(|(path, _)| !["/", "/bin", "/usr/bin", "/usr"].map(Path::new).contains(&path.as_path()))
        );
    }

    #[test]
    fn a_file_at_the_root_stands_for_itself() {
        assert_eq!(places(Path::new("/echod.toml")), [Path::new("/echod.toml")]);
        assert_eq!(places(Path::new("/nowhere/echod.toml")), [Path::new("/nowhere")]);
        assert_eq!(directory(Path::new("echod.toml")), Path::new("."));
    }
}
