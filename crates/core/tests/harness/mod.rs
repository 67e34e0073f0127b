//! Replicas on a scripted network, disk and clock.

mod checks;
mod command;
mod founding;
mod machine;
mod parse;
mod script;
mod words;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Plays one script. Answers what went wrong.
pub fn play(path: &Path) -> Option<String> {
    let name = path.file_stem().expect("a name").to_string_lossy();
    let text = std::fs::read_to_string(path).expect("a readable script");
    let played = catch_unwind(AssertUnwindSafe(|| script::play(&text)));
    match played {
        Err(_) => Some(format!("{name}: panicked, see above")),
        Ok(played) if played == text => None,
        Ok(played) if std::env::var_os("UPDATE_SCENARIOS").is_some() => {
            std::fs::write(path, played).expect("a writable script");
            None
        }
        Ok(played) => Some(format!("{name}:\n{}", script::difference(&text, &played))),
    }
}
