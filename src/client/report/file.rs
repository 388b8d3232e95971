//! Files that are written whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::{
    report::error::{Exit, Failure},
    socket::resolve::error_text,
};

/// Finds out whether `path` can be written to later. It leaves nothing there, and changes nothing.
///
/// # Errors
/// 74, with the reason.
pub fn try_out(path: &Path, what: &str) -> Result<(), Failure> {
    let tried = match is_special(path) {
        // Not opened: that of a pipe waits for its reader.
        true => access(path, Access::WRITE_OK).map_err(io::Error::from),
        false => {
            let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            beside(path).and_then(|(beside, _)| fs::remove_file(beside))
        }
    };
    tried.map_err(|error| failure(path, what, &error))
}

/// Writes `what` to `path`. A regular file is replaced in one step, so that its reader sees the old or the new one; a pipe or a
/// terminal is written to.
///
/// # Errors
/// 74, with the reason.
pub fn write(path: &Path, what: &str, bytes: &[u8]) -> Result<(), Failure> {
    let written = match is_special(path) {
        true => OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes)),
        false => replace(path, bytes),
    };
    written.map_err(|error| failure(path, what, &error))
}

fn failure(path: &Path, what: &str, error: &io::Error) -> Failure {
    let cure = match error.kind() {
        io::ErrorKind::NotFound => "; its directory must be there",
        io::ErrorKind::PermissionDenied => "; choose a directory that you may write to",
        io::ErrorKind::IsADirectory => "; name a file in it",
        io::ErrorKind::StorageFull => "; make room there",
        _ => "",
    };
    let text = format!("cannot write {what} to {}: {}{cure}", path.display(), error_text(error));
    Failure::new(Exit::InputOutput, text)
}

/// Whether it is there and cannot be replaced: a pipe, a terminal, a device.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

/// Makes a file beside `path`, which can take its place.
fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().filter(|_| !path.is_dir()).ok_or(io::ErrorKind::IsADirectory)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    // Fails where something of that name is there: nothing of somebody else's is overwritten.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    Ok((beside, file))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Behind a symbolic link the file is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (beside, mut file) = beside(path)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        write(&path, "the report", b"one").unwrap();
        write(&path, "the report", b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let error = write(&directory.path().join("none/report.json"), "the report", b"x").unwrap_err();
        assert_eq!(error.exit, Exit::InputOutput);
        assert!(error.message.ends_with("; its directory must be there"), "{error}");
        assert!(write(Path::new("/dev/null"), "the report", b"x").is_ok());
    }

    #[test]
    fn what_is_tried_out_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| directory.path().join(name));
        fs::write(&old, "old").unwrap();
        for path in [&new, &old, Path::new("/dev/null")] {
            try_out(path, "the report").unwrap();
        }
        assert_eq!(fs::read(&old).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        for (path, cure) in [
            (directory.path().join("none/new"), "its directory must be there"),
            (directory.path().to_owned(), "name a file in it"),
        ] {
            let errors =
                [try_out(&path, "the report"), write(&path, "the report", b"x")].map(Result::unwrap_err);
            for error in errors {
                assert_eq!(error.exit, Exit::InputOutput);
                assert!(error.message.ends_with(cure), "{error}");
            }
        }
    }

    #[test]
    fn the_target_of_a_link_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| directory.path().join(name));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, "the report", b"new").unwrap();
        assert_eq!(
            (fs::read(&file).unwrap(), fs::read_link(&link).unwrap()),
            (b"new".to_vec(), "file".into())
        );
    }
}
