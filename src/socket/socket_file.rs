//! The file of a unix socket: taken over when stale, owned and permitted as configured, removed only if still ours.
//!
//! Others may write to its directory, so nothing is done to a path that acts on whatever stands there by now: the mode is that of
//! the socket before it is bound, the owner is changed by a descriptor of the file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::AtFlags,
    sys::stat::{Mode, fchmod, umask},
    unistd::{Gid, Uid, fchownat, getegid, geteuid},
};
use socket2::{SockAddr, Socket, Type};

use crate::config;

/// The file of a socket of ours. Dropped, it is removed, unless another file stands in its place by now, or it stays because its
/// socket does.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    id: FileId,
    stays: bool,
    /// Whose it is where the configuration names nobody: the user and the group that the kernel gave it.
    made: (u32, u32),
    /// Where the file is now that had the path before, to be put back unless this one is confirmed.
    pause: Option<Pause>,
}

/// A file that has made way for another one. Dropped, it is put back.
#[derive(Debug)]
struct Pause {
    path: PathBuf,
    now: Option<PathBuf>,
}

/// Device and inode: no two files that exist at the same time have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl SocketFile {
    /// Binds `socket` to `path`. A socket file that nobody serves any more is replaced, and so is `ours`, the file of a socket that
    /// we are about to give up: it is put back unless this one is [confirmed](SocketFile::confirm).
    ///
    /// # Errors
    /// EADDRINUSE if somebody serves it; an error that says so if the path is no socket.
    pub fn bind(
        socket: &Socket,
        address: &SockAddr,
        path: &Path,
        settings: &config::Listener,
        ours: Option<FileId>,
    ) -> io::Result<SocketFile> {
        let mut pause = None;
        if let Err(error) = bind(socket, address, settings) {
            if error.kind() != ErrorKind::AddrInUse {
                return Err(error);
            }
            if ours == Some(FileId::of(&fs::symlink_metadata(path)?)) {
                pause = Some(Pause::put(path)?);
            } else {
                remove_stale(address, path)?;
            }
            bind(socket, address, settings)?;
        }
        let (found, id) = open(path)?;
        let made = found.metadata().map(|found| (found.uid(), found.gid()))?;
        let file = SocketFile { path: std::path::absolute(path)?, id, stays: false, made, pause };
        own(&found, settings, made)?;
        Ok(file)
    }

    /// The file of a socket that an echod before this one has bound to `path`, with the owner and the permissions of now.
    ///
    /// # Errors
    /// If it is not there any more, or another file is.
    pub fn find(path: &Path, id: FileId, settings: &config::Listener) -> io::Result<SocketFile> {
        let path = std::path::absolute(path)?;
        let made = newcomer(&path);
        let file = SocketFile { path, id, stays: true, made, pause: None };
        match file.renew(settings) {
            // Another user's, as it was before: nobody has asked for anything else.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied
                    && settings.socket_user.is_none()
                    && settings.socket_group.is_none() => {}
            renewed => renewed?,
        }
        Ok(file)
    }

    /// Gives it the owner and the permissions that the configuration says now.
    ///
    /// # Errors
    /// If it is not there any more, or another file is.
    pub fn renew(&self, settings: &config::Listener) -> io::Result<()> {
        let (found, now) = open(&self.path)?;
        if now != self.id {
            return Err(io::Error::other("another file has its path"));
        }
        if found.metadata()?.mode() & 0o7777 != settings.socket_mode {
            // This name is that of the file which is open. (A descriptor that only stands for a file cannot be asked.)
            let name = format!("/proc/self/fd/{}", found.as_raw_fd());
            fs::set_permissions(name, fs::Permissions::from_mode(settings.socket_mode))?;
        }
        own(&found, settings, self.made)
    }

    /// Removes the file at `path` if it is that one.
    pub fn remove(path: &Path, id: FileId) {
        drop(SocketFile { path: path.to_owned(), id, stays: false, made: (0, 0), pause: None });
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has its path still.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == self.id)
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Removes for good what it has replaced.
    pub fn confirm(&mut self) {
        self.pause.take().into_iter().for_each(Pause::remove);
    }

    /// Says whether it stays when it is dropped.
    pub fn stay(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Whether it is the file at that path.
    pub fn is_at(&self, path: &Path) -> bool {
        std::path::absolute(path).is_ok_and(|path| path == self.path)
    }
}

