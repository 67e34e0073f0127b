//! How the replicas of a script begin.

use std::time::Duration;

use little_raft_core::{
    Base, Config, HardState, Identity, Input, Leases, Member, Membership, Position, ReplicaId,
};

use super::machine::{Disk, Machine};
use super::parse::{Words, log, number, time};
use super::world::{Voice, World};

impl World {
    pub(super) fn group(&mut self, words: &Words<'_>) {
        let ids: Vec<u64> = words.words[1..].iter().map(|id| number(id)).collect();
        let unbound = words.option("unbound").is_some();
        let witnesses = words.option("witnesses").unwrap_or_default();
        let is_witness = |id: u64| witnesses.split(',').any(|it| it == id.to_string());
        let founders = ids.iter().map(|&id| Member {
            incarnation: (!unbound).then_some(100 + id),
            witness: is_witness(id),
            ..Member::voter(id, format!("replica {id}"))
        });
        let founders: Vec<Member> = founders.collect();
        let leader = words.number("leader");
        for id in ids.iter().copied() {
            let identity = Identity {
                cluster: 9,
                replica: ReplicaId(id),
                incarnation: 100 + id,
                boot: 1,
                founders: founders.clone(),
            };
            let mut config = Config::new(&identity, 0);
            let limit = |name| words.number(name).map(|limit| limit as usize);
            config.in_flight_messages_max = limit("window").unwrap_or(256);
            config.in_flight_bytes_max =
                limit("window_bytes").unwrap_or(config.in_flight_bytes_max);
            config.message_bytes_max = limit("message").unwrap_or(config.message_bytes_max);
            config.cache_bytes_max = limit("cache").unwrap_or(config.cache_bytes_max);
            config.apply_bytes_max = limit("apply").unwrap_or(config.apply_bytes_max);
            config.uncommitted_bytes_max =
                limit("uncommitted").unwrap_or(config.uncommitted_bytes_max);
            config.witness = is_witness(id);
            config.nearest = nearest(id, words);
            config.leases = words.option("lease").map(|longest| Leases {
                longest: time(longest),
                drift: Duration::ZERO,
            });
            let base = Base {
                position: Position::default(),
                membership: Membership::founders(founders.clone()),
            };
            let mut disk = Disk {
                base,
                ..Disk::default()
            };
            set_disk(&mut disk, words);
            if leader.is_some() {
                // The election raises the term by one, and the new leader's entry ends the log.
                disk.hard_state.term -= 1;
                let own = disk.entries.pop().expect("the leader's own entry");
                assert_eq!(own.position.term, disk.hard_state.term + 1, "own term");
                let committed = disk.hard_state.committed;
                disk.hard_state.committed = committed.min(disk.last().index);
            }
            self.machines.insert(id, Machine::new(config, disk));
            self.in_voice(Voice::Nothing, |world| world.drain(id));
        }
        // Nobody has promised anything before, unless they restart.
        let is_restart = words.option("restarted").is_some();
        let lease = words.option("lease").filter(|_| !is_restart);
        let promised = lease.map_or(Duration::ZERO, time);
        let promised = promised.as_nanos() as u64;
        self.machines
            .values_mut()
            .for_each(|it| it.clock += promised);
        if let Some(leader) = leader {
            self.in_voice(Voice::Nothing, |world| {
                world.elect(leader, &ids);
                world.settle();
                let machine = world.machine(leader);
                machine.clock = machine.raft().deadline();
                world.step(leader, Input::Wake);
                world.settle();
            });
        }
    }

    pub(super) fn set_state(&mut self, words: &Words<'_>) {
        let machine = self.machine(words.id(1));
        let mut disk = machine.disk.clone();
        set_disk(&mut disk, words);
        *machine = Machine::new(machine.config.clone(), disk);
        self.in_voice(Voice::Nothing, |world| world.drain(words.id(1)));
    }

    pub(super) fn join(&mut self, words: &Words<'_>) {
        let id = words.id(1);
        let any = self.machines.values().next().expect("a group to join");
        let incarnation = match words.words.get(3) {
            Some(incarnation) => number(incarnation),
            None => 100 + id,
        };
        let config = Config {
            id: ReplicaId(id),
            incarnation,
            boot: 1,
            seed: id,
            witness: words.option("witness").is_some(),
            ..any.config.clone()
        };
        let machine = Machine::new(config, Disk::default());
        self.machines.insert(id, machine);
        self.in_voice(Voice::Nothing, |world| world.drain(id));
    }
}

fn set_disk(disk: &mut Disk, words: &Words<'_>) {
    if let Some(text) = words.option("log") {
        disk.entries = log(text);
    }
    let last = disk.last();
    disk.hard_state = HardState {
        term: words
            .number("term")
            .unwrap_or(last.term.max(disk.hard_state.term)),
        vote: words.number("vote").map(ReplicaId),
        committed: words
            .number("committed")
            .unwrap_or(disk.hard_state.committed),
    };
}

/// Whom `id` would rather have snapshots from.
fn nearest(id: u64, words: &Words<'_>) -> Vec<ReplicaId> {
    let all = words.option("nearest").unwrap_or_default().split(',');
    let pairs = all.filter_map(|pair| pair.split_once(':'));
    let own = pairs.filter(|(of, _)| number(of) == id);
    own.map(|(_, near)| ReplicaId(number(near))).collect()
}
