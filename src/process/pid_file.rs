//! The file that says which process the daemon is. It is locked (flock(2)) as long as the daemon lives, so there can be no two
//! of them, and a file that a dead one left behind is no obstacle: also if somebody else, who may read it, has locked it meanwhile.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::report::{
    error::{Exit, Failure},
    regular_file,
};

/// How long a daemon that has locked the file may take to write its process id.
const PATIENCE: Duration = Duration::from_millis(500);

/// As much as a process id and the end of its line take.
const LONGEST: u64 = 16;

/// A pid file that is ours. Dropped, it is removed.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// What another process has locked.
struct LockHolder {
    file: File,
    /// The process id in it, if it has one.
    pid: Option<Pid>,
}

impl PidFile {
    /// Takes the file at `path`, and writes our process id into it.
    ///
    /// # Errors
    /// If another daemon holds it, the message says which. A file that is no pid file stays as it is.
    pub fn take(path: &Path) -> Result<PidFile, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            match PidFile::try_take(path).map_err(|error| cannot(path, &error))? {
                Some(Ok(taken)) => return Ok(taken),
                Some(Err(held)) if held.is_by_daemon() => return Err(held.failure(path)),
                Some(Err(_)) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Some(Err(held)) => {
                    return PidFile::replace(path, &held.file).map_err(|_| held.failure(path));
                }
                None => {}
            }
        }
    }

    /// Whether a file that is there already could be taken.
    ///
    /// # Errors
    /// As [`PidFile::take`] has them, but for those of a file that another daemon holds.
    pub fn check(path: &Path) -> Result<(), Failure> {
        regular_file::check(path).map_err(|error| cannot(path, &error))?;
        match regular_file::open(path, OpenOptions::new().read(true)) {
            Ok(mut file) => read(&mut file).map(|_| ()).map_err(|error| cannot(path, &error)),
            // Whoever checks need not be the user that it is for.
            Err(_) => Ok(()),
        }
    }

    /// `None` if the file was exchanged meanwhile.
    fn try_take(path: &Path) -> io::Result<Option<Result<PidFile, LockHolder>>> {
        let (mut file, new) = match open(path, false) {
            Err(error) if error.kind() == ErrorKind::NotFound => match open(path, true) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
                made => (made?, true),
            },
            opened => (opened?, false),
        };
        let pid = read(&mut file)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Some(Err(LockHolder { file, pid }))),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever held it may have removed it since it was opened: then there is another one.
        if !is_at(&file, path) {
            return Ok(None);
        }
        if let Err(error) = write(&mut file) {
            if new {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
        Ok(Some(Ok(PidFile { path: path.to_owned(), file })))
    }

    /// Puts a new file in the place of `old`, in one step.
    fn replace(path: &Path, old: &File) -> io::Result<PidFile> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = path.with_file_name(name);
        let mut file = open(&beside, true)?;
        let exchange = || renameat_with(CWD, &beside, CWD, path, RenameFlags::EXCHANGE);
        let replaced: io::Result<()> = (|| {
            file.try_lock()?;
            write(&mut file)?;
            exchange()?;
            if !is_at(old, &beside) {
                // Another daemon was quicker, and this one is its.
                exchange()?;
                return Err(ErrorKind::AlreadyExists.into());
            }
            Ok(())
        })();
        let _ = fs::remove_file(&beside);
        replaced.map(|()| PidFile { path: path.to_owned(), file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            // Where a daemon that gave up root may not do that any more it is left behind, empty; nobody holds it.
            let _ = fs::remove_file(&self.path).or_else(|_| self.file.set_len(0));
        }
    }
}

