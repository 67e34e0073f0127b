//! Single keys from a terminal.

use std::io::{self, IsTerminal, Read};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// A terminal that hands over each key at once and doesn't show it. Dropping it gives the terminal back as it was.
pub struct Keys {
    pressed: mpsc::UnboundedReceiver<char>,
    before: Option<Termios>,
}

/// What the keys ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGKILL.
    Kill(usize),
    /// SIGSTOP.
    Pause(usize),
    /// SIGCONT.
    Resume(usize),
    /// Start it again.
    Restart(usize),
    /// End the demo.
    Quit,
}

impl Keys {
    /// Listens, if standard input is a terminal; else there are never any keys.
    pub fn listen() -> Self {
        let (sender, pressed) = mpsc::unbounded_channel();
        let before = io::stdin().is_terminal().then(one_by_one).flatten();
        if before.is_some() {
            thread::spawn(move || {
                let mut key = [0];
                while io::stdin().read_exact(&mut key).is_ok() {
                    if sender.send(char::from(key[0])).is_err() {
                        return;
                    }
                }
            });
        }
        Self { pressed, before }
    }

    /// Whether there is a terminal.
    pub fn are_there(&self) -> bool {
        self.before.is_some()
    }

    /// Waits for somebody to wish something: a letter, and the number of a replica. For ever if nobody can.
    pub async fn wish(&mut self) -> Wish {
        let mut letter = ' ';
        loop {
            let Some(key) = self.pressed.recv().await else {
                return std::future::pending().await;
            };
            if let Some(wish) = wish(letter, key) {
                return wish;
            }
            letter = key;
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Ctrl-C still is a signal.
fn one_by_one() -> Option<Termios> {
    let before = tcgetattr(io::stdin()).ok()?;
    let mut changed = before.clone();
    changed.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    tcsetattr(io::stdin(), OptionalActions::Now, &changed).ok()?;
    Some(before)
}

fn wish(letter: char, key: char) -> Option<Wish> {
    let which = match key {
        'q' => return Some(Wish::Quit),
        '1'..='3' => key as usize - '1' as usize,
        _ => return None,
    };
    match letter {
        'k' => Some(Wish::Kill(which)),
        'p' => Some(Wish::Pause(which)),
        'c' => Some(Wish::Resume(which)),
        'r' => Some(Wish::Restart(which)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_and_a_number_are_a_wish() {
        assert_eq!(wish('k', '1'), Some(Wish::Kill(0)));
        assert_eq!(wish('r', '3'), Some(Wish::Restart(2)));
        assert_eq!(wish('k', '4'), None);
        assert_eq!(wish('x', '1'), None);
        assert_eq!(wish('k', 'q'), Some(Wish::Quit));
    }
}
