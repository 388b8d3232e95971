//! Giving up root: after every socket is bound and before the first byte is served, irrevocably, and verified.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use log::{Level, info, log, warn};
use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{
        AccessFlags, Gid, Uid, User, access, fchown, geteuid, getgroups, getresgid, getresuid, setgroups,
        setresgid, setresuid,
    },
};
use socket2::Socket;

use crate::{
    config::{self, Address, Config, Mode},
    report::{
        error::{Exit, Failure},
        log_event::LogEvent,
        logging,
    },
};

/// Descriptors of the daemon itself.
const OWN: u64 = 32;

/// Descriptors of a listener, apart from those of its connections, sockets and event loops: connection slots, wakers, pipes.
const OF_LISTENER: u64 = 16;

/// Descriptors of an event loop: a poller, a waker for free slots, a waker for the watchdog, a timer.
const OF_LOOP: u64 = 4;

/// Descriptors of an event loop beyond that where there is a plan of faults: a timer, and what tells of hang-ups.
const OF_HELD: u64 = 2;

/// Descriptors of a socket: its own, and the duplicate for the next generation.
const OF_SOCKET: u64 = 2;

/// Changes to the configured user and group, if there are any. `public` is an address that other machines can reach, and `files`
/// are the socket files. The `sockets` change their owner too: the kernel lets only sockets of one user share a port, which a
/// reload needs when it widens an address.
pub fn give_up<'a>(
    config: &Config,
    public: Option<&str>,
    sockets: impl Iterator<Item = &'a Socket>,
    files: &[PathBuf],
) -> Result<(), Failure> {
    if let Some((user, group)) = wanted(&config.daemon)?.filter(|&(user, group)| !has_ids(user, group)) {
        change_user(config, user, group, sockets)?;
        if !user.is_root() {
            warn_of_files_left(user, files.iter().chain(&config.daemon.pid_file));
        }
    }
    if let Some(address) = public.filter(|_| geteuid().is_root()) {
        warn!(
            event = LogEvent::PrivilegesKept, address;
            "serving {address} as root: set `user` in [daemon] to give that up once all sockets are bound"
        );
    }
    Ok(())
}

fn change_user<'a>(
    config: &Config,
    user: Uid,
    group: Gid,
    mut sockets: impl Iterator<Item = &'a Socket>,
) -> Result<(), Failure> {
    if !geteuid().is_root() {
        let name =
            config.daemon.user.as_ref().or(config.daemon.group.as_ref()).map_or("", |owner| &owner.name);
        let text = format!(
            "cannot become `{name}`: only root can; start echod as root, or leave `user` and `group` out"
        );
        return Err(Failure::new(Exit::NoPermission, text));
    }
    // The new user has to reopen it after a rotation.
    logging::give_file(user, group).map_err(|error| cannot("give the log file to them", &error))?;
    let given = sockets.try_for_each(|socket| fchown(socket, Some(user), None));
    given.map_err(|error| cannot("give the sockets to them", &error.into()))?;
    set_ids(user, group).map_err(|error| cannot("give up root", &error.into()))?;
    verify(user, group)?;
    match user.is_root() {
        true => {
            info!(
                event = LogEvent::PrivilegesDropped, user = user.as_raw(), group = group.as_raw();
                "changed group to {group}, no other groups; still root (uid 0)"
            )
        }
        false => {
            info!(
                event = LogEvent::PrivilegesDropped, user = user.as_raw(), group = group.as_raw();
                "gave up root: now user {user}, group {group}, no other groups"
            )
        }
    }
    Ok(())
}

/// Warns about files that the new user cannot remove. The next start as root takes them over.
fn warn_of_files_left<'a>(user: Uid, files: impl Iterator<Item = &'a PathBuf>) {
    let left: Vec<String> =
        files.filter(|file| !may_remove(user, file)).map(|file| file.display().to_string()).collect();
    if !left.is_empty() {
        let left = left.join(", ");
        warn!(
            event = LogEvent::FilesLeft, user = user.as_raw(), files = left.as_str();
            "cannot remove {left} when echod ends: user {user} may not do that in the directory; put what echod makes into \
             a directory of this user"
        );
    }
}

