//! The PID file. The daemon holds a lock on it (flock(2)) for as long as it lives, so two daemons cannot share one. A file left
//! by a daemon that died is replaced, even if another process that may read it has locked it meanwhile.

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
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest process id with its line end.
const LONGEST: u64 = 16;

/// A PID file that this process holds; removed on drop.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// The holder of the lock, if it is another process.
struct LockHolder {
    file: File,
    /// The process id in the file, if there is one.
    pid: Option<Pid>,
}

impl PidFile {
    /// Locks the file at `path`, and writes the id of this process to it.
    ///
    /// # Errors
    /// If another daemon holds the file; the message names it. A file that is not a PID file is not touched.
    pub fn take(path: &Path) -> Result<PidFile, Failure> {
        let end = Instant::now() + WRITE_TIMEOUT;
        loop {
            match PidFile::try_take(path).map_err(|error| cannot(path, &error))? {
                Some(Ok(taken)) => return Ok(taken),
                Some(Err(holder)) if holder.is_daemon() => return Err(holder.failure(path)),
                Some(Err(_)) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Some(Err(holder)) => {
                    return PidFile::replace(path, &holder.file).map_err(|_| holder.failure(path));
                }
                None => {}
            }
        }
    }

    /// Whether a file that exists could be taken.
    ///
    /// # Errors
    /// As [`PidFile::take`], except for a file that another daemon holds.
    pub fn check(path: &Path) -> Result<(), Failure> {
        regular_file::check(path).map_err(|error| cannot(path, &error))?;
        match regular_file::open(path, OpenOptions::new().read(true)) {
            Ok(mut file) => read(&mut file).map(|_| ()).map_err(|error| cannot(path, &error)),
            // The checking user need not be the user that the daemon runs as.
            Err(_) => Ok(()),
        }
    }

    /// `None` if the file was replaced meanwhile.
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
        // The previous holder may have removed the file after it was opened here; then try the new one.
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

    /// Replaces the file `old` by a new one, atomically.
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
                // Another daemon has replaced the file first, and this is its file.
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
            // A daemon that gave up root may not be allowed to remove the file. It leaves it empty and unlocked.
            let _ = fs::remove_file(&self.path).or_else(|_| self.file.set_len(0));
        }
    }
}

impl LockHolder {
    /// Whether the process named in the file lives and holds the lock. Any process that may read the file can lock it too.
    fn is_daemon(&self) -> bool {
        let Some(pid) = self.pid.filter(|&pid| kill(pid, None) != Err(Errno::ESRCH)) else { return false };
        let inode = self.file.metadata().map_or(0, |own| own.ino());
        let holders = holders(&fs::read_to_string("/proc/locks").unwrap_or_default(), inode);
        match holders.is_empty() {
            // /proc/locks shows no locks, as in a container or with `ProcSubset=pid`.
            true => name(pid) == name(Pid::this()),
            false => holders.contains(&pid),
        }
    }

    fn failure(&self, path: &Path) -> Failure {
        let holder = match self.pid {
            Some(pid) => format!("process {pid} ({})", name(pid).escape_debug()),
            None => "another process".to_owned(),
        };
        let text = format!(
            "cannot take pid file {}: {holder} holds it; stop that, or choose another `pid-file`",
            path.display()
        );
        Failure::new(Exit::TryAgain, text)
    }
}

/// The processes that hold an flock(2) lock on a file, from lines such as `3: FLOCK  ADVISORY  WRITE 712 00:1a:4711 0 EOF`.
/// Compares only the inode: some file systems show another device in stat(2).
fn holders(locks: &str, inode: u64) -> Vec<Pid> {
    let holder = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, pid, file) = (fields.next()?, fields.nth(2)?, fields.next()?);
        let is_same = kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode);
        is_same.then(|| pid.parse().ok().map(Pid::from_raw))?
    };
    locks.lines().filter_map(holder).collect()
}

fn name(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    regular_file::open(path, OpenOptions::new().read(true).write(true).create_new(new).mode(0o644))
}

/// The process id in a file; `None` if the file is empty.
///
/// # Errors
/// If the file holds anything else: the configuration probably names the wrong file.
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
    fn a_second_daemon_is_refused_with_the_holder() {
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
    fn a_file_that_is_no_pid_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let taken = PidFile::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for text in ["not a number", "12 13", "0", "-7", "123456789012345678"] {
            fs::write(&path, text).unwrap();
            assert!(PidFile::take(&path).is_err() && PidFile::check(&path).is_err(), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        drop(taken);
        assert!(path.exists());
    }

    #[test]
    fn holders_are_read_from_proc_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1a:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 00:1a:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 00:1a:12 0 EOF\n3: FLOCK  ADVISORY  READ 10 00:1a:123 0 EOF\n";
        assert_eq!(holders(locks, 12), [Pid::from_raw(8)]);
        assert_eq!(holders(locks, 1), []);
    }
}
