//! The commands of a script.
//!
//! ```text
//! group 1 2 3 [leader=1] [term=2] [log=1@1,2@2] [committed=2] [window=..] [window_bytes=..] [message=..] [cache=..]
//!             [uncommitted=..] [apply=..] [lease=10s] [restarted=yes] [unbound=yes] [witnesses=3,5]
//!             [nearest=3:2,4:2] (3 would rather have snapshots from 2, and so would 4)
//!                              replicas with these logs; elects a leader, whose own entry ends the log
//! state 2 [term=..] [log=..] [committed=..] [vote=..]    replica 2 starts from this instead
//! elect 1 [by 2 3]             lets it campaign until it leads; only these hear of it
//! propose 1 "x" [bytes=300]    read 1 r        transfer 1 [to 2]    compact 1 5     unreachable 1 2
//! change 1 add:4 remove:2 [..] [expecting=2]   voter:4 learner:2 spare:4 witness:4 address:2:x priority:2:5 timing:10ms:100ms
//! join 4 [witness=yes]         a new replica without a log, that knows nobody; `join 4 as 107`: of this directory
//! slow 2                       its state machine does not report by itself; `applied 2 first|last` does
//! accepting 1 no               timing 1 10ms 100ms                  storing 2 fails
//! deliver 1->2 [first|last|urgent] [term=..] [boot=..] ...      all that waits there, or one; changed on its way
//! deliver 1->2 3 kept          the third that waits there; `kept`: a copy of it goes on waiting
//! drop 1->2 [first|last]       duplicate 1->2  reverse 1->2         keep 1->2 as late; replay late
//! flushed 1 [first]            hang 1          unhang 1
//! hold 1                       what its next input makes it want waits for more of them, or for `drain 1`
//! cut 1->2 | cut 1             heal            what is sent there is lost; what waits there too
//! cut 1->2 bulk                only what carries entries is lost
//! advance 1 400ms              its clock goes on, and it wakes when it wants to; `advance all` moves all clocks
//! due 1                        its clock goes on until it wants to wake, and it wakes
//! pause 1 400ms                its clock goes on, and it does not wake, not even when it wants to; wake 1
//! run 2s                       time passes, network and disks work; only decisions are written down
//! settle                       network and disks work until nothing is left to do
//! crash 1    restart 1         what was not flushed is lost
//! status                       quietly <command>
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use little_raft_core::message::Class;
use little_raft_core::{
    Change, Conditions, Input, Message, Position, Proposal, ReplicaId, State, Timing,
};

use super::parse::{Words, altered, change, number, time};
use super::words;
use super::world::{Voice, World};

