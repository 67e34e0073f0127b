//! Where the story is told: lines that stay, and below them, in a terminal, a table that is drawn anew.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Standard output, or standard error if that belongs to something else.
pub struct Screen {
    to_stderr: bool,
    live: bool,
    drawn: Mutex<Drawn>,
}

/// The table that stands at the bottom now.
#[derive(Default)]
struct Drawn {
    table: String,
    footer: String,
    lines: usize,
}

impl Screen {
    /// Tells on standard error if standard output is for something else.
    pub fn new(to_stderr: bool) -> Self {
        let live = if to_stderr {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        Self {
            to_stderr,
            live,
            drawn: Mutex::default(),
        }
    }

    /// Whether somebody watches, so that a table can be drawn anew.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Adds lines that stay.
    pub fn say(&self, text: &str) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let text = if self.live {
            text.to_owned()
        } else {
            plain(text)
        };
        self.write(&format!(
            "{}{text}\n{}",
            erase(&mut drawn),
            redraw(&mut drawn)
        ));
    }

    /// Draws the table, in the place of the one before.
    pub fn draw(&self, table: &str) {
        if !self.live {
            return;
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let erase = erase(&mut drawn);
        drawn.table = format!("\n{table}");
        self.write(&(erase + &redraw(&mut drawn)));
    }

    /// What stands below the table from now on.
    pub fn footer(&self, text: &str) {
        self.drawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .footer = text.into();
    }

    /// Leaves the table where it is.
    pub fn close(&self) {
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) = Drawn::default();
    }

    fn write(&self, text: &str) {
        // A reader that went away is no reason to leave the replicas to themselves.
        drop(if self.to_stderr {
            io::stderr().write_all(text.as_bytes())
        } else {
            io::stdout()
                .write_all(text.as_bytes())
                .and_then(|()| io::stdout().flush())
        });
    }
}

fn erase(drawn: &mut Drawn) -> String {
    match std::mem::take(&mut drawn.lines) {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\r\x1b[J"),
    }
}

fn redraw(drawn: &mut Drawn) -> String {
    if drawn.table.is_empty() {
        return String::new();
    }
    let text = format!("{}{}", drawn.table, drawn.footer);
    drawn.lines = text.matches('\n').count();
    text
}

/// Heavier.
pub fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}

/// Lighter.
pub fn dim(text: &str) -> String {
    format!("\x1b[2m{text}\x1b[0m")
}

/// Without weights, for files.
fn plain(text: &str) -> String {
    ["\x1b[1m", "\x1b[2m", "\x1b[0m"]
        .iter()
        .fold(text.to_owned(), |text, weight| text.replace(weight, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_erased_before_the_next_line() {
        let mut drawn = Drawn {
            table: "\na\nb\n".into(),
            ..Drawn::default()
        };
        assert_eq!(erase(&mut drawn), "", "nothing stands there yet");
        assert_eq!(redraw(&mut drawn), "\na\nb\n");
        assert_eq!(erase(&mut drawn), "\x1b[3A\r\x1b[J");
        assert_eq!(plain(&bold("a")), "a");
    }
}
