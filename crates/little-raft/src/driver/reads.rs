//! Reads on their way: asked for an index, then waiting until it is applied (rule 8).

use std::collections::VecDeque;

use crate::error::ReadError;

/// What is done with the state machine once a read may be served.
pub trait ReadTask<M>: Send {
    /// Serves it, from a machine that has applied all up to this index.
    fn run(self: Box<Self>, machine: &M, applied: u64);
    /// Ends it without.
    fn fail(self: Box<Self>, error: ReadError);
}

/// A read that has no index yet.
pub struct Asked<M> {
    ticket: u64,
    again: u64,
    deadline: u64,
    task: Box<dyn ReadTask<M>>,
}

/// A read that needs this index.
struct Waiting<M> {
    index: u64,
    deadline: u64,
    task: Box<dyn ReadTask<M>>,
}

/// A task and why it failed; to be released with no lock held.
pub type FailedRead<M> = (Box<dyn ReadTask<M>>, ReadError);

/// The reads that are not served yet.
pub struct Reads<M> {
    /// Without a ticket: the core was not asked, or refused. In order of arrival.
    parked: VecDeque<(u64, Box<dyn ReadTask<M>>)>,
    /// Asked for an index, in rising order of tickets.
    asked: VecDeque<Asked<M>>,
    /// Waiting for the index to be handed to the applier, in rising order of it.
    waiting: VecDeque<Waiting<M>>,
}

impl<M> Default for Reads<M> {
    fn default() -> Self {
        Self {
            parked: VecDeque::new(),
            asked: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }
}

impl<M> Reads<M> {
    /// A read that the core must be asked about.
    pub fn park(&mut self, deadline: u64, task: Box<dyn ReadTask<M>>) {
        self.parked.push_back((deadline, task));
    }

    /// The oldest parked read.
    pub fn unpark(&mut self) -> Option<(u64, Box<dyn ReadTask<M>>)> {
        self.parked.pop_front()
    }

    /// The core was asked under this ticket; ask again at `again`, as a message may have been lost.
    pub fn ask(&mut self, ticket: u64, again: u64, deadline: u64, task: Box<dyn ReadTask<M>>) {
        self.asked.push_back(Asked {
            ticket,
            again,
            deadline,
            task,
        });
    }

    /// The core refused it for now.
    pub fn refused(&mut self, ticket: u64) {
        if let Some(asked) = self.answered(ticket) {
            self.parked.push_back((asked.deadline, asked.task));
        }
    }

    /// It may be served once `index` is applied.
    pub fn confirmed(&mut self, ticket: u64, index: u64) {
        if let Some(asked) = self.answered(ticket) {
            // What is committed will be applied here, sooner or later.
            self.await_index(index, u64::MAX, asked.task);
        }
    }

    /// It may be served once `index` is applied, whoever leads.
    pub fn await_index(&mut self, index: u64, deadline: u64, task: Box<dyn ReadTask<M>>) {
        let at = self.waiting.partition_point(|it| it.index <= index);
        let waiting = Waiting {
            index,
            deadline,
            task,
        };
        self.waiting.insert(at, waiting);
    }

    /// Whether any waits for its index to be handed to the applier.
    pub fn is_any_confirmed(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Those that may follow what was handed to the applier, up to `handed`.
    pub fn ready(&mut self, handed: u64) -> Vec<Box<dyn ReadTask<M>>> {
        let count = self.waiting.partition_point(|it| it.index <= handed);
        self.waiting.drain(..count).map(|it| it.task).collect()
    }

    /// Ends what was not confirmed in time, and parks what should be asked about again.
    pub fn expire(&mut self, now: u64, failed: &mut Vec<FailedRead<M>>) {
        for asked in std::mem::take(&mut self.asked) {
            if asked.again <= now || asked.deadline <= now {
                self.parked.push_back((asked.deadline, asked.task));
            } else {
                self.asked.push_back(asked);
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.deadline <= now {
                let index = waiting.index;
                failed.push((waiting.task, ReadError::NotReached { index }));
            } else {
                self.waiting.push_back(waiting);
            }
        }
        if self.parked.iter().all(|(deadline, _)| *deadline > now) {
            return;
        }
        for (deadline, task) in std::mem::take(&mut self.parked) {
            if deadline <= now {
                failed.push((task, ReadError::NoLeader));
            } else {
                self.parked.push_back((deadline, task));
            }
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn deadline(&self) -> u64 {
        let asked = self
            .asked
            .front()
            .map_or(u64::MAX, |a| a.again.min(a.deadline));
        let parked = self
            .parked
            .front()
            .map_or(u64::MAX, |(deadline, _)| *deadline);
        let waiting = self.waiting.iter().map(|it| it.deadline).min();
        asked.min(parked).min(waiting.unwrap_or(u64::MAX))
    }

    /// Whether reads wait for a leader.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// How many are not served.
    pub fn open(&self) -> usize {
        self.parked.len() + self.asked.len() + self.waiting.len()
    }

    /// Ends all of them.
    pub fn fail_all(&mut self, error: ReadError, failed: &mut Vec<FailedRead<M>>) {
        failed.extend(self.parked.drain(..).map(|(_, task)| (task, error)));
        failed.extend(self.asked.drain(..).map(|asked| (asked.task, error)));
        failed.extend(self.waiting.drain(..).map(|it| (it.task, error)));
    }

    fn answered(&mut self, ticket: u64) -> Option<Asked<M>> {
        let at = self
            .asked
            .binary_search_by_key(&ticket, |asked| asked.ticket)
            .ok()?;
        self.asked.remove(at)
    }
}
