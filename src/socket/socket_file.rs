//! The file of a unix socket: replaced if stale, given its owner and mode, removed only if still ours.
//!
//! Other users may write to its directory, so no step acts on whatever file has the path by then: the mode is set on
//! the socket before bind(2), the owner is changed through a descriptor of the file.

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

/// The file of one of our sockets. On drop it is removed, unless another file has its path by then, or it stays because
/// its socket does.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    id: FileId,
    stays: bool,
    /// User and group that the kernel gave the file, for a configuration that names none.
    made: (u32, u32),
    /// The file that had the path before, under another name; put back unless this one is confirmed.
    displaced: Option<Displaced>,
}

/// A file that was renamed to make way for another one. On drop it is put back.
#[derive(Debug)]
struct Displaced {
    path: PathBuf,
    now: Option<PathBuf>,
}

/// Device and inode: unique among all files that exist at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The number of the file there.
    pub inode: u64,
}

impl SocketFile {
    /// Binds `socket` to `path`. A stale socket file is replaced, and so is `ours`, the file of a socket that we are
    /// about to close: it is put back unless the new one is [confirmed](SocketFile::confirm).
    ///
    /// # Errors
    /// EADDRINUSE if a process serves it; an error that says so if the path is not a socket.
    pub fn bind(
        socket: &Socket,
        address: &SockAddr,
        path: &Path,
        settings: &config::Listener,
        ours: Option<FileId>,
    ) -> io::Result<SocketFile> {
        let mut displaced = None;
        if let Err(error) = bind(socket, address, settings) {
            if error.kind() != ErrorKind::AddrInUse {
                return Err(error);
            }
            if ours == Some(FileId::of(&fs::symlink_metadata(path)?)) {
                displaced = Some(Displaced::put(path)?);
            } else {
                remove_stale(address, path)?;
            }
            bind(socket, address, settings)?;
        }
        let (found, id) = open(path)?;
        let made = found.metadata().map(|found| (found.uid(), found.gid()))?;
        let file = SocketFile { path: std::path::absolute(path)?, id, stays: false, made, displaced };
        own(&found, settings, made)?;
        Ok(file)
    }

    /// The file of a socket that a previous echod bound to `path`, with the owner and mode of the present
    /// configuration.
    ///
    /// # Errors
    /// If it is gone, or another file has its path.
    pub fn find(path: &Path, id: FileId, settings: &config::Listener) -> io::Result<SocketFile> {
        let path = std::path::absolute(path)?;
        let made = newcomer(&path);
        let file = SocketFile { path, id, stays: true, made, displaced: None };
        match file.renew(settings) {
            // It belongs to another user, as before, and the configuration names no owner.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied
                    && settings.socket_user.is_none()
                    && settings.socket_group.is_none() => {}
            renewed => renewed?,
        }
        Ok(file)
    }

    /// Sets the owner and mode of the configuration.
    ///
    /// # Errors
    /// If it is gone, or another file has its path.
    pub fn renew(&self, settings: &config::Listener) -> io::Result<()> {
        let (found, now) = open(&self.path)?;
        if now != self.id {
            return Err(io::Error::other("another file has its path"));
        }
        if found.metadata()?.mode() & 0o7777 != settings.socket_mode {
            // This name leads to the open file. (fchmod(2) fails on a descriptor with O_PATH.)
            let name = format!("/proc/self/fd/{}", found.as_raw_fd());
            fs::set_permissions(name, fs::Permissions::from_mode(settings.socket_mode))?;
        }
        own(&found, settings, self.made)
    }

    /// Removes the file at `path` if it has this identity.
    pub fn remove(path: &Path, id: FileId) {
        drop(SocketFile { path: path.to_owned(), id, stays: false, made: (0, 0), displaced: None });
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this file.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == self.id)
    }

    /// The identity of the file.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Removes for good the file that this one has replaced.
    pub fn confirm(&mut self) {
        self.displaced.take().into_iter().for_each(Displaced::remove);
    }

    /// Sets whether the file stays on drop.
    pub fn stay(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Whether this is the file at `path`.
    pub fn is_at(&self, path: &Path) -> bool {
        std::path::absolute(path).is_ok_and(|path| path == self.path)
    }
}

impl Displaced {
    fn put(path: &Path) -> io::Result<Displaced> {
        let path = std::path::absolute(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let now = path.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::rename(&path, &now)?;
        Ok(Displaced { path, now: Some(now) })
    }

    fn remove(mut self) {
        // Even if the file stays, clients that connect to it are refused.
        let _ = self.now.take().map(fs::remove_file);
    }
}

impl Drop for Displaced {
    fn drop(&mut self) {
        // rename(2) also removes, in the same step, the file that has taken its place.
        let _ = self.now.take().map(|now| fs::rename(now, &self.path));
    }
}

impl FileId {
    fn of(found: &Metadata) -> FileId {
        FileId { device: found.dev(), inode: found.ino() }
    }
}

/// Binds a socket; its file has its mode from the beginning.
fn bind(socket: &Socket, address: &SockAddr, settings: &config::Listener) -> io::Result<()> {
    fchmod(socket, Mode::from_bits_truncate(settings.socket_mode))?;
    // The umask is that of the whole process. No other thread creates files.
    let before = umask(Mode::empty());
    let bound = socket.bind(address);
    umask(before);
    bound
}

/// The socket file at `path`, opened with O_PATH: to look at it, and to change its owner.
fn open(path: &Path) -> io::Result<(File, FileId)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    match found.file_type().is_socket() {
        true => Ok((file, FileId::of(&found))),
        false => Err(io::Error::other("another file has taken its path")),
    }
}

/// User and group that the kernel gives a file that we create at `path`.
fn newcomer(path: &Path) -> (u32, u32) {
    let directory = path.parent().and_then(|parent| fs::metadata(parent).ok());
    let inherits = directory.filter(|found| found.mode() & libc::S_ISGID != 0);
    (geteuid().as_raw(), inherits.map_or(getegid().as_raw(), |found| found.gid()))
}

/// Sets the configured user and group, or those that the file was `made` with, unless it has them: then no privilege is
/// needed.
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
        if self.displaced.is_none()
            && !self.stays
            && fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == self.id)
        {
            // If this fails there is nothing left to do, and the next start replaces a stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes `path` if it is a socket file that no process serves any more.
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
    // No socket can be bound to a file that exists, so a stale file stays stale. But another process may have replaced
    // it by now: so it is renamed first, to a name that no other process looks for, and checked there.
    let displaced = Displaced::put(path)?;
    let moved = displaced.now.as_ref().map(fs::symlink_metadata).transpose()?;
    if moved.is_none_or(|moved| FileId::of(&moved) != id) {
        return in_use();
    }
    displaced.remove();
    Ok(())
}

/// Whether a process has the socket of this file. A connect(2) from a datagram socket fails by its type at a stream
/// socket, even one that does not listen yet, and is no client there.
fn is_served(address: &SockAddr) -> io::Result<bool> {
    let probe = Socket::new(address.domain(), Type::DGRAM, None)?;
    probe.set_nonblocking(true)?;
    Ok(!probe.connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}
