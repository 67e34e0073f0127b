//! One replica with its disk, its clock and what it has applied.

use std::collections::{BTreeMap, VecDeque};

use little_raft_core::message::{Content, Snapshot};
use little_raft_core::{
    Base, Config, Entry, EntryKind, HardState, Input, Now, Outputs, PieceOutcome, Position, Raft,
    Restored, Write,
};

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub base: Base,
    pub entries: Vec<Entry>,
}

impl Disk {
    pub fn last(&self) -> Position {
        let last = self.entries.last().map(|entry| entry.position);
        last.unwrap_or(self.base.position)
    }

    pub fn keep(&mut self, write: Write) {
        self.hard_state = write.hard_state;
        if let Some(base) = write.base {
            self.begin_at(*base);
        }
        if let Some(first) = write.entries.first() {
            let first = first.position.index;
            self.entries.retain(|entry| entry.position.index < first);
            assert_eq!(self.last().index + 1, first, "a gap in the log on disk");
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    fn begin_at(&mut self, base: Base) {
        let Position { index, term } = base.position;
        let is_there = |entry: &Entry| entry.position == Position::new(index, term);
        if self.entries.iter().any(is_there) {
            self.entries.retain(|entry| entry.position.index > index);
        } else {
            self.entries.clear();
        }
        self.base = base;
    }

    pub fn restored(&self) -> Restored {
        let mut before = self.base.position.term;
        let mut terms = Vec::new();
        for entry in &self.entries {
            if entry.position.term != before {
                before = entry.position.term;
                terms.push(entry.position);
            }
        }
        Restored {
            hard_state: self.hard_state,
            base: self.base.clone(),
            terms,
            last: self.last().index,
            memberships: self.memberships(),
            tail: self.entries.clone(),
        }
    }

    fn memberships(&self) -> Vec<Entry> {
        let is_one = |entry: &&Entry| entry.kind == EntryKind::Membership;
        self.entries.iter().filter(is_one).cloned().collect()
    }

    /// Whether it has this entry, or a snapshot that covers it.
    pub fn holds(&self, position: Position) -> bool {
        let mut entries = self.entries.iter();
        position.index <= self.base.position.index || entries.any(|it| it.position == position)
    }

    pub fn read(&self, first: u64, last: u64) -> Vec<Entry> {
        let wanted = |entry: &&Entry| (first..=last).contains(&entry.position.index);
        self.entries.iter().filter(wanted).cloned().collect()
    }
}

pub struct Machine {
    pub config: Config,
    /// Nobody is there while it is crashed.
    pub raft: Option<Raft>,
    pub clock: u64,
    pub disk: Disk,
    /// Written, not flushed.
    pub writes: VecDeque<Write>,
    pub is_disk_hung: bool,
    /// What it asks for after the next input waits for more.
    pub is_held: bool,
    pub are_pieces_refused: bool,
    /// Its state machine reports what it has applied only when it is told to.
    pub is_slow: bool,
    pub unreported: VecDeque<u64>,
    /// Snapshots being sent, by transfer.
    pub sending: BTreeMap<u64, Base>,
    /// How much of a snapshot was received.
    pub received: (Base, u64),
    /// The committed index that was last told.
    pub told: u64,
}

/// Each snapshot travels in two pieces of so many bytes.
const PIECE_BYTES: u64 = 4;
const CONTENT: Content = Content::Kept {
    length: 2 * PIECE_BYTES,
    checksum: 7,
};

impl Machine {
    pub fn new(config: Config, disk: Disk) -> Self {
        let mut machine = Self {
            config,
            raft: None,
            clock: 0,
            disk,
            writes: VecDeque::new(),
            is_disk_hung: false,
            is_held: false,
            are_pieces_refused: false,
            is_slow: false,
            unreported: VecDeque::new(),
            sending: BTreeMap::new(),
            received: (Base::default(), 0),
            told: 0,
        };
        machine.start();
        machine
    }

    pub fn start(&mut self) {
        let now = self.now();
        let raft = Raft::new(self.config.clone(), self.disk.restored(), now);
        let raft = raft.expect("a timing that works");
        self.told = raft.committed();
        self.raft = Some(raft);
    }

    pub fn crash(&mut self) {
        self.raft = None;
        self.writes.clear();
        self.sending.clear();
        self.received = (Base::default(), 0);
        self.unreported.clear();
        self.is_held = false;
    }

    pub fn now(&self) -> Now {
        Now {
            monotonic: self.clock,
            wall: 1_000_000_000 + self.clock,
        }
    }

    pub fn raft(&self) -> &Raft {
        self.raft.as_ref().expect("it is not crashed")
    }

    pub fn step(&mut self, input: Input) {
        let now = self.now();
        if let Some(raft) = &mut self.raft {
            raft.step(now, input);
        }
    }

    pub fn outputs(&mut self) -> Outputs {
        let now = self.now();
        match &mut self.raft {
            Some(raft) => raft.outputs(now),
            None => Outputs::default(),
        }
    }

    /// All up to `index` is applied: what is to be said of it now.
    pub fn report_applied(&mut self, index: u64) -> Option<Input> {
        if self.is_slow {
            self.unreported.push_back(index);
            return None;
        }
        Some(Input::Applied { index })
    }

    /// The disk as it will be once all is flushed.
    pub fn disk_to_be(&self) -> Disk {
        let mut disk = self.disk.clone();
        self.writes.iter().for_each(|w| disk.keep(w.clone()));
        disk
    }

    pub fn flush(&mut self, count: usize) {
        for _ in 0..count {
            let Some(write) = self.writes.pop_front() else {
                return;
            };
            let number = write.number;
            self.disk.keep(write);
            self.step(Input::Flushed { write: number });
        }
    }

    pub fn piece(&mut self, transfer: u64, offset: u64) -> Snapshot {
        let base = self.disk_to_be().base;
        let end = match offset < PIECE_BYTES {
            true => PIECE_BYTES,
            false => 2 * PIECE_BYTES,
        };
        let base = self.sending.entry(transfer).or_insert(base).clone();
        Snapshot {
            transfer,
            base,
            content: CONTENT,
            offset,
            data: vec![7; (end - offset) as usize].into(),
            done: end == 2 * PIECE_BYTES,
            elsewhere: None,
        }
    }

    /// A piece of another snapshot begins anew; one that does not continue what was received is no news.
    pub fn store(&mut self, piece: Snapshot) -> PieceOutcome {
        if self.are_pieces_refused {
            return PieceOutcome::Failed;
        }
        let (base, length) = &self.received;
        let length = if *base == piece.base { *length } else { 0 };
        let end = piece.offset + piece.data.len() as u64;
        let length = if piece.offset == length { end } else { length };
        self.received = (piece.base.clone(), length);
        if piece.done && length == end {
            PieceOutcome::Complete(piece.base)
        } else {
            PieceOutcome::Stored(length)
        }
    }
}
