//! Giving up root: after every socket is bound, and before the first byte is served. For good, and verified.

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
        logging,
    },
};

/// Descriptors that the daemon needs beside those of connections.
const OWN: u64 = 32;

/// Descriptors that a listener needs beside those of its connections, sockets and event loops: gates, bells, pipes.
const OF_LISTENER: u64 = 16;

/// Those of an event loop: a poller, a bell for free places and one of the watchdog, an alarm.
const OF_LOOP: u64 = 4;

/// Those of a socket: its own, and the duplicate for the next generation.
const OF_SOCKET: u64 = 2;

/// Becomes the user and group of the configuration, if it names any. `public` is an address that others can reach, and `files` are
/// those of sockets. The `sockets` become theirs, too: the kernel lets only sockets of one user share a port, as they must when a
/// reload widens an address.
pub fn give_up<'a>(
    config: &Config,
    public: Option<&str>,
    sockets: impl Iterator<Item = &'a Socket>,
    files: &[PathBuf],
) -> Result<(), Failure> {
    if let Some((user, group)) = wanted(&config.daemon)?.filter(|&(user, group)| !is(user, group)) {
        become_other(config, user, group, sockets)?;
        if !user.is_root() {
            tell_what_stays(user, files.iter().chain(&config.daemon.pid_file));
        }
    }
    if let Some(address) = public.filter(|_| geteuid().is_root()) {
        warn!("serving {address} as root: set `user` in [daemon] to give that up once all sockets are bound");
    }
    Ok(())
}

fn become_other<'a>(
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
    // It is to be opened again when it was rotated.
    logging::give_file(user, group).map_err(|error| cannot("give the log file to them", &error))?;
    let given = sockets.try_for_each(|socket| fchown(socket, Some(user), None));
    given.map_err(|error| cannot("give the sockets to them", &error.into()))?;
    become_them(user, group).map_err(|error| cannot("give up root", &error.into()))?;
    verify(user, group)?;
    match user.is_root() {
        true => info!("changed group to {group}, no other groups; still root (uid 0)"),
        false => info!("gave up root: now user {user}, group {group}, no other groups"),
    }
    Ok(())
}

/// Names the files that the user which we are now may not remove. The next start as root takes them over.
fn tell_what_stays<'a>(user: Uid, files: impl Iterator<Item = &'a PathBuf>) {
    let stay: Vec<String> =
        files.filter(|file| !may_remove(user, file)).map(|file| file.display().to_string()).collect();
    if !stay.is_empty() {
        let stay = stay.join(", ");
        warn!(
            "cannot remove {stay} when echod ends: user {user} may not do that in the directory; put what echod makes into \
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
    // In a directory such as /tmp everybody removes what is his.
    match (fs::metadata(directory), fs::symlink_metadata(file)) {
        (Ok(directory), Ok(file)) if directory.mode() & libc::S_ISVTX != 0 => {
            [directory.uid(), file.uid()].contains(&user.as_raw())
        }
        _ => true,
    }
}

/// The user and group to become.
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

/// Whether this process is that already, whatever other groups it has.
fn is(user: Uid, group: Gid) -> bool {
    let users = getresuid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [user; 3]);
    users && getresgid().is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [group; 3])
}

/// In this order: without root neither the groups nor the group could be changed any more. Each acts on the whole process.
fn become_them(user: Uid, group: Gid) -> nix::Result<()> {
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

fn verify(user: Uid, group: Gid) -> Result<(), Failure> {
    let others = getgroups().map_err(|error| cannot("verify that root was given up", &error.into()))?;
    let only = others.is_empty() || others == [group];
    let root = Uid::from_raw(0);
    let back = !user.is_root() && setresuid(root, root, root) != Err(Errno::EPERM);
    match is(user, group) && only && !back {
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

/// Raises the limit of open files as far as the administrator allows: the soft limit guards programs that use select(2). Says
/// so where that is less than the listeners may need.
pub fn use_all_descriptors(config: &Config) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let all = needed(config, |_| true);
    if soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        warn!("cannot raise the limit of open files from {soft} to {hard}: {error}");
    }
    // Whoever may, raises the hard limit, too.
    if all > hard && setrlimit(Resource::RLIMIT_NOFILE, all, all).is_err() {
        // The default is a bound that nobody has asked for, and few will ever reach.
        let asked =
            needed(config, |listener| listener.max_connections != listener.mode.default_max_connections());
        let level = if asked > hard { Level::Warn } else { Level::Debug };
        log!(
            level,
            "the limit of open files is {hard}, but with `max-connections` of all listeners it may take {all}: set \
             LimitNOFILE={all} in its unit or `ulimit -n {all}`, or lower `max-connections`"
        );
    }
}

/// How many descriptors the daemon's own process needs at most, if there are the connections of those listeners that `count`.
/// (The processes of forking listeners need few each.)
fn needed(config: &Config, count: impl Fn(&config::Listener) -> bool) -> u64 {
    let of = |listener: &config::Listener| {
        let loops = if listener.mode.is_event_loop() { listener.pool() as u64 } else { 0 };
        let sockets = loops.max(1) * listener.address.iter().map(sockets).sum::<u64>();
        let stream = listener.protocol.is_stream() && listener.mode != Mode::Forking;
        OF_LISTENER
            + OF_LOOP * loops
            + OF_SOCKET * sockets
            + if stream && count(listener) { u64::from(listener.max_connections) } else { 0 }
    };
    OWN + config.listeners.iter().map(of).sum::<u64>()
}

/// How many sockets an address stands for. (That a name may have several addresses is in what a listener has to spare.)
fn sockets(address: &Address) -> u64 {
    match address {
        Address::Inet { ports, .. } => ports.len() as u64,
        Address::Path(_) | Address::Abstract(_) => 1,
    }
}