impl Pause {
    fn put(path: &Path) -> io::Result<Pause> {
        let path = std::path::absolute(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let now = path.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::rename(&path, &now)?;
        Ok(Pause { path, now: Some(now) })
    }

    fn remove(mut self) {
        // Whoever comes by its name is refused, even if it stays.
        let _ = self.now.take().map(fs::remove_file);
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        // In one step with the end of what has taken its place.
        let _ = self.now.take().map(|now| fs::rename(now, &self.path));
    }
}

impl FileId {
    fn of(found: &Metadata) -> FileId {
        FileId { device: found.dev(), inode: found.ino() }
    }
}

/// Binds a socket, whose file has its mode from the beginning.
fn bind(socket: &Socket, address: &SockAddr, settings: &config::Listener) -> io::Result<()> {
    fchmod(socket, Mode::from_bits_truncate(settings.socket_mode))?;
    // It is the whole process's. No other thread makes files.
    let before = umask(Mode::empty());
    let bound = socket.bind(address);
    umask(before);
    bound
}

/// The socket file at `path`, open only to be looked at and to be given away.
fn open(path: &Path) -> io::Result<(File, FileId)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    match found.file_type().is_socket() {
        true => Ok((file, FileId::of(&found))),
        false => Err(io::Error::other("another file has taken its path")),
    }
}

/// To whom the kernel gives a file that we make at `path`.
fn newcomer(path: &Path) -> (u32, u32) {
    let directory = path.parent().and_then(|parent| fs::metadata(parent).ok());
    let inherits = directory.filter(|found| found.mode() & libc::S_ISGID != 0);
    (geteuid().as_raw(), inherits.map_or(getegid().as_raw(), |found| found.gid()))
}

/// Gives a file the owner and the group that the configuration says, or that it was `made` with, unless it has them: then nothing need
/// be allowed.
fn own(file: &File, settings: &config::Listener, made: (u32, u32)) -> io::Result<()> {
    let found = file.metadata()?;
    let wanted = |owner: &Option<config::Owner>, made| owner.as_ref().map_or(made, |owner| owner.id);
    let user = Some(wanted(&settings.socket_user, made.0)).filter(|&user| user != found.uid());
    let group = Some(wanted(&settings.socket_group, made.1)).filter(|&group| group != found.gid());
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    Ok(fchownat(file, "", user.map(Uid::from_raw), group.map(Gid::from_raw), AtFlags::AT_EMPTY_PATH)?)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.pause.is_none()
            && !self.stays
            && fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == self.id)
        {
            // Nothing is left to be done if that fails, and the next start takes a stale file over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes `path` if it is a socket whose server is gone.
fn remove_stale(address: &SockAddr, path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(io::Error::other("the path exists and is not a socket; move it away, or choose another"));
    }
    let in_use = || Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    let id = FileId::of(&found);
    if is_served(address)? || FileId::of(&fs::symlink_metadata(path)?) != id {
        return in_use();
    }
    // Nobody can bind a socket to a file that exists: what is stale stays so. But by now another process may have put its own in
    // this place. So it is moved aside first, where nobody else looks for it.
    let pause = Pause::put(path)?;
    let moved = pause.now.as_ref().map(fs::symlink_metadata).transpose()?;
    if moved.is_none_or(|moved| FileId::of(&moved) != id) {
        return in_use();
    }
    pause.remove();
    Ok(())
}

/// Whether a process has the socket of this file. Connecting with a datagram socket fails by its kind at one of streams, also at
/// one that does not listen yet, and is no client there.
fn is_served(address: &SockAddr) -> io::Result<bool> {
    let probe = Socket::new(address.domain(), Type::DGRAM, None)?;
    probe.set_nonblocking(true)?;
    Ok(!probe.connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}
