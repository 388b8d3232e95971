//! Opening a file that the configuration names, in a directory where another user may have placed something else. The process may
//! be root, so the path must not lead it to another file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Opens the regular file at `path` with `options`. Does not follow a symbolic link in the last component, and does not block, as
/// it would on a FIFO without a reader.
///
/// # Errors
/// If the file is not a regular file, or has a further hard link; the message names what it is.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Checks first, because opening a device can have side effects.
    check(path)?;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.custom_flags(flags).open(path)?;
    check_metadata(&file.metadata()?)?;
    Ok(file)
}

/// Whether [`open`] would accept the file at `path`. A missing file and a directory without search permission are no errors.
///
/// # Errors
/// As [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    fs::symlink_metadata(path).map_or(Ok(()), |found| check_metadata(&found))
}

fn check_metadata(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_symlink() => "a symbolic link, which is not followed",
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if !kind.is_file() => "a device",
        // The other link may be in a directory that its owner did not choose.
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
