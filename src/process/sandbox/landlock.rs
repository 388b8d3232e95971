//! The accessible files and directories, as a Landlock ruleset (landlock(7)).
//!
//! A rule applies to an inode and everything beneath it. Files are replaced while the daemon runs (a configuration by its editor,
//! a log by its rotation, a socket file by the next one), so the rules name their directories. Descriptors that were opened
//! before keep their rights. Connecting to the unix socket of another process, such as /dev/log, needs no right.

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

use crate::{
    config::{Address, Config, LogTarget},
    process::sandbox::seccomp::SyscallNeeds,
};

type Rights = BitFlags<AccessFs>;

/// The newest Landlock ABI whose rights are known here; rights of later kernels are not restricted.
const KNOWN: ABI = ABI::V7;

/// To read files and list directories.
const READ: Rights = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// To execute programs as well.
const RUN: Rights = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});

/// To create a log file and write to it.
pub(super) const LOG: Rights = make_bitflags!(AccessFs::{WriteFile | MakeReg});

/// To create a unix socket, move a stale one away, and remove it.
pub(super) const SOCKET: Rights = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// To remove a file.
const REMOVE: Rights = make_bitflags!(AccessFs::{RemoveFile});

/// Read by the C library to look up hosts and users and to tell the time, and by the standard library to count the usable cores.
/// The whole of /etc, because files there are replaced; its secrets are not readable for the daemon's user.
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

/// Libraries that a name look-up may load, beside those that are loaded already.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// The only connection over TCP goes to a name server, whose answer may be too long for a datagram.
const DOMAIN: u16 = 53;

/// The rules in effect.
pub(super) struct FsRules {
    /// The Landlock ABI.
    version: ABI,
    paths: usize,
    /// The rights by device and inode.
    rights: BTreeMap<(u64, u64), Rights>,
}

/// Restricts this process to the files in use.
///
/// # Errors
/// Why the kernel does not apply the ruleset, and what to do about it.
pub(super) fn restrict(config: &Config, files: &[PathBuf], needs: SyscallNeeds) -> Result<FsRules, String> {
    let (mut rights, mut opened) = (BTreeMap::<_, Rights>::new(), Vec::new());
    for (path, of_path) in rules(config, files, needs) {
        // A path that does not exist needs no rule.
        let (Ok(found), Ok(descriptor)) = (fs::metadata(&path), PathFd::new(&path)) else { continue };
        // A pipe, such as /dev/stderr may be, is in no directory, and can always be reopened.
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
    // Binding to TCP ports is not restricted, because a reload may add ports. Neither are abstract sockets: clients and the
    // service manager use them.
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

/// The paths in use, with their rights.
fn rules(config: &Config, files: &[PathBuf], needs: SyscallNeeds) -> BTreeMap<PathBuf, Rights> {
    let mut rules = BTreeMap::<PathBuf, Rights>::new();
    let mut allow = |path: PathBuf, rights| *rules.entry(path).or_default() |= rights;
    SYSTEM.into_iter().chain(LIBRARIES).for_each(|path| allow(path.into(), READ));
    allow("/dev/null".into(), READ | AccessFs::WriteFile);
    let links = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime"].map(PathBuf::from);
    files.iter().chain(&links).flat_map(|file| directories(file)).for_each(|path| allow(path, READ));
    let run = if needs.forking { RUN } else { READ };
    loaded().into_iter().for_each(|directory| allow(directory, run));
    if needs.forking {
        allow("/proc/self/exe".into(), RUN);
    }
    if let Some(path) = &config.daemon.pid_file {
        allow(directory(path), REMOVE);
    }
    if let (LogTarget::File, Some(path)) = (config.log.target, &config.log.file) {
        // Also the file itself: /dev/stderr does not live in its directory.
        allow(path.clone(), LOG);
        allow(directory(path), LOG);
    }
    for address in config.listeners.iter().flat_map(|listener| &listener.address) {
        if let Address::Path(path) = address {
            allow(directory(path), SOCKET);
        }
    }
    for endpoint in config.observe.address.iter() {
        if let Address::Path(path) = endpoint.address() {
            allow(directory(path), REMOVE);
        }
    }
    rules
}

/// The directory of a file and, if it is a symbolic link, that of its target: a replaced file of the same name must be readable
/// too. A file in the root directory stands for itself, because everything is beneath the root.
fn directories(file: &Path) -> Vec<PathBuf> {
    let real = fs::canonicalize(file).ok();
    let directory_of = |file: &Path| {
        let directory = directory(file);
        let is_root = fs::canonicalize(&directory).is_ok_and(|directory| directory == Path::new("/"));
        if is_root { file.to_owned() } else { directory }
    };
    std::iter::once(directory_of(file)).chain(real.as_deref().map(directory_of)).collect()
}

pub(super) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => ".".into(),
    }
}

/// The directories of the loaded libraries, including the dynamic loader, from lines such as
/// `7f0-7f5 r-xp 00001000 fe:00 4711 /usr/lib/libc.so.6`.
fn loaded() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = std::env::current_exe().ok();
    let code = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')));
    let files = code.filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    files.filter(|file| own.as_deref() != Some(*file)).map(directory).collect()
}

impl FsRules {
    /// Whether a file may be created at `path`. A directory that does not exist is reported elsewhere.
    pub(super) fn admits(&self, path: &Path, wanted: Rights) -> bool {
        let Ok(real) = fs::canonicalize(directory(path)) else { return true };
        let granted = real.ancestors().chain([path]).filter_map(|path| fs::metadata(path).ok());
        let granted = granted.filter_map(|file| self.rights.get(&(file.dev(), file.ino())));
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
        SyscallNeeds { forking, io_uring: false, offload: false }
    }

    #[test]
    fn directories_have_the_rights_of_their_use() {
        let (_dir, config) = config(
            "[daemon]\npid-file = '/run/echod/pid'\n[log]\ntarget = 'file'\nfile = '/var/log/echod/log'\n",
        );
        let rules = rules(&config, &["/etc/echod/echod.toml".into()], needs(false));
        let of = |path: &str| rules.get(Path::new(path)).copied().unwrap_or_default();
        assert_eq!(of("/run/echod"), SOCKET | REMOVE);
        assert_eq!(of("/var/log/echod"), LOG);
        assert_eq!(of("/etc/echod"), READ);
        assert_eq!(of("/"), Rights::empty());
        // No path is executable, and no path that is only read is writable.
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
        assert_eq!(directories(Path::new("/echod.toml")), [Path::new("/echod.toml")]);
        assert_eq!(directories(Path::new("/nowhere/echod.toml")), [Path::new("/nowhere")]);
        assert_eq!(directory(Path::new("echod.toml")), Path::new("."));
    }
}
