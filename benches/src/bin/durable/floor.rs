//! What the machine itself takes: three processes, each in a loop a round trip to the next one and a flush of its own
//! file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use little_raft_benches::median;

const ASKED: &str = "be-floor";
const PROCESSES: usize = 3;
const TRIP_BYTES: usize = 64;
const WRITE_BYTES: usize = 4096;
const FILE_BYTES: u64 = 16 << 20;

/// Medians of one round, in microseconds.
#[derive(Clone, Copy)]
pub struct Round {
    pub trip_us: f64,
    pub flush_us: f64,
    pub both_us: f64,
}

/// Three processes that wait to measure.
pub struct Floor {
    probes: Vec<Probe>,
    dir: PathBuf,
}

struct Probe {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Floor {
    pub fn prepare(dir: Option<PathBuf>) -> Self {
        let name = format!("little-raft-floor-{}", std::process::id());
        let dir = dir.unwrap_or_else(std::env::temp_dir).join(name);
        std::fs::create_dir_all(&dir).expect("the directory can be made");
        let mut probes: Vec<Probe> = (0..PROCESSES).map(|at| Probe::start(&dir, at)).collect();
        let addresses: Vec<String> = probes.iter_mut().map(Probe::hear).collect();
        for (at, probe) in probes.iter_mut().enumerate() {
            probe.tell(&addresses[(at + 1) % PROCESSES]);
        }
        Self { probes, dir }
    }

    /// All three run at once; what is told is the median of their medians.
    pub fn measure(&mut self, time: Duration) -> Round {
        for probe in &mut self.probes {
            probe.tell(&time.as_millis().to_string());
        }
        let heard: Vec<Vec<f64>> = self.probes.iter_mut().map(Probe::hear_figures).collect();
        let of = |figure: usize| median(heard.iter().map(|figures| figures[figure]).collect());
        Round {
            trip_us: of(0),
            flush_us: of(1),
            both_us: of(2),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        for probe in &mut self.probes {
            let _ = probe.process.kill();
            let _ = probe.process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Probe {
    fn start(dir: &Path, at: usize) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .arg(ASKED)
            .arg(dir.join(at.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self {
            process,
            input,
            output,
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the probe runs");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the probe answers");
        line.trim().to_owned()
    }

    fn hear_figures(&mut self) -> Vec<f64> {
        let line = self.hear();
        line.split(' ')
            .map(|word| word.parse().expect("a figure"))
            .collect()
    }
}

/// If this process was started as a probe, is that until its parent closes its input, and never returns.
pub fn be_probe_if_asked() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [asked, path] = &words[..]
        && asked == ASKED
    {
        probe(Path::new(path)).expect("the machine works");
        std::process::exit(0);
    }
}

fn probe(path: &Path) -> io::Result<()> {
    let file = written_file(path)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    thread::spawn(move || echo(listener));
    let mut lines = io::stdin().lock().lines();
    let next = lines.next().expect("the parent names the next probe")?;
    let mut stream = TcpStream::connect(next)?;
    stream.set_nodelay(true)?;
    for line in lines {
        let millis = line?.parse().expect("the parent names a time");
        let [trip, flush, both] = run(&mut stream, &file, Duration::from_millis(millis))?;
        println!("{trip} {flush} {both}");
    }
    Ok(())
}

/// A file that has its space and was written to once, so that a flush has no bookkeeping of the file system's to do.
fn written_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn echo(listener: TcpListener) {
    let (mut stream, _) = listener.accept().expect("the probe before this one dials");
    stream.set_nodelay(true).expect("it is TCP");
    let mut bytes = [0; TRIP_BYTES];
    while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
}

/// The medians of the round trip, of the write and flush, and of both together, in microseconds.
fn run(stream: &mut TcpStream, file: &File, time: Duration) -> io::Result<[f64; 3]> {
    let (mut trips, mut flushes, mut boths) = (Vec::new(), Vec::new(), Vec::new());
    let (mut message, page) = ([1; TRIP_BYTES], [2; WRITE_BYTES]);
    let mut offset = 0;
    let until = Instant::now() + time;
    while Instant::now() < until {
        let begun = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let between = Instant::now();
        file.write_all_at(&page, offset)?;
        file.sync_data()?;
        let ended = Instant::now();
        trips.push(micros(between - begun));
        flushes.push(micros(ended - between));
        boths.push(micros(ended - begun));
        offset = (offset + WRITE_BYTES as u64) % FILE_BYTES;
    }
    Ok([median(trips), median(flushes), median(boths)])
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