impl LockHolder {
    /// Whether the process whose id is in the file lives, and holds the lock. Anybody who may read the file can lock it as well.
    fn is_by_daemon(&self) -> bool {
        let Some(pid) = self.pid.filter(|&pid| kill(pid, None) != Err(Errno::ESRCH)) else { return false };
        let inode = self.file.metadata().map_or(0, |own| own.ino());
        let holders = holders(&fs::read_to_string("/proc/locks").unwrap_or_default(), inode);
        match holders.is_empty() {
            // Nothing is told, as in a container or under `ProcSubset=pid`.
            true => name(pid) == name(Pid::this()),
            false => holders.contains(&pid),
        }
    }

    fn failure(&self, path: &Path) -> Failure {
        let who = match self.pid {
            Some(pid) => format!("process {pid} ({})", name(pid).escape_debug()),
            None => "another process".to_owned(),
        };
        let text = format!(
            "cannot take pid file {}: {who} holds it; stop that, or choose another `pid-file`",
            path.display()
        );
        Failure::new(Exit::TryAgain, text)
    }
}

/// The processes that hold a lock of flock(2) on a file, from lines such as `3: FLOCK  ADVISORY  WRITE 712 00:1a:4711 0 EOF`. The
/// device is not looked at, because not every file system shows the same one in stat(2).
fn holders(locks: &str, inode: u64) -> Vec<Pid> {
    let holder = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, file) = (words.next()?, words.nth(2)?, words.next()?);
        let is_ours = kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode);
        is_ours.then(|| pid.parse().ok().map(Pid::from_raw))?
    };
    locks.lines().filter_map(holder).collect()
}

fn name(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    regular_file::open(path, OpenOptions::new().read(true).write(true).create_new(new).mode(0o644))
}

/// The process id in a file, if there is anything.
///
/// # Errors
/// If that is anything else: then it is another file, which was named by mistake.
fn read(file: &mut File) -> io::Result<Option<Pid>> {
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    let text = str::from_utf8(&bytes).ok().filter(|_| (bytes.len() as u64) < LONGEST).map(str::trim);
    match text.map(|text| (text, text.parse())) {
        Some(("", _)) => Ok(None),
        Some((_, Ok(pid @ 1..))) => Ok(Some(Pid::from_raw(pid))),
        _ => Err(io::Error::new(
            ErrorKind::InvalidData,
            "it holds something else than a process id, and is not overwritten; move it away, or choose another `pid-file`",
        )),
    }
}

fn write(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    io::Seek::rewind(file)?;
    writeln!(file, "{}", std::process::id())
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: Metadata| (found.dev(), found.ino());
    let (own, found) = (file.metadata().map(id), fs::symlink_metadata(path).map(id));
    matches!((own, found), (Ok(own), Ok(found)) if own == found)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let (exit, cure) = match error.kind() {
        ErrorKind::PermissionDenied => (Exit::NoPermission, "; echod must be allowed to write there"),
        ErrorKind::NotFound => (Exit::Unavailable, "; create its directory first"),
        ErrorKind::InvalidInput => (Exit::Unavailable, "; choose another `pid-file`"),
        _ => (Exit::Unavailable, ""),
    };
    Failure::new(exit, format!("cannot write pid file {}: {error}{cure}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_holder_who_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "4194305\n").unwrap();
        let taken = PidFile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let refused = PidFile::take(&path).unwrap_err();
        assert_eq!(refused.exit, Exit::TryAgain);
        assert!(refused.message.contains(&format!("process {} (", std::process::id())), "{refused}");
        drop(taken);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let taken = PidFile::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for text in ["somebody else's", "12 13", "0", "-7", "123456789012345678"] {
            fs::write(&path, text).unwrap();
            assert!(PidFile::take(&path).is_err() && PidFile::check(&path).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        drop(taken);
        assert!(path.exists());
    }

    #[test]
    fn a_lock_is_of_whom_the_kernel_says() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1a:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 00:1a:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 00:1a:12 0 EOF\n3: FLOCK  ADVISORY  READ 10 00:1a:123 0 EOF\n";
        assert_eq!(holders(locks, 12), [Pid::from_raw(8)]);
        assert_eq!(holders(locks, 1), []);
    }
}
