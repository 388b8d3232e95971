//! Where finished lines go. No write blocks. Lines that find no room are put into a backlog of limited size, in order, and
//! written when there is room. Lines beyond the limit are lost, counted, and reported. So a reader that stops reading the log
//! stops neither a worker nor the supervisor.

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

use super::{
    nonblocking_stderr::{PIECE, WriteMethod},
    sink::Datagrams,
};
use crate::sys::shared::SharedArray;

/// The limit of the backlog in bytes: some thousand lines, or what a slow reader falls behind in a busy second.
const BACKLOG_LIMIT: usize = 256 << 10;

/// The first and the longest back-off between attempts to write the backlog.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);

/// How long the end of a process may wait for a slow reader.
const FINISH_TIME: Duration = Duration::from_millis(200);

/// The number of lines lost and not reported yet, shared with forked processes.
static LOST: LazyLock<Lost> =
    LazyLock::new(|| SharedArray::new(1).map_or_else(|_| Lost::Own(AtomicU64::new(0)), Lost::Shared));

/// Whether this process has a backlog.
static BEHIND: AtomicBool = AtomicBool::new(false);

/// Called when a backlog begins, so that a thread retries.
static ON_BEHIND: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

enum Lost {
    Shared(SharedArray<AtomicU64>),
    /// Without shared memory each process counts its own.
    Own(AtomicU64),
}

/// The number of lines lost since the last report.
pub(super) fn lost() -> &'static AtomicU64 {
    match &*LOST {
        Lost::Shared(slots) => &slots[0],
        Lost::Own(count) => count,
    }
}

/// Whether there is a backlog, or lost lines to report.
pub(super) fn is_behind() -> bool {
    BEHIND.load(Acquire) || lost().load(Relaxed) > 0
}

/// Sets the function to call when a line finds no room. Any thread may call it, and it must not log.
pub fn when_behind(wake: impl Fn() + Send + Sync + 'static) {
    // Called once, when the supervisor starts.
    let _ = ON_BEHIND.set(Box::new(wake));
}

/// What lines are written to.
pub(super) enum OpenTarget {
    Stderr(WriteMethod),
    File(File),
    Datagrams(Datagrams),
}

/// A target with its backlog.
pub(super) struct Outlet {
    target: OpenTarget,
    backlog: Mutex<Backlog>,
}

struct Backlog {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The process that retries. A forked process drops what it has copied of its parent's backlog.
    owner: u32,
    /// Whether a reload has replaced this outlet.
    retired: bool,
    backoff: Duration,
    due: Instant,
}

/// The outcome of a write.
enum WriteOutcome {
    Wrote(usize),
    NoRoom,
    /// A retry would fail too.
    Failed,
}

impl OpenTarget {
    fn write(&self, bytes: &[u8]) -> WriteOutcome {
        loop {
            let written = match self {
                OpenTarget::Stderr(method) => method.write(bytes),
                OpenTarget::File(file) => (&*file).write(bytes),
                OpenTarget::Datagrams(socket) => socket.send(bytes),
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
            // The log daemon may be restarting.
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => matches!(self, OpenTarget::Datagrams(_)),
            _ => error.raw_os_error() == Some(libc::ENOBUFS),
        }
    }
}

impl Outlet {
    pub(super) fn new(target: OpenTarget) -> Outlet {
        // Forked processes share the counter only if it exists before they are forked.
        LazyLock::force(&LOST);
        let backlog = Backlog {
            pieces: VecDeque::new(),
            bytes: 0,
            owner: std::process::id(),
            retired: false,
            backoff: FIRST_BACKOFF,
            due: Instant::now(),
        };
        Outlet { target, backlog: Mutex::new(backlog) }
    }

    /// The file, if the target is one.
    pub(super) fn file(&self) -> Option<&File> {
        match &self.target {
            OpenTarget::File(file) => Some(file),
            OpenTarget::Stderr(_) | OpenTarget::Datagrams(_) => None,
        }
    }

    /// Whether one write may hold several lines.
    pub(super) fn is_stream(&self) -> bool {
        !matches!(self.target, OpenTarget::Datagrams(_))
    }

