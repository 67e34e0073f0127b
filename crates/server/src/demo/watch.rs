//! How the replicas stand, asked again and again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::Client;
use super::replicas::{COUNT, Replicas, SEATS, State};
use super::screen::{Screen, bold, dim};
use super::writer::Writer;
use crate::proto::etcdserverpb::StatusResponse;

const INTERVAL: Duration = Duration::from_millis(250);
const STATUS_TIMEOUT: Duration = Duration::from_millis(200);

/// What the story, the table and the keys share.
pub struct Stage {
    /// The processes.
    replicas: Mutex<Replicas>,
    /// Connections to them.
    pub clients: Vec<Client>,
    /// Where the story is told.
    pub screen: Screen,
    writer: Mutex<Option<Writer>>,
    rates: Mutex<Rates>,
}

#[derive(Default)]
struct Rates {
    at: Option<Instant>,
    counts: [u64; SEATS],
    per_second: [f64; SEATS],
}

impl Stage {
    /// Brings them together. Needs a tokio runtime around it.
    pub fn new(replicas: Replicas, screen: Screen) -> Arc<Self> {
        let client = |which| Client::new(&replicas.client_address(which));
        Arc::new(Self {
            clients: (0..SEATS).map(client).collect(),
            replicas: Mutex::new(replicas),
            screen,
            writer: Mutex::default(),
            rates: Mutex::default(),
        })
    }

    /// The processes.
    pub fn replicas(&self) -> MutexGuard<'_, Replicas> {
        lock(&self.replicas)
    }

    /// Whose writes the table counts.
    pub fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        lock(&self.writer)
    }

    /// Asks all at once; nothing from those that don't answer.
    pub async fn statuses(&self) -> [Option<StatusResponse>; SEATS] {
        let asked = self.clients.iter().cloned();
        let asked: Vec<_> = asked
            .map(|client| tokio::spawn(async move { client.status(STATUS_TIMEOUT).await.ok() }))
            .collect();
        let mut statuses = [const { None }; SEATS];
        for (status, asked) in statuses.iter_mut().zip(asked) {
            *status = asked.await.ok().flatten();
        }
        statuses
    }

    /// Who leads: the one that says so itself in the highest term.
    pub async fn leader(&self) -> Option<(usize, u64)> {
        leader(&self.statuses().await)
    }

    /// Draws the table again and again, until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let table = self.table().await;
            self.screen.draw(&table);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// How they stand at this moment.
    pub async fn table(&self) -> String {
        let statuses = self.statuses().await;
        let leader = leader(&statuses).map(|(which, _)| which);
        let per_second = self.per_second();
        let mut table = dim("  replica  state      term    commit   applied  writes/s  clients\n");
        for (which, status) in statuses.iter().enumerate() {
            let state = self.replicas().state(which);
            if which >= COUNT && state == State::Down {
                continue;
            }
            let address = self.replicas().client_address(which);
            let word = word(state, status.is_some(), leader == Some(which));
            let number = |value: fn(&StatusResponse) -> u64| match status {
                Some(status) => value(status).to_string(),
                None => "-".into(),
            };
            let line = format!(
                "  {:<7}  {:<9} {:>5} {:>9} {:>9} {:>9.0}  {}",
                which + 1,
                word,
                number(|status| status.raft_term),
                number(|status| status.raft_index),
                number(|status| status.raft_applied_index),
                per_second[which],
                address,
            );
            let leads = leader == Some(which) && state == State::Running;
            table += &if leads { bold(&line) } else { line };
            table.push('\n');
        }
        table
    }

    fn per_second(&self) -> [f64; SEATS] {
        let counts = self.writer().as_ref().map(Writer::acknowledged_by);
        let mut rates = lock(&self.rates);
        let Some(counts) = counts else {
            *rates = Rates::default();
            return rates.per_second;
        };
        let now = Instant::now();
        let seconds = rates.at.map_or(0.0, |at| (now - at).as_secs_f64());
        if rates.at.is_none() || seconds >= INTERVAL.as_secs_f64() / 2.0 {
            if rates.at.is_some() {
                let more = |which: usize| counts[which].saturating_sub(rates.counts[which]);
                rates.per_second = std::array::from_fn(|which| more(which) as f64 / seconds);
            }
            (rates.at, rates.counts) = (Some(now), counts);
        }
        rates.per_second
    }
}

fn word(state: State, answers: bool, leads: bool) -> &'static str {
    match state {
        State::Down => "down",
        State::Paused => "paused",
        State::Ended(_) => "ended",
        State::Running if !answers => "starts",
        State::Running if leads => "leads",
        State::Running => "follows",
    }
}

fn leader(statuses: &[Option<StatusResponse>; SEATS]) -> Option<(usize, u64)> {
    let leads = |status: &StatusResponse| {
        let own = status.header.as_ref().map(|header| header.member_id);
        own == Some(status.leader)
    };
    (0..SEATS)
        .filter_map(|which| Some((which, statuses[which].as_ref()?)))
        .filter(|(_, status)| leads(status))
        .map(|(which, status)| (which, status.raft_term))
        .max_by_key(|(_, term)| *term)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
