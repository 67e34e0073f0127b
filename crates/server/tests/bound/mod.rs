//! No test waits for ever: beyond a bound it fails, and says what it waited for.

#![allow(dead_code)] // each test uses its part

use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than any whole story takes, also on a busy machine.
pub const BOUND: Duration = Duration::from_secs(150);

/// Runs a test's story.
pub fn block_on<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let told = runtime.block_on(async { tokio::time::timeout(BOUND, story).await });
    // Waiting for what else runs on it could hang as well.
    runtime.shutdown_background();
    told.unwrap_or_else(|_| panic!("it hangs: the story is not over after {BOUND:?}"))
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    ended(child, BOUND)
}

/// What a program said whose output is piped, once it has ended by itself.
pub fn ended(mut child: Child, bound: Duration) -> Output {
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if begun.elapsed() > bound {
            drop(child.kill());
            drop(child.wait());
            let said = String::from_utf8_lossy(&stderr.join().expect("no panic")).into_owned();
            panic!("it hangs: the program runs on after {bound:?}; it said: {said}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Output {
        status,
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    }
}

/// Reads along, so that a full pipe holds nobody up.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut said));
        }
        said
    })
}
