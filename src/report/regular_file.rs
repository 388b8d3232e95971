//! Opening a file whose name is in the configuration, in a directory where another user may have put something else. The process
//! that opens it may be root, so the name must not lead it to another file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Opens the regular file at `path` as `options` say. The last part of the path is no link to follow, and the call never waits,
/// as it would at a FIFO without a reader.
///
/// # Errors
/// Says what is there if it is not a regular file, or one that has another name as well.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Before the call: opening a device may act on it.
    check(path)?;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.custom_flags(flags).open(path)?;
    suits(&file.metadata()?)?;
    Ok(file)
}

/// Whether [`open`] would take what is at `path`. Nothing there, or a directory that cannot be looked into, is no error.
///
/// # Errors
/// As [`open`] has them.
pub fn check(path: &Path) -> io::Result<()> {
    fs::symlink_metadata(path).map_or(Ok(()), |found| suits(&found))
}

fn suits(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_symlink() => "a symbolic link, which is not followed",
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if !kind.is_file() => "a device",
        // A second name may be in a directory where its owner did not put it.
        () if found.nlink() > 1 => "a file that has another name as well (a hard link)",
        () => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}; a regular file is needed")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn only_a_regular_file_with_one_name_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let open = |name: &str| super::open(&at(name), OpenOptions::new().append(true).create(true));
        fs::write(at("other"), "x").unwrap();
        fs::hard_link(at("other"), at("hard link")).unwrap();
        symlink(at("nowhere"), at("symbolic link")).unwrap();
        mkfifo(&at("FIFO"), Mode::S_IRWXU).unwrap();
        fs::create_dir(at("directory")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for name in ["hard link", "symbolic link", "FIFO", "directory", "socket"] {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
            assert!(check(&at(name)).is_err());
        }
        assert!(!at("nowhere").exists());
        assert!(open("new").is_ok() && open("new").is_ok() && check(&at("new")).is_ok());
        assert!(check(&at("none")).is_ok());
    }
}
