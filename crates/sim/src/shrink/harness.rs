//! The core's own player of scripts, so that a script means here what it means there.

#![allow(dead_code, reason = "not all that scripts need is needed here")]

#[path = "../../../core/tests/harness/checks.rs"]
mod checks;
#[path = "../../../core/tests/harness/command.rs"]
mod command;
#[path = "../../../core/tests/harness/founding.rs"]
mod founding;
#[path = "../../../core/tests/harness/machine.rs"]
mod machine;
#[path = "../../../core/tests/harness/parse.rs"]
mod parse;
#[path = "../../../core/tests/harness/script.rs"]
mod script;
#[path = "../../../core/tests/harness/words.rs"]
mod words;
#[path = "../../../core/tests/harness/world.rs"]
mod world;

pub(crate) use script::play;
pub(crate) use world::World;
