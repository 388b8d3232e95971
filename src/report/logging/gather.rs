//! Buffers the lines of a thread: the lines of one turn of an event loop take one write(2) instead of one each.

use std::{
    cell::{Cell, RefCell},
    io::{self, Write},
    marker::PhantomData,
    sync::Arc,
};

use super::{nonblocking_stderr::PIECE, outlet::Outlet};

thread_local! {
    /// The buffered lines of this thread, while a [`LineBuffer`] exists.
    static BUFFERED: RefCell<Option<Buffered>> = const { RefCell::new(None) };

    /// Whether the next line of this thread reports lost lines.
    static IS_NOTICE: Cell<bool> = const { Cell::new(false) };
}

/// Buffered lines with their target. A reload may change the target of the lines that follow.
struct Buffered {
    lines: Vec<u8>,
    outlet: Option<Arc<Outlet>>,
}

impl Buffered {
    fn add(&mut self, outlet: &Arc<Outlet>, line: &[u8]) {
        let is_other = self.outlet.as_ref().is_none_or(|other| !Arc::ptr_eq(other, outlet));
        if is_other || self.lines.len() + line.len() > PIECE {
            self.flush();
            self.outlet = Some(Arc::clone(outlet));
        }
        self.lines.extend_from_slice(line);
    }

    fn flush(&mut self) {
        if let Some(outlet) = self.outlet.as_ref().filter(|_| !self.lines.is_empty()) {
            outlet.write(&self.lines);
        }
        self.lines.clear();
    }
}

/// Writes lines to an outlet, or to the buffer of the thread.
pub(super) struct Lines(pub(super) Arc<Outlet>);

/// Runs `log`, whose line is not lost, because it reports how many others were.
pub(super) fn as_notice(log: impl FnOnce()) {
    IS_NOTICE.set(true);
    log();
    IS_NOTICE.set(false);
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if IS_NOTICE.get() {
            BUFFERED.with_borrow_mut(|buffered| buffered.iter_mut().for_each(Buffered::flush));
            self.0.write_notice(line);
            return Ok(line.len());
        }
        BUFFERED.with_borrow_mut(|buffered| match buffered {
            Some(buffered) if self.0.is_stream() => buffered.add(&self.0, line),
            Some(buffered) => {
                buffered.flush();
                self.0.write(line);
            }
            None => self.0.write(line),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// While it exists, the lines of this thread are buffered until [`LineBuffer::write`].
pub struct LineBuffer {
    /// Not `Send`: the buffer is thread-local.
    here: PhantomData<*const ()>,
}

impl LineBuffer {
    /// Starts buffering.
    pub fn begin() -> LineBuffer {
        BUFFERED.set(Some(Buffered { lines: Vec::with_capacity(PIECE), outlet: None }));
        LineBuffer { here: PhantomData }
    }

    /// Writes the buffered lines. To be called before each wait.
    pub fn write(&self) {
        BUFFERED.with_borrow_mut(|buffered| buffered.iter_mut().for_each(Buffered::flush));
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        self.write();
        BUFFERED.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::report::logging::outlet::OpenTarget;

    #[test]
    fn lines_are_buffered_up_to_a_piece() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let written = || std::fs::read(&path).unwrap().len();
        let lines = |path| Lines(Arc::new(Outlet::new(OpenTarget::File(File::create(path).unwrap()))));
        let mut first = lines(&path);
        first.write_all(&[b'a'; 100]).unwrap();
        assert_eq!(written(), 100);
        let buffer = LineBuffer::begin();
        first.write_all(&[b'b'; 4000]).unwrap();
        assert_eq!(written(), 100);
        first.write_all(&[b'c'; 97]).unwrap();
        assert_eq!(written(), 4100);
        // Lines that were buffered before the target changed are written to the old target.
        let other = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut second = lines(&other);
        second.write_all(b"elsewhere").unwrap();
        assert_eq!(written(), 4197);
        drop(buffer);
        assert_eq!(std::fs::read(&other).unwrap(), b"elsewhere");
        first.write_all(&[b'd'; 10]).unwrap();
        assert_eq!(written(), 4207);
    }
}
