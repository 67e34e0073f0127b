//! Three processes that are one group, seen from their parent.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::child::{ASKED, Pace};

const REPLICAS: u64 = 3;
/// Longer than anything here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// Three replicas with directories of their own, gone when this is.
pub struct Group {
    members: Vec<Member>,
    addresses: String,
    dir: PathBuf,
}

/// One replica's process.
pub struct Member {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// How a member says it is doing.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Whether it leads.
    pub leads: bool,
    /// Whom it follows; 0 for nobody.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// How far it knows the log to be committed.
    pub committed: u64,
    /// How far it has applied.
    pub applied: u64,
}

impl Group {
    /// Starts one. Its directories are in `dir`, if that is given: else among the system's temporary ones.
    pub fn start(dir: Option<PathBuf>) -> Self {
        let name = format!("little-raft-bench-{}", std::process::id());
        let dir = dir.unwrap_or_else(std::env::temp_dir).join(name);
        let mut group = Self {
            members: Vec::new(),
            addresses: free_addresses(),
            dir,
        };
        for id in 1..=REPLICAS {
            let member = group.spawn(id);
            group.members.push(member);
        }
        group.leader();
        group
    }

    /// Which member leads, once all know it.
    pub fn leader(&mut self) -> u64 {
        self.wait_for("one leader that all follow", |standings| {
            let leader = standings[0].leader;
            let agreed = standings
                .iter()
                .all(|s| s.leader == leader && s.term == standings[0].term);
            (leader != 0 && agreed && standings[leader as usize - 1].leads).then_some(leader)
        })
    }

    /// Waits until all have applied what is committed now.
    pub fn settle(&mut self) {
        let leader = self.leader() as usize - 1;
        let committed = self.members[leader].status().committed;
        self.wait_for("all have caught up", |standings| {
            standings
                .iter()
                .all(|s| s.applied >= committed)
                .then_some(())
        });
    }

    /// The members' names.
    pub fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        1..=REPLICAS
    }

    /// The member called `id`.
    pub fn at(&mut self, id: u64) -> &mut Member {
        &mut self.members[id as usize - 1]
    }

    /// Starts a member that was killed, on what it left behind.
    pub fn restart(&mut self, id: u64) {
        *self.at(id) = self.spawn(id);
    }

    fn spawn(&self, id: u64) -> Member {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args([ASKED, &id.to_string(), &self.addresses])
            .arg(self.dir.join(id.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Member {
            process,
            input,
            output,
        }
    }

    fn wait_for<T>(&mut self, what: &str, condition: impl Fn(&[Standing]) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            let standings: Vec<Standing> = self.members.iter_mut().map(Member::status).collect();
            if let Some(found) = condition(&standings) {
                return found;
            }
            assert!(
                begun.elapsed() < BOUND,
                "not in time: {what}: {standings:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Member {
    /// How it is doing.
    pub fn status(&mut self) -> Standing {
        let answer = self.ask("status");
        Standing {
            leads: answer["leads"] == true,
            leader: whole(&answer["leader"]),
            term: whole(&answer["term"]),
            committed: whole(&answer["committed"]),
            applied: whole(&answer["applied"]),
        }
    }

    /// Has so many clients write for so long, each waiting for its write before the next.
    pub fn write(&mut self, clients: u64, time: Duration) -> Pace {
        let answer = self.ask(&format!("write {clients} {}", time.as_millis()));
        let number = |name: &str| answer[name].as_f64().expect("a number");
        Pace {
            rate: number("rate"),
            median_us: number("median_us"),
            p99_us: number("p99_us"),
            flushes: number("flushes"),
        }
    }

    /// Lets so many clients write until [`end_load`](Self::end_load).
    pub fn begin_load(&mut self, clients: u64) {
        self.ask(&format!("begin {clients}"));
    }

    /// Ends that load.
    pub fn end_load(&mut self) {
        self.ask("end");
    }

    /// Begins to try to write; [`probed`](Self::probed) waits for the first success.
    pub fn probe(&mut self) {
        self.tell("probe");
    }

    /// Returns when the first write since [`probe`](Self::probe) was acknowledged, and says how long that took.
    pub fn probed(&mut self) -> Duration {
        let millis = self.hear()["millis"].as_f64().expect("a number");
        Duration::from_secs_f64(millis / 1e3)
    }

    /// Ends the process as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().expect("it is our child");
        self.process.wait().expect("it is our child");
    }

    /// Stops the process without a word to anybody; its sockets stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).expect("it is our child");
    }

    fn ask(&mut self, words: &str) -> Value {
        self.tell(words);
        self.hear()
    }

    fn tell(&mut self, words: &str) {
        let told = writeln!(self.input, "{words}").and_then(|()| self.input.flush());
        told.expect("the member runs");
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("the member writes text");
        serde_json::from_str(&line).expect("the member answers")
    }
}

fn whole(value: &Value) -> u64 {
    value.as_u64().expect("a whole number")
}

/// Ports that were free a moment ago.
fn free_addresses() -> String {
    let sockets: Vec<TcpListener> = (0..REPLICAS)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"))
        .collect();
    let addresses = sockets
        .iter()
        .map(|s| s.local_addr().expect("bound").to_string());
    addresses.collect::<Vec<_>>().join(",")
}
