//! Lines that a thread writes together: what happened in one turn of an event loop takes one system call, not one a line.

use std::{
    cell::{Cell, RefCell},
    io::{self, Write},
    marker::PhantomData,
    sync::Arc,
};

use super::outlet::{Outlet, PIECE};

thread_local! {
    /// What this thread has gathered, if it does.
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };

    /// Whether its next line says how many were lost.
    static IS_NOTICE: Cell<bool> = const { Cell::new(false) };
}

/// Lines that wait for others, and where they go: a reload may have changed that for those that follow.
struct Gathered {
    lines: Vec<u8>,
    outlet: Option<Arc<Outlet>>,
}

impl Gathered {
    fn add(&mut self, outlet: &Arc<Outlet>, line: &[u8]) {
        let is_other = self.outlet.as_ref().is_none_or(|other| !Arc::ptr_eq(other, outlet));
        if is_other || self.lines.len() + line.len() > PIECE {
            self.release();
            self.outlet = Some(Arc::clone(outlet));
        }
        self.lines.extend_from_slice(line);
    }

    fn release(&mut self) {
        if let Some(outlet) = self.outlet.as_ref().filter(|_| !self.lines.is_empty()) {
            outlet.write(&self.lines);
        }
        self.lines.clear();
    }
}

/// Writes a line to an outlet, or to what its thread gathers.
pub(super) struct Lines(pub(super) Arc<Outlet>);

/// Has `log` write a line that must not be lost, because it says how many were.
pub(super) fn as_notice(log: impl FnOnce()) {
    IS_NOTICE.set(true);
    log();
    IS_NOTICE.set(false);
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if IS_NOTICE.get() {
            GATHERED.with_borrow_mut(|gathered| gathered.iter_mut().for_each(Gathered::release));
            self.0.write_notice(line);
            return Ok(line.len());
        }
        GATHERED.with_borrow_mut(|gathered| match gathered {
            Some(gathered) if self.0.is_stream() => gathered.add(&self.0, line),
            Some(gathered) => {
                gathered.release();
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

/// While it lives, the lines of this thread wait until they are [written](Gathering::write).
pub struct LineBuffer {
    /// It is this thread's.
    here: PhantomData<*const ()>,
}

impl LineBuffer {
    /// Begins to gather.
    pub fn begin() -> LineBuffer {
        GATHERED.set(Some(Gathered { lines: Vec::with_capacity(PIECE), outlet: None }));
        LineBuffer { here: PhantomData }
    }

    /// Writes what was gathered. To be called before waiting for anything.
    pub fn write(&self) {
        GATHERED.with_borrow_mut(|gathered| gathered.iter_mut().for_each(Gathered::release));
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        self.write();
        GATHERED.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::report::logging::outlet::Target;

    #[test]
    fn lines_wait_until_there_is_a_piece_of_them() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let written = || std::fs::read(&path).unwrap().len();
        let lines = |path| Lines(Arc::new(Outlet::new(Target::File(File::create(path).unwrap()))));
        let mut first = lines(&path);
        first.write_all(&[b'a'; 100]).unwrap();
        assert_eq!(written(), 100);
        let gathering = LineBuffer::begin();
        first.write_all(&[b'b'; 4000]).unwrap();
        assert_eq!(written(), 100);
        first.write_all(&[b'c'; 97]).unwrap();
        assert_eq!(written(), 4100);
        // Those that were gathered before the target changed are not lost with it.
        let other = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut second = lines(&other);
        second.write_all(b"elsewhere").unwrap();
        assert_eq!(written(), 4197);
        drop(gathering);
        assert_eq!(std::fs::read(&other).unwrap(), b"elsewhere");
        first.write_all(&[b'd'; 10]).unwrap();
        assert_eq!(written(), 4207);
    }
}
