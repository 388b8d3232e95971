//! Where lines go when they are made. No write waits: what finds no room is kept here up to a limit, in order, and written as soon as
//! there is room; what is beyond the limit is lost, counted, and told of. So a log that nobody reads stops neither a worker nor
//! the supervisor.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Write},
    sync::{
        LazyLock, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

use super::{sink::Datagrams, stderr::Means};
use crate::sys::shared::SharedArray;

/// As much as a pipe takes in one piece, among the lines of other processes (pipe(7), `PIPE_BUF`).
pub(super) const PIECE: usize = 4096;

/// So many bytes are kept for a log that has no room: some thousand lines, the burst of a second for a reader that is only slow.
const KEPT: usize = 256 << 10;

/// The first and the longest rest between two tries to write what is kept.
const REST: Duration = Duration::from_millis(5);
const LONGEST_REST: Duration = Duration::from_millis(500);

/// How long the end of a process may wait for a slow reader.
const LAST: Duration = Duration::from_millis(200);

/// Lines that found no room and are not told of yet, of this process and those that it forks.
static LOST: LazyLock<Lost> =
    LazyLock::new(|| SharedArray::new(1).map_or_else(|_| Lost::Own(AtomicU64::new(0)), Lost::Shared));

/// Whether anything is kept in this process.
static BEHIND: AtomicBool = AtomicBool::new(false);

/// What is to be done when something is kept, so that somebody tries again.
static ON_BEHIND: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

enum Lost {
    Shared(SharedArray<AtomicU64>),
    /// Without memory to share each process counts for itself.
    Own(AtomicU64),
}

/// How many lines were lost since that was told last.
pub(super) fn lost() -> &'static AtomicU64 {
    match &*LOST {
        Lost::Shared(slots) => &slots[0],
        Lost::Own(count) => count,
    }
}

/// Whether lines are kept, or lost ones are to be told of.
pub(super) fn is_behind() -> bool {
    BEHIND.load(Acquire) || lost().load(Relaxed) > 0
}

/// Has `wake` called when a line finds no room while none was kept. It may be called by any thread, and must not log.
pub fn when_behind(wake: impl Fn() + Send + Sync + 'static) {
    // It is set once, when the supervisor begins.
    let _ = ON_BEHIND.set(Box::new(wake));
}

/// What lines are written to.
pub(super) enum Target {
    Stderr(Means),
    File(File),
    Datagrams(Datagrams),
}

/// A target, and the lines that wait for room there.
pub(super) struct Outlet {
    target: Target,
    backlog: Mutex<Backlog>,
}

struct Backlog {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The process that tries again. What it keeps is not for the processes that it forks.
    owner: u32,
    /// Whether other lines go elsewhere by now.
    retired: bool,
    rest: Duration,
    due: Instant,
}

/// What became of a write.
enum WriteOutcome {
    Wrote(usize),
    NoRoom,
    /// Nobody will ever take it.
    Failed,
}

impl Target {
    fn write(&self, bytes: &[u8]) -> WriteOutcome {
        loop {
            let written = match self {
                Target::Stderr(means) => means.write(bytes),
                Target::File(file) => (&*file).write(bytes),
                Target::Datagrams(socket) => socket.send(bytes),
            };
            return match written {
                Ok(n) => WriteOutcome::Wrote(n),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if self.may_take_it_later(&error) => WriteOutcome::NoRoom,
                Err(_) => WriteOutcome::Failed,
            };
        }
    }

    fn may_take_it_later(&self, error: &io::Error) -> bool {
        match error.kind() {
            ErrorKind::WouldBlock
            | ErrorKind::OutOfMemory
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded => true,
            // The log daemon may be started again.
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => matches!(self, Target::Datagrams(_)),
            _ => error.raw_os_error() == Some(libc::ENOBUFS),
        }
    }
}

