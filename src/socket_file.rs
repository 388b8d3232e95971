//! The file of a unix socket: taken over when stale, owned and permitted as configured, removed only if still ours.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::stat::{Mode, fchmod};
use socket2::{SockAddr, Socket};

use crate::config;

/// How long to wait for another process that is binding in the same directory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file of a socket of ours. Dropped, it is removed, unless another file stands in its place by now, or it stays because its
/// socket does.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    id: FileId,
    stays: bool,
    /// Where the file is now that had the path before, to be put back unless this one is confirmed.
    aside: Option<Aside>,
}

/// A file of ours that has made way for another one. Dropped, it is put back.
#[derive(Debug)]
struct Aside {
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
        // Until its owner and mode are right, nobody else may connect.
        fchmod(socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // One process at a time looks and replaces, or two could each remove the other's fresh socket.
        let _lock = lock_directory(path)?;
        let mut aside = None;
        if let Err(error) = socket.bind(address) {
            if error.kind() != ErrorKind::AddrInUse {
                return Err(error);
            }
            let there = FileId::of(&fs::symlink_metadata(path)?);
            if ours == Some(there) {
                aside = Some(Aside::put(path)?);
            } else {
                remove_stale(socket, address, path)?;
            }
            socket.bind(address)?;
        }
        let id = FileId::of(&fs::symlink_metadata(path)?);
        let file = SocketFile { path: std::path::absolute(path)?, id, stays: false, aside };
        permit(path, settings)?;
        Ok(file)
    }

    /// The file of a socket that an echod before this one has bound to `path`, with the owner and the permissions of now.
    ///
    /// # Errors
    /// If it is not there any more, or another file is.
    pub fn find(path: &Path, id: FileId, settings: &config::Listener) -> io::Result<SocketFile> {
        if FileId::of(&fs::symlink_metadata(path)?) != id {
            return Err(io::Error::other("another file has its path"));
        }
        let file = SocketFile { path: std::path::absolute(path)?, id, stays: true, aside: None };
        permit(path, settings)?;
        Ok(file)
    }

    /// Removes the file at `path` if it is that one.
    pub fn remove(path: &Path, id: FileId) {
        drop(SocketFile { path: path.to_owned(), id, stays: false, aside: None });
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Removes for good what it has replaced.
    pub fn confirm(&mut self) {
        self.aside.take().into_iter().for_each(Aside::remove);
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

impl Aside {
    fn put(path: &Path) -> io::Result<Aside> {
        let path = std::path::absolute(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let now = path.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::rename(&path, &now)?;
        Ok(Aside { path, now: Some(now) })
    }

    fn remove(mut self) {
        // Whoever comes by its name is refused, even if it stays.
        let _ = self.now.take().map(fs::remove_file);
    }
}

impl Drop for Aside {
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

/// Gives it the owner and the permissions that the configuration says.
fn permit(path: &Path, settings: &config::Listener) -> io::Result<()> {
    let user = settings.socket_user.as_ref().map(|user| user.id);
    let group = settings.socket_group.as_ref().map(|group| group.id);
    if user.is_some() || group.is_some() {
        chown(path, user, group)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(settings.socket_mode))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.aside.is_none()
            && !self.stays
            && fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == self.id)
        {
            // Nothing is left to be done if that fails, and the next start takes a stale file over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks the directory of `path` (flock(2)) until the returned file is dropped; leaves no lock file behind.
fn lock_directory(path: &Path) -> io::Result<File> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let lock = File::open(directory)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process keeps its directory locked"));
            }
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Removes `path` if it is a socket whose server is gone: connecting is refused.
fn remove_stale(socket: &Socket, address: &SockAddr, path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::other("the path exists and is not a socket; move it away, or choose another"));
    }
    let probe = Socket::new(socket.domain()?, socket.r#type()?, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::from_raw_os_error(libc::EADDRINUSE)),
    }
}
