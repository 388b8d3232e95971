//! The file that says which process the daemon is. It is locked (flock(2)) as long as the daemon lives, so there can be no two
//! of them, and a file that a dead one left behind is no obstacle.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::error::{Exit, Failure};

/// A pid file that is ours. Dropped, it is removed.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Takes the file at `path`, and writes our process id into it.
    ///
    /// # Errors
    /// If another process holds it, the message says which.
    pub fn take(path: &Path) -> Result<PidFile, Failure> {
        loop {
            let mut file = open(path).map_err(|error| cannot(path, &error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(path, &mut file)),
                Err(TryLockError::Error(error)) => return Err(cannot(path, &error)),
            }
            let mut taken = PidFile { path: path.to_owned(), file };
            // Whoever held it may have removed it since it was opened: then there is another one.
            if taken.is_there() {
                taken.write().map_err(|error| cannot(path, &error))?;
                return Ok(taken);
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }

    fn is_there(&self) -> bool {
        let own = self.file.metadata().map(|own| (own.dev(), own.ino()));
        let found = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        matches!((own, found), (Ok(own), Ok(found)) if own == found)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_there() {
            // Where a daemon that gave up root may not do that any more it is left behind, empty; nobody holds it.
            let _ = fs::remove_file(&self.path).or_else(|_| self.file.set_len(0));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Nobody is to lead us to another file by a link.
    options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

fn held(path: &Path, file: &mut File) -> Failure {
    let mut text = String::new();
    let _ = file.take(32).read_to_string(&mut text);
    let who = match text.trim().parse::<u32>() {
        Ok(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim().escape_debug())
        }
        Err(_) => "another process".to_owned(),
    };
    let text = format!(
        "cannot take pid file {}: {who} holds it; stop that, or choose another `pid-file`",
        path.display()
    );
    Failure::new(Exit::TryAgain, text)
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let (exit, cure) = match error.kind() {
        io::ErrorKind::PermissionDenied => (Exit::NoPermission, "; echod must be allowed to write there"),
        io::ErrorKind::NotFound => (Exit::Unavailable, "; create its directory first"),
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
        fs::write(&path, "4194305 left behind by a dead one, and longer than ours").unwrap();
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
        fs::write(&path, "somebody else's").unwrap();
        drop(taken);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else's");
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(PidFile::take(&dir.path().join("link")).is_err());
    }
}