impl Outlet {
    pub(super) fn new(target: Target) -> Outlet {
        // Forked processes share the count only if it was there before them.
        LazyLock::force(&LOST);
        let backlog = Backlog {
            pieces: VecDeque::new(),
            bytes: 0,
            owner: std::process::id(),
            retired: false,
            rest: REST,
            due: Instant::now(),
        };
        Outlet { target, backlog: Mutex::new(backlog) }
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&File> {
        match &self.target {
            Target::File(file) => Some(file),
            Target::Stderr(_) | Target::Datagrams(_) => None,
        }
    }

    /// Whether lines may be written several at a time.
    pub(super) fn is_stream(&self) -> bool {
        !matches!(self.target, Target::Datagrams(_))
    }

    /// Writes whole lines, or keeps them, or counts them as lost.
    pub(super) fn write(&self, lines: &[u8]) {
        self.write_or_keep(lines, false);
    }

    /// Writes a line, or keeps it in any case.
    pub(super) fn write_notice(&self, line: &[u8]) {
        self.write_or_keep(line, true);
    }

    fn write_or_keep(&self, lines: &[u8], in_any_case: bool) {
        let mut backlog = self.lock();
        if !self.flush(&mut backlog) {
            return self.keep(&mut backlog, lines, in_any_case);
        }
        match self.target.write(lines) {
            WriteOutcome::Wrote(n) if n < lines.len() => self.keep(&mut backlog, &lines[n..], true),
            WriteOutcome::NoRoom => self.keep(&mut backlog, lines, in_any_case),
            WriteOutcome::Wrote(_) | WriteOutcome::Failed => return,
        }
        drop(backlog);
        // Whoever tries again may have seen a moment ago that nothing was kept any more.
        if let Some(wake) = ON_BEHIND.get() {
            wake();
        }
    }

    /// Writes what is kept, if it is time to try that again; whether nothing is left.
    pub(super) fn catch_up(&self) -> bool {
        let mut backlog = self.lock();
        if backlog.due > Instant::now() {
            return backlog.pieces.is_empty();
        }
        self.flush(&mut backlog)
    }

    /// When to try again.
    pub(super) fn due(&self) -> Instant {
        self.lock().due
    }

    /// Whether lines that were lost can be told of: by this process, and now.
    pub(super) fn may_tell(&self) -> bool {
        let backlog = self.lock();
        backlog.pieces.is_empty() && backlog.owner == std::process::id()
    }

    /// Writes what is kept; waits a little while for a slow reader.
    pub(super) fn finish(&self) {
        let end = Instant::now() + LAST;
        while !self.flush(&mut self.lock()) && Instant::now() < end {
            thread::sleep(REST);
        }
    }

    /// Has this process, which was forked, try again by itself.
    pub(super) fn adopt(&self) {
        let mut backlog = self.lock();
        backlog.clear();
        backlog.owner = std::process::id();
    }

    /// Nobody tries again from now on. What finds no room is told as lost by the log that follows.
    pub(super) fn retire(&self) {
        let mut backlog = self.lock();
        if !self.flush(&mut backlog) {
            let left = backlog.pieces.iter().map(|piece| self.count(piece)).sum();
            lost().fetch_add(left, Relaxed);
            backlog.clear();
        }
        backlog.retired = true;
    }

    /// Writes what is kept; whether nothing is left.
    fn flush(&self, backlog: &mut Backlog) -> bool {
        if backlog.pieces.is_empty() {
            return true;
        }
        if backlog.owner != std::process::id() {
            // The one that this was forked from writes it.
            backlog.clear();
            return true;
        }
        let mut moved = false;
        while let Some(piece) = backlog.pieces.front_mut() {
            match self.target.write(piece) {
                WriteOutcome::NoRoom => break,
                WriteOutcome::Wrote(n) if n < piece.len() => {
                    piece.drain(..n);
                    backlog.bytes -= n;
                }
                WriteOutcome::Wrote(_) | WriteOutcome::Failed => {
                    backlog.bytes -= piece.len();
                    backlog.pieces.pop_front();
                }
            }
            moved = true;
        }
        backlog.rest = if moved { REST } else { (backlog.rest * 2).min(LONGEST_REST) };
        backlog.due = Instant::now() + backlog.rest;
        let empty = backlog.pieces.is_empty();
        if empty {
            backlog.clear();
        }
        empty
    }

    /// Keeps lines, in any case those that are begun already. Once some are lost the others are too, until that could be told: their order
    /// stays, and a reader that is always late is not told after every line.
    fn keep(&self, backlog: &mut Backlog, lines: &[u8], in_any_case: bool) {
        let has_room = backlog.bytes + lines.len() <= KEPT && lost().load(Relaxed) == 0;
        let tries_again = backlog.owner == std::process::id() && !backlog.retired;
        if !tries_again || !(has_room || in_any_case) {
            lost().fetch_add(self.count(lines), Relaxed);
            return;
        }
        if backlog.pieces.is_empty() {
            (backlog.rest, backlog.due) = (REST, Instant::now() + REST);
        }
        backlog.bytes += lines.len();
        match backlog.pieces.back_mut() {
            Some(last) if self.is_stream() && last.len() + lines.len() <= PIECE => {
                last.extend_from_slice(lines)
            }
            _ => backlog.pieces.push_back(lines.to_vec()),
        }
        BEHIND.store(true, Release);
    }

    fn count(&self, lines: &[u8]) -> u64 {
        match self.is_stream() {
            true => lines.iter().filter(|&&byte| byte == b'\n').count() as u64,
            false => 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    fn clear(&mut self) {
        self.pieces = VecDeque::new();
        self.bytes = 0;
        BEHIND.store(false, Release);
    }
}
