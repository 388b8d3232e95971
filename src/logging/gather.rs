//! Lines that a thread writes together: what happened in one turn of an event loop takes one system call, not one a line.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write},
    marker::PhantomData,
    sync::Arc,
};

/// As much as a pipe takes in one piece, among the lines of other processes (pipe(7), `PIPE_BUF`).
const PIECE: usize = 4096;

thread_local! {
    /// What this thread has gathered, if it does.
    static GATHERED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Where lines go as they are.
pub(super) enum Stream {
    Stderr,
    File(File),
}

impl Stream {
    fn write_all(&self, lines: &[u8]) -> io::Result<()> {
        match self {
            Stream::Stderr => io::stderr().write_all(lines),
            Stream::File(file) => (&*file).write_all(lines),
        }
    }
}

/// Writes a line to a stream, or to what its thread gathers.
pub(super) struct Lines(pub(super) Arc<Stream>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        GATHERED.with_borrow_mut(|gathered| {
            let Some(gathered) = gathered else { return self.0.write_all(line) };
            if gathered.len() + line.len() > PIECE {
                release(gathered, &self.0);
            }
            gathered.extend_from_slice(line);
            Ok(())
        })?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn release(gathered: &mut Vec<u8>, stream: &Stream) {
    if !gathered.is_empty() {
        // Lost if they cannot be written, like any line.
        let _ = stream.write_all(gathered);
        gathered.clear();
    }
}

/// While it lives, the lines of this thread wait until they are [written](Gathering::write).
pub struct Gathering {
    /// It is this thread's.
    here: PhantomData<*const ()>,
}

impl Gathering {
    /// Begins to gather.
    pub fn begin() -> Gathering {
        GATHERED.set(Some(Vec::with_capacity(PIECE)));
        Gathering { here: PhantomData }
    }

    /// Writes what was gathered. To be called before waiting for anything.
    pub fn write(&self) {
        GATHERED.with_borrow_mut(|gathered| {
            if let Some(gathered) = gathered.as_mut().filter(|gathered| !gathered.is_empty())
                && let Some(stream) = super::read().as_ref().and_then(|log| log.stream.as_ref())
            {
                release(gathered, stream);
            }
        });
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.write();
        GATHERED.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_until_there_is_a_piece_of_them() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let written = || std::fs::read(&path).unwrap().len();
        let mut lines = Lines(Arc::new(Stream::File(File::create(&path).unwrap())));
        lines.write_all(&[b'a'; 100]).unwrap();
        assert_eq!(written(), 100);
        let gathering = Gathering::begin();
        lines.write_all(&[b'b'; 4000]).unwrap();
        assert_eq!(written(), 100);
        lines.write_all(&[b'c'; 97]).unwrap();
        assert_eq!(written(), 4100);
        // No log is in effect here that they could be written to.
        drop(gathering);
        lines.write_all(&[b'd'; 10]).unwrap();
        assert_eq!(written(), 4110);
    }
}
