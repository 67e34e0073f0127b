//! Plays what happened in a run, or a part of it, as a script, and writes that script down.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use little_raft_sim::{Happened, Link, Name, Names, Record};

use super::harness::World;

/// What came of playing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Played {
    /// The commands.
    pub(crate) script: Vec<String>,
    /// What failed in the last of them.
    pub(crate) failure: Option<String>,
    /// So many of what happened were played, or had no place.
    pub(crate) length: usize,
}

/// Plays until something fails.
pub(crate) fn play(record: &Record) -> Played {
    let mut player = Player::default();
    let mut failure = player.found(record).err();
    let mut length = 0;
    for what in &record.happened {
        if failure.is_some() {
            break;
        }
        length += 1;
        if let Some(command) = player.command(what) {
            failure = player.obey(command).err();
        }
    }
    Played {
        script: player.script,
        failure,
        length,
    }
}

#[derive(Default)]
struct Player {
    world: World,
    up: BTreeSet<u64>,
    timing: String,
    names: Names,
    /// What waits on each link, in order.
    waiting: BTreeMap<Link, Vec<Name>>,
    script: Vec<String>,
}

impl Player {
    fn found(&mut self, record: &Record) -> Result<(), String> {
        self.obey(record.group.clone())?;
        self.up = self.world.machines.keys().copied().collect();
        self.timing.clone_from(&record.timing);
        let founders = self.up.clone();
        founders.into_iter().try_for_each(|id| self.set_timing(id))
    }

    fn set_timing(&mut self, id: u64) -> Result<(), String> {
        if self.timing.is_empty() {
            return Ok(());
        }
        self.obey(format!("timing {id} {}", self.timing))
    }

    /// What it is called in a script; none, if it has no place in what happens here.
    fn command(&mut self, what: &Happened) -> Option<String> {
        let is_up = |id: &u64| self.up.contains(id);
        match what {
            Happened::Waited(id, millis) => is_up(id).then(|| format!("pause {id} {millis}ms")),
            Happened::Woke(id) => self.may_wake(*id).then(|| format!("due {id}")),
            Happened::Flushed(id) => {
                let has_written = is_up(id) && !self.world.machines[id].writes.is_empty();
                has_written.then(|| format!("flushed {id} first"))
            }
            Happened::Crashed(id) => self.up.remove(id).then(|| format!("crash {id}")),
            Happened::Restarted(id) => {
                let is_down = self.world.machines.contains_key(id) && self.up.insert(*id);
                is_down.then(|| format!("restart {id}"))
            }
            Happened::Joined(id, is_witness) => {
                let is_new = !self.world.machines.contains_key(id) && self.up.insert(*id);
                let as_what = if *is_witness { " witness=yes" } else { "" };
                is_new.then(|| format!("join {id}{as_what}"))
            }
            Happened::Arrived(link, name, is_kept) => {
                let place = place(self.waiting.get(link)?, name)?;
                is_up(&link.1).then_some(())?;
                if !is_kept {
                    self.waiting.get_mut(link)?.remove(place);
                }
                let kept = if *is_kept { " kept" } else { "" };
                Some(format!(
                    "deliver {}->{} {}{kept}",
                    link.0,
                    link.1,
                    place + 1
                ))
            }
            Happened::Held(id) => is_up(id).then(|| format!("hold {id}")),
            Happened::Drained(id) => is_up(id).then(|| format!("drain {id}")),
            Happened::Asked(id, command) => is_up(id).then(|| command.clone()),
        }
    }

    fn may_wake(&self, id: u64) -> bool {
        let raft = self.world.machines.get(&id).and_then(|it| it.raft.as_ref());
        raft.is_some_and(|raft| raft.deadline() < u64::MAX)
    }

    fn obey(&mut self, command: String) -> Result<(), String> {
        let quiet = format!("quietly {command}");
        let is_start = command.starts_with("join") || command.starts_with("restart");
        let id = command.split(' ').nth(1).and_then(|id| id.parse().ok());
        self.script.push(command);
        let world = &mut self.world;
        let obeyed = catch_unwind(AssertUnwindSafe(|| world.obey(&quiet)));
        obeyed.map_err(|panic| text_of(&*panic))?;
        self.look_at_links();
        match id.filter(|_| is_start) {
            Some(id) => self.set_timing(id),
            None => Ok(()),
        }
    }

    /// Names what was sent since.
    fn look_at_links(&mut self) {
        for (&link, letters) in &self.world.links {
            let waiting = self.waiting.entry(link).or_default();
            let new = letters.iter().skip(waiting.len());
            waiting.extend(new.map(|message| self.names.name(message)));
        }
    }
}

/// Where it waits, or the newest of its kind and term: what led to this one may have been left out.
fn place(waiting: &[Name], name: &Name) -> Option<usize> {
    let is_alike = |it: &Name| (it.kind, it.term) == (name.kind, name.term);
    let exact = waiting.iter().position(|it| it == name);
    exact.or_else(|| waiting.iter().rposition(is_alike))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or(panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
