//! Reads a configuration file, or a file that it names. Reading never waits for others and never fills the memory: a
//! reload does it while clients are served.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A block list of two million networks is smaller.
const LARGEST: u64 = 64 << 20;

/// How long the writer of a pipe may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads all of `path`: a regular file, or a pipe if the name says that it is an open descriptor of this process, as
/// /dev/stdin does and what a shell makes of `<(command)`.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let open = |flags| File::options().read(true).custom_flags(flags).open(path);
    // A socket cannot be opened at all.
    let file = open(libc::O_NONBLOCK | libc::O_NOCTTY).map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => unlike("a socket"),
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    match () {
        () if kind.is_file() => read_regular(&file),
        () if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        () if kind.is_fifo() && is_descriptor(path) => {
            let end = Instant::now() + PATIENCE;
            read_up_to(&file, LARGEST, || wait(&file, end))
        }
        () if kind.is_fifo() => Err(unlike("a FIFO")),
        () if kind.is_socket() => Err(unlike("a socket")),
        () => Err(unlike("a device")),
    }
}

fn unlike(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a regular file"))
}

/// A regular file has bytes or its end at once. /proc/kmsg says that it is one and has neither: it would be read for ever.
fn read_regular(file: &File) -> io::Result<Vec<u8>> {
    read_up_to(file, LARGEST, || Err(unlike("a stream")))
}

/// What is wrong after an error of [`read`], and what to do about it. Of a file that is missing, unless a link leads to it, and of a
/// permission that is, the caller knows more.
pub(super) fn told(error: &io::Error) -> (String, &'static str) {
    let help = match error.kind() {
        ErrorKind::NotFound => {
            return (
                "it is a link to what is not there".to_owned(),
                "have it lead to a file, or take it away",
            );
        }
        ErrorKind::IsADirectory => return ("it is a directory".to_owned(), "name a file in it"),
        ErrorKind::InvalidInput => "name a regular file",
        ErrorKind::FileTooLarge => "divide it into several files",
        ErrorKind::TimedOut => "have its writer end sooner, or name a regular file",
        _ => "see whether `cat` can read it, and mend its path, its permissions or its disk",
    };
    (error.to_string(), help)
}

/// Whether `path` is a link to what is not there.
pub(super) fn leads_nowhere(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() && fs::metadata(path).is_err()
}

/// Whether the name is that of a descriptor.
fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

/// Reads to the end; `wait` is called whenever nothing is there yet.
fn read_up_to(file: &File, most: u64, wait: impl Fn() -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let left = most + 1 - bytes.len() as u64;
        match file.take(left).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > most => {
                let text = format!("it is larger than {} MiB", most >> 20);
                return Err(io::Error::new(ErrorKind::FileTooLarge, text));
            }
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait()?,
            Err(error) => return Err(error),
        }
    }
}

/// Waits until a pipe can be read, up to `end`.
fn wait(file: &File, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(0) => {
            let text = format!("the pipe was not written to its end within {PATIENCE:?}");
            Err(io::Error::new(ErrorKind::TimedOut, text))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::{
            fd::AsRawFd,
            unix::{fs::symlink, net::UnixListener},
        },
        thread,
    };

    use super::*;

    fn refusal(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink("file", at("link")).unwrap();
        assert_eq!(read(&at("file")).unwrap(), b"text");
        assert_eq!(read(&at("link")).unwrap(), b"text");

        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(refusal(&at("fifo")), "it is a FIFO, not a regular file");
        let _socket = UnixListener::bind(at("socket")).unwrap();
        assert_eq!(refusal(&at("socket")), "it is a socket, not a regular file");
        assert_eq!(refusal(Path::new("/dev/zero")), "it is a device, not a regular file");
        assert_eq!(read(directory.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_regular_file_without_an_end_is_refused() {
        // As good as /proc/kmsg, which only root can read, and whose messages would be missing elsewhere.
        let (reader, _writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
        assert_eq!(read_regular(&file).unwrap_err().to_string(), "it is a stream, not a regular file");
    }

    #[test]
    fn a_pipe_is_read_by_its_descriptor() {
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let writing = thread::spawn(move || {
            for part in ["a pipe ", "that is ", "not in a hurry"] {
                thread::sleep(Duration::from_millis(10));
                io::Write::write_all(&mut &writer, part.as_bytes()).unwrap();
            }
        });
        assert_eq!(read(Path::new(&path)).unwrap(), b"a pipe that is not in a hurry");
        writing.join().unwrap();
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let reads = |size: u64| {
            file.set_len(size).unwrap();
            io::Seek::rewind(&mut &file).unwrap();
            read_up_to(&file, 1 << 20, || Ok(())).map(|bytes| bytes.len())
        };
        assert_eq!(reads(1 << 20).unwrap(), 1 << 20);
        assert_eq!(reads((1 << 20) + 1).unwrap_err().to_string(), "it is larger than 1 MiB");
    }
}
