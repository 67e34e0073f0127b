//! Figures and places as people read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `1.4 ms`, `734 ms`.
pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// `12,345`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The last line of a log.
pub fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").trim().into()
}

/// How to call a program from here.
pub fn shortest(path: &Path) -> PathBuf {
    let here = std::env::current_dir();
    let short = here
        .ok()
        .and_then(|here| path.strip_prefix(here).ok().map(PathBuf::from));
    match short {
        Some(short) if short.components().count() == 1 => Path::new(".").join(short),
        Some(short) => short,
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(ms(Duration::from_micros(1_440)), "1.4 ms");
        assert_eq!(ms(Duration::from_millis(734)), "734 ms");
    }
}
