//! What a replica had begun and now does: it flushes, applies, fetches, takes snapshots and passes them on.

use little_raft_core::{Entry, Fetch, Input, PieceOutcome, Raft, ReceivedPiece, ReplicaId};

use super::running::Task;
use super::{Due, Effects, Node};
use crate::coverage::Situation;
use crate::machine::{Machine, Snapshot};
use crate::random::Random;
use crate::receiving::Receiving;
use crate::weather::{MICRO, MILLI, Weather};

impl Node {
    /// Does what is due; true if the core was given something.
    pub(crate) fn due(
        &mut self,
        now: u64,
        due: Due,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        if self.running.is_none() {
            return;
        }
        match due {
            Due::Wake => self.step(now, Input::Wake),
            Due::Drain => self.drain(now, random, weather, effects),
            Due::Flushed => {
                let write = self.disk.end_flush();
                self.flush(now, random, weather, effects);
                self.report(now, Input::Flushed { write }, random, weather, effects);
            }
            Due::Reported(input) => {
                let applied = self.raft().map_or(0, Raft::applied_index);
                if matches!(*input, Input::Applied { index } if index < applied) {
                    effects.reached.push(Situation::ReportOvertaken);
                }
                self.step(now, *input);
            }
            Due::Applied => self.apply(now, random, weather, effects),
            Due::Fetched(fetch) => {
                let entries = self.read(&fetch);
                effects.reached.push(match entries.is_empty() {
                    _ if self.is_witness => Situation::SupplyFetched,
                    true => Situation::HeadDroppedInFetch,
                    false => Situation::Fetched,
                });
                self.step(
                    now,
                    Input::Fetched {
                        to: fetch.to,
                        entries,
                    },
                );
            }
            Due::SnapshotTaken(snapshot) => self.snapshot_taken(now, snapshot, random),
            Due::Piece {
                to,
                transfer,
                offset,
            } => self.send_piece(now, to, transfer, offset, random, weather),
            Due::PieceStored(piece, sender) => {
                let (from, transfer) = (piece.from, piece.piece.transfer);
                let end = piece.piece.end();
                effects.reached.extend(self.resumes(&piece));
                let outcome = self.store(&piece, random);
                let is_whole = matches!(outcome, PieceOutcome::Complete(_));
                let running = self.running.as_mut().expect("checked by the caller");
                running.senders.add(sender);
                let ended = is_whole.then(|| running.senders.end()).flatten();
                effects.reached.extend(ended);
                if matches!(outcome, PieceOutcome::Stored(next) if next != end) {
                    effects.reached.push(Situation::PieceRepeated);
                }
                self.step(
                    now,
                    Input::PieceStored {
                        from,
                        transfer,
                        outcome,
                    },
                );
            }
        }
    }

    fn read(&self, fetch: &Fetch) -> Vec<Entry> {
        let mut bytes = 0;
        let mut next = fetch.first;
        let stored = self.disk.durable.entries.range(fetch.first..=fetch.last);
        let wanted = stored.take_while(|(index, entry)| {
            let fits = **index == next && (bytes == 0 || bytes + entry.bytes() <= fetch.bytes_max);
            bytes += entry.bytes();
            next += 1;
            fits
        });
        wanted.map(|(_, entry)| entry.clone()).collect()
    }

    fn apply(&mut self, now: u64, random: &mut Random, weather: &Weather, effects: &mut Effects) {
        let running = self.running.as_mut().expect("checked by the caller");
        match running.tasks.pop_front().expect("a task was begun") {
            Task::Entries(entries) => running.apply(entries, effects),
            Task::Stored { first, last } => {
                let stored = self.disk.durable.entries.range(first..=last);
                let entries: Vec<Entry> = stored.map(|(_, entry)| entry.clone()).collect();
                if entries.len() as u64 == last + 1 - first {
                    running.apply(entries, effects);
                } else {
                    running.skip_to_snapshot();
                }
            }
            Task::Install(base) => match self.disk.snapshots.get(&base.position.index) {
                Some(snapshot) => running.install(&base, snapshot, effects),
                None => running.skip_to_snapshot(),
            },
        }
        running.serve_reads(effects);
        let index = running.machine.position.index;
        // At the same places where the rate is the same, if entries are applied one by one.
        if index / running.snapshot_every > running.snapshot_taken / running.snapshot_every {
            running.snapshot_taken = index;
            let snapshot = running.snapshot(random, weather);
            effects.later.push((
                random.between(MICRO, 200 * MILLI),
                Due::SnapshotTaken(snapshot),
            ));
        }
        if !running.tasks.is_empty() {
            let delay = self.apply_delay(now, random, weather);
            effects.later.push((delay, Due::Applied));
        }
        self.report(now, Input::Applied { index }, random, weather, effects);
    }

    /// Tells the core what was done, now or later.
    fn report(
        &mut self,
        now: u64,
        input: Input,
        random: &mut Random,
        weather: &Weather,
        effects: &mut Effects,
    ) {
        match random.chance(weather.late_reports) {
            true => {
                let after = random.below(3 * MILLI);
                effects.later.push((after, Due::Reported(Box::new(input))));
            }
            false => self.step(now, input),
        }
    }

    fn snapshot_taken(&mut self, now: u64, snapshot: Snapshot, random: &mut Random) {
        let index = snapshot.base.position.index;
        self.disk.snapshots.insert(index, snapshot);
        let keep = random.pick(&[0, 0, 1, 5, 30]);
        self.step(
            now,
            Input::Compact {
                index: index.saturating_sub(keep),
            },
        );
    }

    fn send_piece(
        &mut self,
        now: u64,
        to: ReplicaId,
        transfer: u64,
        offset: u64,
        random: &mut Random,
        weather: &Weather,
    ) {
        let running = self.running.as_ref().expect("checked by the caller");
        let Some(snapshot) = running.sending.get(&(to, transfer)) else {
            return;
        };
        if random.chance(weather.loss / 10) {
            return self.step(now, Input::SendFailed { to, transfer });
        }
        let from = (offset as usize).min(snapshot.data.len());
        let end = (from + weather.piece_bytes as usize).min(snapshot.data.len());
        let piece = little_raft_core::message::Snapshot {
            transfer,
            base: snapshot.base.clone(),
            content: snapshot.content(),
            offset,
            data: snapshot.data.slice(from..end),
            done: end == snapshot.data.len(),
            elsewhere: None,
        };
        self.step(now, Input::SendPiece { to, piece });
    }

    fn resumes(&self, received: &ReceivedPiece) -> Option<Situation> {
        let receiving = self.running.as_ref()?.receiving.as_ref()?;
        receiving.resumed_by(received)
    }

    fn store(&mut self, received: &ReceivedPiece, random: &mut Random) -> PieceOutcome {
        let running = self.running.as_mut().expect("checked by the caller");
        let is_known = |receiving: &Receiving| receiving.is_of(&received.piece);
        let is_forgetful = random.chance(10) || !running.receiving.as_ref().is_some_and(is_known);
        if received.piece.offset == 0 && is_forgetful {
            running.receiving = Some(Receiving::begin(received));
        }
        let Some(receiving) = running.receiving.as_mut().filter(|it| is_known(it)) else {
            return PieceOutcome::Failed;
        };
        let Some(snapshot) = receiving.take(received) else {
            return PieceOutcome::Stored(receiving.stored());
        };
        running.receiving = None;
        if Machine::restore(&snapshot).is_none() || random.chance(20) {
            return PieceOutcome::Failed;
        }
        let base = snapshot.base.clone();
        self.disk.snapshots.insert(base.position.index, snapshot);
        PieceOutcome::Complete(base)
    }
}
