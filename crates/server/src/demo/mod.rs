//! `demo`: three replicas as three processes, and a story played on them.

pub mod client;
mod error;
pub mod group;
mod keys;
pub mod ledger;
mod regroup;
pub mod replicas;
mod screen;
mod tour;
mod watch;
mod words;
pub mod writer;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use error::DemoError;
use keys::{Keys, Wish};
use replicas::{COUNT, Replicas, State};
use screen::{Screen, bold, dim};
use tour::{Figures, Tour};
use watch::Stage;
use writer::{Pace, SHORT_PATIENCE, Writer};

/// Plays a story on three replicas.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Where the replicas keep their data [default: a temporary folder, removed at the end]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Ends after the story, in a terminal too.
    #[arg(long)]
    pub tour: bool,
    /// Prints one JSON object at the end; the story goes to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Afterwards somebody writes on, so that there is something to see.
const GENTLE: Pace = Pace {
    lanes: 4,
    pause: Duration::from_millis(20),
    patience: SHORT_PATIENCE,
};

/// Plays it.
///
/// # Errors
/// If it can't start, at the first step that doesn't hold, or if somebody ends it before the end.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    runtime.block_on(play(args))
}

async fn play(args: &DemoArgs) -> Result<(), DemoError> {
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let mut signals = Signals::listen()?;
    let folder = Folder::open(args.dir.as_deref())?;
    let replicas = Replicas::new(&program, &folder.path, &[]).map_err(folder.unusable())?;
    let stage = Stage::new(replicas, Screen::new(args.json));
    let mut keys = Keys::listen();
    let stays = !args.tour && keys.are_there() && stage.screen.is_live();
    introduce(&stage, &program);

    let watcher = tokio::spawn(Arc::clone(&stage).watch());
    let mut tour = Tour::new(Arc::clone(&stage), &run_prefix());
    let told = tokio::select! {
        told = tour.play() => told,
        () = ends(&mut signals, &mut keys) => Err(DemoError::Interrupted),
    };
    if told.is_ok() && stays {
        tokio::select! {
            () = stay(&stage, &mut keys) => {}
            () = signals.any() => {}
        }
    }
    watcher.abort();
    stage.screen.close();
    stage.replicas().kill_all();
    drop(keys);
    if args.json {
        // Where nobody can read it, the exit code still tells.
        let _ = writeln!(io::stdout(), "{}", json(&tour.figures, told.as_ref().err()));
    }
    match told {
        // What went wrong can be looked into.
        Err(error) if !matches!(error, DemoError::Interrupted) => Err(error),
        told => folder.close().and(told),
    }
}

fn introduce(stage: &Stage, program: &Path) {
    let replicas = stage.replicas();
    let mut text = bold(
        "Little Raft: three replicas, each a process with a data directory and ports of its own",
    );
    for which in 0..COUNT {
        let (address, dir) = (replicas.client_address(which), replicas.data_dir(which));
        text += &format!("\n  {}  http://{address}  {}", which + 1, dir.display());
    }
    let all: Vec<String> = (0..COUNT)
        .map(|which| replicas.client_address(which))
        .collect();
    let (all, program) = (all.join(","), words::shortest(program));
    text += "\nTry it from another terminal:";
    text += &format!("\n  ETCDCTL_API=3 etcdctl --endpoints={all} put greeting hello");
    text += &format!("\n  {} --endpoints={all} get greeting", program.display());
    stage.screen.say(&text);
}

async fn ends(signals: &mut Signals, keys: &mut Keys) {
    let quits = async { while keys.wish().await != Wish::Quit {} };
    tokio::select! {
        () = signals.any() => {}
        () = quits => {}
    }
}

/// After the story the keys rule.
async fn stay(stage: &Stage, keys: &mut Keys) {
    stage.screen.say(&bold("\nYour turn"));
    stage.screen.say(
        "Writes go on, 200 a second. Break it, and watch who leads, and whether writes go on.",
    );
    stage.screen.footer(&dim(
        "\n  k1 kills replica 1, p1 pauses, c1 continues, r1 restarts it; q quits\n",
    ));
    let prefix = run_prefix();
    *stage.writer() = Some(Writer::start(&stage.clients, &prefix, GENTLE));
    loop {
        match keys.wish().await {
            Wish::Quit => return,
            wish => stage.screen.say(&grant(stage, wish)),
        }
    }
}

fn grant(stage: &Stage, wish: Wish) -> String {
    let mut replicas = stage.replicas();
    match wish {
        Wish::Kill(which) => {
            replicas.kill(which);
            format!("Replica {} is killed (SIGKILL).", which + 1)
        }
        Wish::Pause(which) if replicas.state(which) == State::Running => {
            replicas.pause(which);
            format!(
                "Replica {} is paused (SIGSTOP): its connections stay, and it is silent.",
                which + 1
            )
        }
        Wish::Resume(which) if replicas.state(which) == State::Paused => {
            replicas.resume(which);
            format!("Replica {} continues (SIGCONT).", which + 1)
        }
        Wish::Restart(which) => {
            replicas.kill(which);
            match replicas.start(which) {
                Ok(()) => format!("Replica {} is started again.", which + 1),
                Err(error) => format!("Replica {} can't be started: {error}.", which + 1),
            }
        }
        Wish::Pause(which) => format!("Replica {} doesn't run.", which + 1),
        Wish::Resume(which) => format!("Replica {} isn't paused.", which + 1),
        Wish::Quit => String::new(),
    }
}

fn json(figures: &Figures, error: Option<&DemoError>) -> serde_json::Value {
    let ms = |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 1e4).round() / 10.0);
    let mut object = serde_json::json!({
        "writes": figures.writes,
        "acknowledged": figures.acknowledged,
        "lost": figures.lost,
        "failover_ms": ms(figures.failover),
        "restart_catch_up_ms": ms(figures.catch_up),
        "linearizable_reads": figures.linearizable_reads,
        "join_ms": ms(figures.join),
        "replace_ms": ms(figures.replace),
        "transfer_ms": ms(figures.transfer),
        "ok": error.is_none(),
    });
    if let Some(error) = error {
        object["error"] = error.to_string().into();
    }
    object
}

/// A directory may have been used before, so each run has keys of its own.
fn run_prefix() -> String {
    format!("demo/{:016x}/", replicas::random())
}

fn system(action: &'static str) -> impl Fn(std::io::Error) -> DemoError {
    move |source| DemoError::System { action, source }
}

/// Whatever asks a program to end and lets it tidy up.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self, DemoError> {
        let listen = |kind| signal(kind).map_err(system("listen for signals"));
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Where the replicas live.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(given: Option<&Path>) -> Result<Self, DemoError> {
        let (path, temporary) = match given {
            Some(path) => (path.to_path_buf(), false),
            None => {
                let name = format!("little-raft-demo-{:016x}", replicas::random());
                (std::env::temp_dir().join(name), true)
            }
        };
        let folder = Self { path, temporary };
        fs::create_dir_all(&folder.path).map_err(folder.unusable())?;
        Ok(folder)
    }

    fn unusable(&self) -> impl Fn(std::io::Error) -> DemoError {
        let path = self.path.clone();
        move |source| DemoError::Folder {
            path: path.clone(),
            source,
        }
    }

    fn close(self) -> Result<(), DemoError> {
        if self.temporary {
            fs::remove_dir_all(&self.path).map_err(self.unusable())?;
        }
        Ok(())
    }
}