    /// Writes whole lines, puts them into the backlog, or counts them as lost.
    pub(super) fn write(&self, lines: &[u8]) {
        self.write_or_queue(lines, false);
    }

    /// Writes a line, or puts it into the backlog whatever its size.
    pub(super) fn write_notice(&self, line: &[u8]) {
        self.write_or_queue(line, true);
    }

    fn write_or_queue(&self, lines: &[u8], in_any_case: bool) {
        let mut backlog = self.lock();
        if !self.flush(&mut backlog) {
            return self.queue(&mut backlog, lines, in_any_case);
        }
        match self.target.write(lines) {
            WriteOutcome::Wrote(n) if n < lines.len() => self.queue(&mut backlog, &lines[n..], true),
            WriteOutcome::NoRoom => self.queue(&mut backlog, lines, in_any_case),
            WriteOutcome::Wrote(_) | WriteOutcome::Failed => return,
        }
        drop(backlog);
        // Not only for the first line: the thread that retries may have found the backlog empty a moment ago.
        if let Some(wake) = ON_BEHIND.get() {
            wake();
        }
    }

    /// Writes the backlog if the back-off is over, and returns whether it is empty.
    pub(super) fn catch_up(&self) -> bool {
        let mut backlog = self.lock();
        if backlog.due > Instant::now() {
            return backlog.pieces.is_empty();
        }
        self.flush(&mut backlog)
    }

    /// The time of the next attempt.
    pub(super) fn due(&self) -> Instant {
        self.lock().due
    }

    /// Whether this process can report lost lines now.
    pub(super) fn can_report_lost(&self) -> bool {
        let backlog = self.lock();
        backlog.pieces.is_empty() && backlog.owner == std::process::id()
    }

    /// Writes the backlog, and waits briefly for a slow reader.
    pub(super) fn finish(&self) {
        let end = Instant::now() + FINISH_TIME;
        while !self.flush(&mut self.lock()) && Instant::now() < end {
            thread::sleep(FIRST_BACKOFF);
        }
    }

    /// Gives this forked process a backlog of its own.
    pub(super) fn adopt(&self) {
        let mut backlog = self.lock();
        backlog.clear();
        backlog.owner = std::process::id();
    }

    /// Ends the retries. The lines left in the backlog count as lost, and the next log reports them.
    pub(super) fn retire(&self) {
        let mut backlog = self.lock();
        if !self.flush(&mut backlog) {
            let left = backlog.pieces.iter().map(|piece| self.count(piece)).sum();
            lost().fetch_add(left, Relaxed);
            backlog.clear();
        }
        backlog.retired = true;
    }

    /// Writes the backlog, and returns whether it is empty.
    fn flush(&self, backlog: &mut Backlog) -> bool {
        if backlog.pieces.is_empty() {
            return true;
        }
        if backlog.owner != std::process::id() {
            // A copy of the parent's backlog, which the parent writes.
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
        backlog.backoff = if moved { FIRST_BACKOFF } else { (backlog.backoff * 2).min(LONGEST_BACKOFF) };
        backlog.due = Instant::now() + backlog.backoff;
        let empty = backlog.pieces.is_empty();
        if empty {
            backlog.clear();
        }
        empty
    }

    /// Adds lines to the backlog; with `in_any_case` even beyond the limit, as for the rest of a line that was begun. After a
    /// loss all further lines are lost too until that is reported: this keeps the order, and a reader that is always late gets no
    /// report after every line.
    fn queue(&self, backlog: &mut Backlog, lines: &[u8], in_any_case: bool) {
        let has_room = backlog.bytes + lines.len() <= BACKLOG_LIMIT && lost().load(Relaxed) == 0;
        let is_retried = backlog.owner == std::process::id() && !backlog.retired;
        if !is_retried || !(has_room || in_any_case) {
            lost().fetch_add(self.count(lines), Relaxed);
            return;
        }
        if backlog.pieces.is_empty() {
            (backlog.backoff, backlog.due) = (FIRST_BACKOFF, Instant::now() + FIRST_BACKOFF);
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
