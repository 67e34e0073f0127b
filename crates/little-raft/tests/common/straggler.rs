//! Two replicas and one that falls behind, over TCP through a proxy, and what it takes to catch up.

use little_raft::{Builder, Replica, State, StateMachine};

use super::proxy::Proxy;
use super::{Bound, Dir, Journal, members, outcome, timing, until};

/// The one that falls behind.
pub const STRAGGLER: u64 = 3;
/// How much a snapshot has, about.
pub const STATE_BYTES: u64 = 4 << 20;
pub const COMMANDS: u64 = 62;

/// Three replicas, one of which is reached through a proxy.
pub struct Group {
    dir: Dir,
    /// Where each is reached.
    members: Vec<(u64, String)>,
    straggler_listens: String,
    pub proxy: Proxy,
    _bound: Bound,
}

impl Group {
    pub fn new(name: &str) -> Self {
        let mut addresses = members(4);
        let (_, straggler_listens) = addresses.pop().expect("there are four");
        let (_, proxied) = &addresses[STRAGGLER as usize - 1];
        Self {
            dir: Dir::new(name),
            proxy: Proxy::new(proxied, &straggler_listens),
            members: addresses,
            straggler_listens,
            _bound: Bound::new(),
        }
    }

    pub fn start<M: StateMachine>(&self, id: u64, machine: M) -> Replica<M> {
        self.start_with(id, machine, |builder| builder)
    }

    pub fn start_with<M: StateMachine>(
        &self,
        id: u64,
        machine: M,
        adjust: impl Fn(Builder<M>) -> Builder<M>,
    ) -> Replica<M> {
        let builder = Replica::<M>::builder(id)
            .members(self.members.clone())
            .data_dir(self.dir.0.join(id.to_string()))
            .timing(timing())
            .snapshot_entries(20)
            .snapshot_rate(2 * STATE_BYTES)
            .limits(|config| {
                config.message_bytes_max = 128 << 10;
                config.cache_bytes_max = 1 << 20;
            });
        let builder = match id {
            STRAGGLER => builder.listen(self.straggler_listens.clone()),
            _ => builder,
        };
        adjust(builder).start(machine).expect("it starts")
    }

    /// Cuts the straggler off once about half of a snapshot has come.
    pub fn cut_in_the_middle(&self) {
        until("half of it has come", || {
            (self.proxy.passed() > STATE_BYTES / 2).then_some(())
        });
        self.proxy.cut();
    }

    pub fn assert_little_came_twice(&self) {
        let passed = self.proxy.passed();
        assert!(passed > STATE_BYTES, "{passed} bytes are not all");
        let most = STATE_BYTES + STATE_BYTES / 4;
        assert!(passed < most, "{passed} bytes for {STATE_BYTES}");
    }
}

pub fn leader<M: StateMachine>(replicas: &[&Replica<M>]) -> usize {
    until("a leader", || {
        let leads = |it: &&Replica<M>| it.status().state == State::Leader;
        replicas.iter().position(leads)
    })
}

/// Two journals that have applied each command alone, so that their snapshots are of the same places; the log begins
/// after the first commands.
pub fn filled(group: &Group) -> [Replica<Journal>; 2] {
    fill([1, 2].map(|id| group.start(id, Journal::default())))
}

pub fn fill(pair: [Replica<Journal>; 2]) -> [Replica<Journal>; 2] {
    let filling = "x".repeat((STATE_BYTES / COMMANDS) as usize);
    for count in 1..=COMMANDS as usize {
        let command = format!("{count} {filling}");
        assert_eq!(outcome(pair[0].propose(command)), Ok(count));
        for replica in &pair {
            let seen = outcome(replica.read(|journal| journal.commands.len()));
            assert_eq!(seen, Ok(count));
        }
    }
    pair
}

pub fn assert_caught_up(straggler: &Replica<Journal>, expected: &Replica<Journal>) {
    let all = |journal: &Journal| (journal.commands.clone(), journal.restored > 0);
    let expected = outcome(expected.read(|journal| journal.commands.clone()));
    let (commands, is_restored) = outcome(straggler.read(all)).expect("it is read");
    assert!(Ok(commands) == expected, "it has what the others have");
    assert!(is_restored, "it came by a snapshot");
}
