//! A terminal that is drawn on: its other screen, keys without echo, its size. On every way out it is as it was before.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH},
    low_level::pipe,
};

/// Where no size is known.
const USUAL: (usize, usize) = (80, 24);

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What the user has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing, until the time was over.
    None,
    Quit,
    Sort,
    /// The terminal has another size.
    Resized,
}

pub(super) struct Screen {
    before: Termios,
    /// Readable once a signal has asked for the end.
    stop: UnixStream,
    /// Readable once the size has changed.
    resized: UnixStream,
}

impl Screen {
    pub(super) fn open() -> io::Result<Screen> {
        let (stop, tell_stop) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            pipe::register(signal, tell_stop.try_clone()?)?;
        }
        let (resized, tell_resized) = UnixStream::pair()?;
        resized.set_nonblocking(true)?;
        pipe::register(SIGWINCH, tell_resized)?;
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // Made first: its drop restores the terminal, whatever fails from here on.
        let screen = Screen { before, stop, resized };
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        write(ENTER)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => USUAL,
        }
    }

    /// Draws a text over what is there.
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        let lines = text.lines().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>();
        // No line end behind the last line, which would scroll.
        write(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }

    /// Waits for the user, until `due`.
    pub(super) fn wait(&mut self, due: Instant) -> io::Result<Wanted> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wanted::None);
            }
            let timeout =
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            let stdin = io::stdin();
            let of = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut polled = [of(self.stop.as_fd()), of(self.resized.as_fd()), of(stdin.as_fd())];
            match poll(&mut polled, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                polled => polled?,
            };
            let [stopped, resized, typed] =
                polled.map(|polled| polled.revents().is_some_and(|events| !events.is_empty()));
            if stopped {
                return Ok(Wanted::Quit);
            }
            if resized {
                let _ = self.resized.read(&mut [0; 64]);
                return Ok(Wanted::Resized);
            }
            if typed {
                let mut bytes = [0; 16];
                let count = rustix::io::read(stdin.as_fd(), &mut bytes)?;
                // The terminal has gone.
                if count == 0 {
                    return Ok(Wanted::Quit);
                }
                match bytes[0] {
                    // Ctrl-C and Ctrl-D.
                    b'q' | b'Q' | 3 | 4 => return Ok(Wanted::Quit),
                    b's' | b'S' => return Ok(Wanted::Sort),
                    _ => {}
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If this fails the terminal has gone.
        let _ = write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
