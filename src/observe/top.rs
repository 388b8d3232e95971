//! `echod top`: what a running daemon does at the moment, from two looks at it.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    thread,
    time::Instant,
};

use serde_json::json;

use super::{
    fetch::{self, Places},
    options::{Sort, TopOptions, TopOutput},
    status::PATIENCE,
};
use crate::report::error::{Exit, Failure};

mod changes;
mod frame;
mod screen;

use changes::{Changes, Sight};
use screen::{Screen, Wanted};

/// Runs until it is ended.
///
/// # Errors
/// No daemon can be observed, or standard output cannot be written to.
pub fn run(options: &TopOptions) -> Result<(), Failure> {
    let is_json = options.output == TopOutput::Json;
    if is_json && !options.once {
        let text = "`-o json` is one document: add --once, or write `-o jsonl`";
        return Err(Failure::new(Exit::Usage, text));
    }
    let places = fetch::find(options.daemon.config.as_deref(), options.daemon.address.as_deref())?;
    let before = Sight::take(&places, PATIENCE)?;
    let is_screen = options.output == TopOutput::Text && !options.once && Screen::is_possible();
    match is_screen {
        true => on_screen(options, &places, before),
        false => in_lines(options, &places, before),
    }
}

/// Prints a block or a line for each look.
fn in_lines(options: &TopOptions, places: &Places, mut before: Sight) -> Result<(), Failure> {
    loop {
        thread::sleep(options.interval);
        let now = Sight::take(places, PATIENCE)?;
        let changes = Changes::between(&before, &now, options.sort);
        let text = match options.output {
            TopOutput::Text => frame::text(&changes, options, None) + if options.once { "" } else { "\n" },
            TopOutput::Json => format!("{:#}\n", changes.json(options.lines)),
            TopOutput::Jsonl => format!("{}\n", changes.json(options.lines)),
        };
        match io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| cannot_write(&error))?,
        }
        if options.once {
            return Ok(());
        }
        before = now;
    }
}

fn on_screen(options: &TopOptions, places: &Places, mut before: Sight) -> Result<(), Failure> {
    let mut screen = Screen::open().map_err(|error| cannot_write(&error))?;
    let mut options = options.clone();
    let mut changes = Changes::between(&before, &before, options.sort);
    loop {
        let size = screen.size();
        screen.draw(&frame::text(&changes, &options, Some(size))).map_err(|error| cannot_write(&error))?;
        let due = Instant::now() + options.interval;
        loop {
            match screen.wait(due).map_err(|error| cannot_write(&error))? {
                Wanted::None => break,
                Wanted::Quit => return Ok(()),
                Wanted::Sort => {
                    options.sort = options.sort.next();
                    changes.sort(options.sort);
                }
                Wanted::Resized => {}
            }
            let size = screen.size();
            screen
                .draw(&frame::text(&changes, &options, Some(size)))
                .map_err(|error| cannot_write(&error))?;
        }
        let now = Sight::take(places, PATIENCE)?;
        changes = Changes::between(&before, &now, options.sort);
        before = now;
    }
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Rtt,
            Sort::Rtt => Sort::Idle,
            Sort::Idle => Sort::Rate,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Sort::Rate => "rate",
            Sort::Rtt => "rtt",
            Sort::Idle => "idle",
        }
    }
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure::new(Exit::InputOutput, format!("cannot write to standard output: {error}"))
}

impl Changes {
    fn json(&self, lines: usize) -> serde_json::Value {
        json!({
            "version": self.version,
            "pid": self.pid,
            "seconds": self.seconds,
            "listeners": self.listeners,
            "connections": { "total": self.total, "listed": self.connections.iter().take(lines).collect::<Vec<_>>() },
        })
    }
}

impl Screen {
    /// Whether there is a terminal that knows how to be drawn on.
    fn is_possible() -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        io::stdout().is_terminal() && io::stdin().is_terminal() && !is_dumb
    }
}