fn may_remove(user: Uid, file: &Path) -> bool {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        return false;
    }
    // In a sticky directory, such as /tmp, only the owner of a file may remove it.
    match (fs::metadata(directory), fs::symlink_metadata(file)) {
        (Ok(directory), Ok(file)) if directory.mode() & libc::S_ISVTX != 0 => {
            [directory.uid(), file.uid()].contains(&user.as_raw())
        }
        _ => true,
    }
}

/// The configured user and group.
fn wanted(daemon: &config::Daemon) -> Result<Option<(Uid, Gid)>, Failure> {
    let group = daemon.group.as_ref().map(|group| Gid::from_raw(group.id));
    let Some(user) = &daemon.user else {
        return Ok(group.map(|group| (geteuid(), group)));
    };
    let uid = Uid::from_raw(user.id);
    let found = || User::from_uid(uid).ok().flatten().map(|user| user.gid);
    match group.or_else(found) {
        Some(group) => Ok(Some((uid, group))),
        None => {
            let text = format!(
                "cannot become user `{}`: it has no entry that names its group; set `group` too",
                user.name
            );
            Err(Failure::new(Exit::Config, text))
        }
    }
}

/// Whether this process has exactly this user and group, whatever its supplementary groups are.
fn has_ids(user: Uid, group: Gid) -> bool {
    let users = getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [user; 3]);
    users && getresgid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [group; 3])
}

/// In this order: without root, neither the supplementary groups nor the group could be changed. Each call affects all threads.
fn set_ids(user: Uid, group: Gid) -> nix::Result<()> {
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

fn verify(user: Uid, group: Gid) -> Result<(), Failure> {
    let others = getgroups().map_err(|error| cannot("verify that root was given up", &error.into()))?;
    let only = others.is_empty() || others == [group];
    let root = Uid::from_raw(0);
    let back = !user.is_root() && setresuid(root, root, root) != Err(Errno::EPERM);
    match has_ids(user, group) && only && !back {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Internal,
            "cannot give up root: it could be taken back; the system is at fault",
        )),
    }
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::NoPermission, format!("cannot {what}: {error}"))
}

/// Raises the soft limit of open files to the hard limit: the soft limit only protects programs that use select(2). Logs if the
/// listeners may need more than that.
pub fn use_all_descriptors(config: &Config) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let all = needed(config, |_| true);
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!(
            event = LogEvent::DescriptorsLimited, limit = soft, wanted = hard, error:% = error;
            "cannot raise the limit of open files from {soft} to {hard}: {error}"
        );
    }
    // A privileged process raises the hard limit too.
    if all > hard && setrlimit(Resource::RLIMIT_NOFILE, all, all).is_err() {
        // The default of `max-connections` is a limit that few servers reach, so it only causes a debug line.
        let asked =
            needed(config, |listener| listener.max_connections != listener.mode.default_max_connections());
        let level = if asked > hard { Level::Warn } else { Level::Debug };
        log!(
            level, event = LogEvent::DescriptorsLimited, limit = hard, wanted = all;
            "the limit of open files is {hard}, but with `max-connections` of all listeners it may take {all}: set \
             LimitNOFILE={all} in its unit or `ulimit -n {all}`, or lower `max-connections`"
        );
    }
}

/// The descriptors that the daemon's own process may need, with the connections of the listeners that `count` selects. (The
/// processes of forking listeners need few descriptors each.)
fn needed(config: &Config, count: impl Fn(&config::Listener) -> bool) -> u64 {
    let of = |listener: &config::Listener| {
        let loops = if listener.mode.is_event_loop() { listener.pool() as u64 } else { 0 };
        let sockets = loops.max(1) * listener.address.iter().map(sockets).sum::<u64>();
        let stream = listener.protocol.is_stream() && listener.mode != Mode::Forking;
        let of_loop = OF_LOOP + if listener.faults.is_some() { OF_HELD } else { 0 };
        OF_LISTENER
            + of_loop * loops
            + OF_SOCKET * sockets
            + if stream && count(listener) { u64::from(listener.max_connections) } else { 0 }
    };
    OWN + config.listeners.iter().map(of).sum::<u64>()
}

/// The sockets of an address. A host name may resolve to several addresses; the reserve of the listener covers them.
fn sockets(address: &Address) -> u64 {
    match address {
        Address::Inet { ports, .. } => ports.len() as u64,
        Address::Path(_) | Address::Abstract(_) => 1,
    }
}