impl World {
    pub fn obey(&mut self, line: &str) {
        let words = Words::of(line);
        let id = |place| words.id(place);
        match words.word(0) {
            "group" => self.group(&words),
            "state" => self.set_state(&words),
            "elect" => self.elect_by(&words),
            "propose" => self.propose(&words, line),
            "read" => {
                let ticket = self.ticket(words.word(2));
                self.step(id(1), Input::Read { ticket });
            }
            "transfer" => {
                let to = words.words.get(3).map(|id| ReplicaId(number(id)));
                self.step(id(1), Input::Transfer { to });
            }
            "change" => self.change(&words),
            "join" => self.join(&words),
            "compact" => self.step(id(1), Input::Compact { index: id(2) }),
            "unreachable" => self.step(id(1), Input::Unreachable(ReplicaId(id(2)))),
            "accepting" => self.step(id(1), Input::Accepting(words.word(2) == "yes")),
            "timing" => {
                let (heartbeat, election) = (time(words.word(2)), time(words.word(3)));
                let timing = Timing {
                    heartbeat,
                    election,
                };
                self.step(id(1), Input::SetTiming(timing));
            }
            "storing" => self.machine(id(1)).are_pieces_refused = words.word(2) == "fails",
            "received" => {
                let base = self.machine(id(4)).disk_to_be().base;
                self.machine(id(1)).received = (base, id(2));
            }
            "slow" => self.machine(id(1)).is_slow = true,
            "applied" => {
                let unreported = &mut self.machine(id(1)).unreported;
                let index = match words.word(2) {
                    "first" => unreported.pop_front(),
                    _ => unreported.pop_back(),
                };
                let index = index.expect("something was applied");
                self.step(id(1), Input::Applied { index });
            }
            "deliver" => {
                for message in self.take(&words) {
                    self.deliver(words.link().1, altered(message, &words));
                }
            }
            "drop" => drop(self.take(&words)),
            "duplicate" => {
                let waiting = self.links.entry(words.link()).or_default();
                waiting.extend(waiting.clone());
            }
            "reverse" => {
                let waiting = self.links.entry(words.link()).or_default();
                waiting.make_contiguous().reverse();
            }
            "keep" => {
                let kept = self.links.entry(words.link()).or_default().clone();
                let name = words.word(3).to_owned();
                self.kept.entry(name).or_default().extend(kept);
            }
            "replay" => {
                for message in self.kept[words.word(1)].clone() {
                    self.deliver(message.to.0, altered(message, &words));
                }
            }
            "flushed" => {
                let is_one = words.words.get(2) == Some(&"first");
                let count = if is_one { 1 } else { usize::MAX };
                self.machine(id(1)).flush(count);
                self.drain(id(1));
            }
            "hold" => self.machine(id(1)).is_held = true,
            "drain" => {
                self.machine(id(1)).is_held = false;
                self.drain(id(1));
            }
            "hang" => self.machine(id(1)).is_disk_hung = true,
            "unhang" => self.machine(id(1)).is_disk_hung = false,
            "cut" => self.cut(&words),
            "heal" => {
                self.cut.clear();
                self.cut_bulk.clear();
            }
            "advance" => self.advance(&words),
            "due" => {
                let machine = self.machine(id(1));
                machine.clock = machine.clock.max(machine.raft().deadline());
                self.step(id(1), Input::Wake);
            }
            "pause" => self.machine(id(1)).clock += time(words.word(2)).as_nanos() as u64,
            "wake" => self.step(id(1), Input::Wake),
            "run" => self.run(time(words.word(1))),
            "settle" => self.in_voice(Voice::Decisions, Self::settle),
            "crash" => self.machine(id(1)).crash(),
            "restart" => {
                let machine = self.machine(id(1));
                machine.config.boot += 1;
                machine.start();
                self.in_voice(Voice::Nothing, |world| world.drain(id(1)));
            }
            "status" => self.status(),
            "quietly" => {
                let rest = line.strip_prefix("quietly ").expect("a command after it");
                self.in_voice(Voice::Nothing, |world| world.obey(rest));
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    pub(super) fn in_voice(&mut self, voice: Voice, act: impl FnOnce(&mut Self)) {
        let before = self.voice;
        if before == Voice::All {
            self.voice = voice;
        }
        act(self);
        self.voice = before;
    }

    fn ticket(&mut self, what: &str) -> u64 {
        self.tickets.push(what.to_owned());
        self.tickets.len() as u64 - 1
    }

    fn elect_by(&mut self, words: &Words<'_>) {
        let id = words.id(1);
        let voters: Vec<u64> = match words.words.get(3..) {
            Some(voters) if !voters.is_empty() => voters.iter().map(|id| number(id)).collect(),
            _ => self.machines.keys().copied().collect(),
        };
        self.in_voice(Voice::Answers, |world| world.elect(id, &voters));
        let term = self.machine(id).raft().term();
        self.say(format!("{id} leads term {term}"));
    }

    fn propose(&mut self, words: &Words<'_>, line: &str) {
        let text = line.split('"').nth(1).expect("a command in quotes");
        let ticket = self.ticket(&format!("{text:?}"));
        let length = words.number("bytes").unwrap_or_default() as usize;
        let payload = Bytes::from(format!("{text:.<length$}"));
        let proposal = Proposal::command(0, payload);
        self.step(words.id(1), Input::Propose { ticket, proposal });
    }

    fn change(&mut self, words: &Words<'_>) {
        let changes: Vec<Change> = words.words[2..].iter().map(|word| change(word)).collect();
        let ticket = self.ticket(&words.words[2..].join(" "));
        let conditions = Conditions {
            members_version: words.number("expecting"),
            ..Conditions::default()
        };
        let proposal = Proposal {
            conditions,
            ..Proposal::changes(&changes)
        };
        self.step(words.id(1), Input::Propose { ticket, proposal });
    }

    fn take(&mut self, words: &Words<'_>) -> Vec<Message> {
        let waiting = self.links.entry(words.link()).or_default();
        match words.words.get(2) {
            Some(&"first") => waiting.pop_front().into_iter().collect(),
            Some(&"last") => waiting.pop_back().into_iter().collect(),
            Some(&"urgent") => {
                let all = std::mem::take(waiting).into_iter();
                let (urgent, others): (VecDeque<_>, _) =
                    all.partition(|it| it.class() == Class::Urgent);
                *waiting = others;
                urgent.into()
            }
            Some(nth) => {
                let place = number(nth) as usize - 1;
                if words.words.get(3) == Some(&"kept") {
                    return vec![waiting[place].clone()];
                }
                vec![waiting.remove(place).expect("so many wait there")]
            }
            None => std::mem::take(waiting).into(),
        }
    }

    fn cut(&mut self, words: &Words<'_>) {
        if words.words.get(2) == Some(&"bulk") {
            self.cut_bulk.insert(words.link());
            return;
        }
        let links: Vec<(u64, u64)> = if words.word(1).contains("->") {
            vec![words.link()]
        } else {
            let id = words.id(1);
            let others = self.machines.keys().filter(|other| **other != id);
            others
                .flat_map(|&other| [(id, other), (other, id)])
                .collect()
        };
        for link in links {
            self.cut.insert(link);
            self.links.remove(&link);
        }
    }

    fn advance(&mut self, words: &Words<'_>) {
        let by = time(words.word(2)).as_nanos() as u64;
        let ids: Vec<u64> = match words.word(1) {
            "all" => self.machines.keys().copied().collect(),
            id => vec![number(id)],
        };
        self.pass(by, &ids, |_| {});
    }

    fn run(&mut self, time: Duration) {
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        self.in_voice(Voice::Decisions, |world| {
            world.settle();
            world.pass(time.as_nanos() as u64, &ids, Self::settle);
        });
    }

    /// Moves these clocks on together; whoever wants to wake on the way does.
    fn pass(&mut self, by: u64, ids: &[u64], after: impl Fn(&mut Self)) {
        let mut left = by;
        loop {
            let until = |id: &u64| {
                let machine = &self.machines[id];
                let deadline = machine.raft.as_ref().map_or(u64::MAX, |r| r.deadline());
                deadline.saturating_sub(machine.clock)
            };
            let next = ids.iter().map(|id| (until(id), *id)).min();
            let (wait, first) = next.expect("somebody");
            let passed = wait.min(left);
            ids.iter().for_each(|&id| self.machine(id).clock += passed);
            if wait > left {
                return;
            }
            left -= passed;
            self.step(first, Input::Wake);
            after(self);
        }
    }

    fn status(&mut self) {
        let ids: Vec<u64> = self.machines.keys().copied().collect();
        for id in ids {
            let Some(raft) = &self.machine(id).raft else {
                self.say(format!("{id} crashed"));
                continue;
            };
            let part = match (raft.state(), raft.leader()) {
                (State::Leader, _) => "leader".to_owned(),
                (State::Follower, Some(leader)) => format!("follows {leader}"),
                (State::Follower, None) => "follows nobody".to_owned(),
                (State::PreCandidate, _) => "asks around".to_owned(),
                (State::Candidate, _) => "campaigns".to_owned(),
            };
            let first = raft.base().index.max(1);
            let log = (first..=raft.last().index)
                .filter_map(|index| raft.term_at(index).map(|term| Position::new(index, term)));
            let log = words::positions(log);
            let (term, committed, durable) = (raft.term(), raft.committed(), raft.durable());
            let line = format!(
                "{id} {part}, term {term}, log {log}, durable {durable}, committed {committed}"
            );
            self.say(line);
        }
    }
}
