//! Three replicas as child processes, and what can be done to them.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

/// How many found the cluster: the smallest that survives the loss of one.
pub const COUNT: usize = 3;
/// How many there can be, with those that join later.
pub const SEATS: usize = 6;

/// Replicas, each a child process with a data directory of its own. Dropping it kills them.
///
/// Each child reads its standard input, a pipe whose other end only this process holds, and exits when it ends: so no
/// child outlives this process, even when this one is killed with SIGKILL.
#[derive(Debug)]
pub struct Replicas {
    program: PathBuf,
    dir: PathBuf,
    flags: Vec<String>,
    ports: [Ports; SEATS],
    children: [Slot; SEATS],
    /// Who may end by itself: it is being removed.
    leaving: [bool; SEATS],
}

/// What a replica's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It was stopped with SIGSTOP.
    Paused,
    /// It was killed, or not started yet.
    Down,
    /// It ended, and nobody asked it to.
    Ended(ExitStatus),
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    peer: u16,
}

#[derive(Debug)]
enum Slot {
    Down,
    Running(Child),
    Paused(Child),
    Ended(ExitStatus),
}

impl Replicas {
    /// Describes three replicas of `program` below `dir`, which is made. Nothing runs yet.
    ///
    /// A replica is known by its address, so a directory that was used before gives them the ports of that time.
    ///
    /// # Errors
    /// If `dir` can't be used, or no ports are free.
    pub fn new(program: &Path, dir: &Path, flags: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            program: program.into(),
            dir: dir.into(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            ports: remembered_ports(&dir.join("ports"))?,
            children: std::array::from_fn(|_| Slot::Down),
            leaving: [false; SEATS],
        })
    }

    /// Starts one that doesn't run.
    ///
    /// # Errors
    /// If the process can't be started.
    pub fn start(&mut self, which: usize) -> io::Result<()> {
        assert!(self.pid(which).is_none(), "replica {which} runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(which))?;
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(self.serve_flags(which))
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo only, and the system wakes a paused group whose parent is gone.
            .process_group(0);
        self.children[which] = Slot::Running(command.spawn()?);
        self.leaving[which] = false;
        Ok(())
    }

    /// Kills one with SIGKILL: no warning, no last words.
    pub fn kill(&mut self, which: usize) {
        self.kill_each(&[which]);
    }

    /// Kills all of them at once.
    pub fn kill_all(&mut self) {
        self.kill_each(&std::array::from_fn::<_, SEATS, _>(|which| which));
    }

    fn kill_each(&mut self, which: &[usize]) {
        for &which in which {
            self.signal(which, Signal::KILL);
        }
        for &which in which {
            let slot = std::mem::replace(&mut self.children[which], Slot::Down);
            if let Slot::Running(mut child) | Slot::Paused(mut child) = slot {
                // Only a child that was waited for before can't be waited for.
                drop(child.wait());
            }
        }
    }

    /// Stops one with SIGSTOP: it holds its connections and answers nothing.
    pub fn pause(&mut self, which: usize) {
        self.signal(which, Signal::STOP);
        let slot = std::mem::replace(&mut self.children[which], Slot::Down);
        self.children[which] = match slot {
            Slot::Running(child) => Slot::Paused(child),
            other => other,
        };
    }

    /// Lets a paused one go on.
    pub fn resume(&mut self, which: usize) {
        self.signal(which, Signal::CONT);
        let slot = std::mem::replace(&mut self.children[which], Slot::Down);
        self.children[which] = match slot {
            Slot::Paused(child) => Slot::Running(child),
            other => other,
        };
    }

    fn signal(&self, which: usize, signal: Signal) {
        // A child that has ended keeps its id until it is waited for, so this never meets a stranger.
        if let Some(pid) = self.pid(which) {
            let _ = kill_process(pid, signal);
        }
    }

    /// What one does.
    pub fn state(&mut self, which: usize) -> State {
        let slot = &mut self.children[which];
        if let Slot::Running(child) | Slot::Paused(child) = slot
            && let Ok(Some(status)) = child.try_wait()
        {
            *slot = Slot::Ended(status);
        }
        match slot {
            Slot::Down => State::Down,
            Slot::Running(_) => State::Running,
            Slot::Paused(_) => State::Paused,
            Slot::Ended(status) if self.leaving[which] && status.success() => State::Down,
            Slot::Ended(status) => State::Ended(*status),
        }
    }

    /// This one is being removed from the cluster, and ends then.
    pub fn let_leave(&mut self, which: usize) {
        self.leaving[which] = true;
    }

    /// The process of one that runs or is paused.
    pub fn pid(&self, which: usize) -> Option<Pid> {
        match &self.children[which] {
            Slot::Running(child) | Slot::Paused(child) => Some(Pid::from_child(child)),
            Slot::Down | Slot::Ended(_) => None,
        }
    }

    /// Where clients reach one, as `host:port`.
    pub fn client_address(&self, which: usize) -> String {
        address(self.ports[which].client)
    }

    /// Where the others reach one, as `host:port`.
    pub fn peer_address(&self, which: usize) -> String {
        address(self.ports[which].peer)
    }

    /// Where all of them are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where one keeps its data.
    pub fn data_dir(&self, which: usize) -> PathBuf {
        self.dir.join(name(which))
    }

    /// What one has to say.
    pub fn log(&self, which: usize) -> PathBuf {
        self.dir.join(format!("{}.log", name(which)))
    }

    /// From now on this one joins the cluster that runs, whose members are these besides itself. It begins with an empty
    /// directory, and stays one that joined for as long as that is there.
    ///
    /// # Errors
    /// If what was there before can't be removed.
    pub fn let_join(&mut self, which: usize, members: &[usize]) -> io::Result<()> {
        self.forget(which)?;
        let mut all = members.to_vec();
        all.push(which);
        fs::create_dir_all(self.data_dir(which))?;
        fs::write(self.joined(which), self.cluster(&all))
    }

    /// Removes all data of one that doesn't run.
    ///
    /// # Errors
    /// If that can't be done.
    pub fn forget(&mut self, which: usize) -> io::Result<()> {
        assert!(self.pid(which).is_none(), "replica {which} runs");
        // Where nothing is, nothing is left to do.
        match fs::remove_dir_all(self.data_dir(which)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Beside its data: the cluster that it was told to join.
    fn joined(&self, which: usize) -> PathBuf {
        self.data_dir(which).join("joined")
    }

    fn cluster(&self, members: &[usize]) -> String {
        let named = members
            .iter()
            .map(|&which| format!("{}=http://{}", name(which), self.peer_address(which)));
        named.collect::<Vec<_>>().join(",")
    }

    /// The flags that make `serve` this replica.
    pub fn serve_flags(&self, which: usize) -> Vec<String> {
        let client = format!("http://{}", self.client_address(which));
        let peer = format!("http://{}", self.peer_address(which));
        let joined = fs::read_to_string(self.joined(which)).ok();
        let state = if joined.is_some() { "existing" } else { "new" };
        let cluster = joined.unwrap_or_else(|| self.cluster(&[0, 1, 2]));
        vec![
            format!("--name={}", name(which)),
            format!("--data-dir={}", self.data_dir(which).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={cluster}"),
            format!("--initial-cluster-state={state}"),
            "--initial-cluster-token=demo".into(),
            "--exit-with-stdin".into(),
        ]
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// What people call it: the first is 1.
pub fn name(which: usize) -> String {
    (which + 1).to_string()
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn remembered_ports(path: &Path) -> io::Result<[Ports; SEATS]> {
    match fs::read_to_string(path) {
        Ok(text) => parse_ports(&text).ok_or_else(|| {
            let text = format!("{} is not what the demo wrote there", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let ports = free_ports()?;
            let lines: Vec<String> = ports
                .iter()
                .map(|ports| format!("{} {}\n", ports.client, ports.peer))
                .collect();
            fs::write(path, lines.concat())?;
            Ok(ports)
        }
        Err(error) => Err(error),
    }
}

fn parse_ports(text: &str) -> Option<[Ports; SEATS]> {
    let line = |line: &str| {
        let (client, peer) = line.split_once(' ')?;
        Some(Ports {
            client: client.parse().ok()?,
            peer: peer.parse().ok()?,
        })
    };
    let ports: Option<Vec<Ports>> = text.lines().map(line).collect();
    ports?.try_into().ok()
}

/// Below the ports that the system gives to outgoing connections: else somebody could take a dead replica's port, even
/// a neighbour that dials it, which then talks to itself. Each process begins its search elsewhere, so that two that
/// search at the same time don't find the same.
fn free_ports() -> io::Result<[Ports; SEATS]> {
    const FIRST: u32 = 20_000;
    const BLOCK: u32 = 2 * SEATS as u32;
    const BLOCKS: u32 = 1_000;
    static SEARCHES: AtomicU32 = AtomicU32::new(0);
    let mut refused = io::ErrorKind::AddrInUse.into();
    for _ in 0..BLOCKS {
        let search = SEARCHES.fetch_add(1, Ordering::Relaxed);
        let block = std::process::id().wrapping_mul(11).wrapping_add(search) % BLOCKS;
        let first = u16::try_from(FIRST + block * BLOCK).expect("it is below 32,000");
        let ports = std::array::from_fn(|which| {
            let client = first + 2 * which as u16;
            let peer = client + 1;
            Ports { client, peer }
        });
        let held: io::Result<Vec<TcpListener>> = ports
            .iter()
            .flat_map(|ports| [ports.client, ports.peer])
            .map(|port| TcpListener::bind(("127.0.0.1", port)))
            .collect();
        match held {
            Ok(_) => return Ok(ports),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// From the seed that the standard library gives its hash maps.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_used_before_keeps_its_ports() {
        let dir = std::env::temp_dir().join(format!("little-raft-ports-{}", std::process::id()));
        let program = Path::new("unused");
        let first = Replicas::new(program, &dir, &[]).expect("the directory can be made");
        let again = Replicas::new(program, &dir, &[]).expect("the directory is there");
        assert_eq!(first.serve_flags(2), again.serve_flags(2));
        fs::write(dir.join("ports"), "20000 x\n").expect("it can be written");
        let error = Replicas::new(program, &dir, &[]).expect_err("it isn't ours");
        assert!(error.to_string().contains("not what the demo wrote"));
        drop(fs::remove_dir_all(&dir));
    }
}
