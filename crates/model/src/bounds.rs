//! How much may happen, and where it begins.

use std::fmt;
use std::time::Duration;

use little_raft_core::{Change, Leases, Member, Membership, ReplicaId, Role, Timing};

use crate::replica::Habits;

/// How often each kind of thing may happen on the way to a state. That a link works no more, one way, may always happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Times that somebody who does not lead has waited for too long.
    pub timeouts: u8,
    /// Times that somebody who leads wakes.
    pub heartbeats: u8,
    /// Crashes.
    pub crashes: u8,
    /// Messages that are lost, or overtaken by others and late.
    pub stragglers: u8,
    /// Messages that arrive once more.
    pub duplicates: u8,
    /// Commands.
    pub proposals: u8,
    /// Changes of members.
    pub changes: u8,
    /// Reads.
    pub reads: u8,
    /// Snapshots after which a log begins.
    pub compactions: u8,
    /// Nanoseconds that a clock loses against the others.
    pub slips: u8,
}

/// Nothing happens but that messages arrive and writes are flushed.
const NONE: Bounds = Bounds {
    timeouts: 0,
    heartbeats: 0,
    crashes: 0,
    stragglers: 0,
    duplicates: 0,
    proposals: 0,
    changes: 0,
    reads: 0,
    compactions: 0,
    slips: 0,
};

macro_rules! setters {
    ($($name:ident)*) => {
        impl Bounds {
            $(const fn $name(self, $name: u8) -> Self {
                Self { $name, ..self }
            })*
        }
    };
}

setters! { timeouts heartbeats crashes stragglers duplicates proposals changes reads compactions slips }

impl fmt::Display for Bounds {
    /// What may happen at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("timeouts", self.timeouts),
            ("heartbeats", self.heartbeats),
            ("crashes", self.crashes),
            ("stragglers", self.stragglers),
            ("duplicates", self.duplicates),
            ("proposals", self.proposals),
            ("changes", self.changes),
            ("reads", self.reads),
            ("compactions", self.compactions),
            ("slips", self.slips),
        ];
        let some = counts.iter().filter(|(_, count)| *count > 0);
        let some: Vec<String> = some
            .map(|(what, count)| format!("{what} {count}"))
            .collect();
        f.write_str(&some.join(", "))
    }
}

/// Where it begins, and what is looked at from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Three voters that have just been started for the first time.
    Elections,
    /// Three voters; 1 leads, and what it opened its term with is committed and known to be by all.
    Replication,
    /// The same with two voters, 1 and 2, and a learner, 3; all may be changed.
    Members,
    /// As replication, for reads by rounds.
    Reads,
    /// The same for reads by lease: clocks may lose a nanosecond of four.
    Leases,
    /// 2 leads. 1, which led before, has two entries that nobody else has, and lacks what 2 and 3 have committed since.
    Snapshots,
}

impl Setting {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Elections,
        Self::Replication,
        Self::Members,
        Self::Reads,
        Self::Leases,
        Self::Snapshots,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elections => "elections",
            Self::Replication => "replication",
            Self::Members => "members",
            Self::Reads => "reads",
            Self::Leases => "leases",
            Self::Snapshots => "snapshots",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Bounds that are explored in seconds.
    pub fn small(self) -> Vec<Bounds> {
        match self {
            Self::Elections => vec![NONE.timeouts(1).crashes(1).stragglers(1), NONE.timeouts(2)],
            Self::Replication => vec![
                NONE.proposals(1).heartbeats(1).stragglers(1),
                NONE.proposals(2).stragglers(1),
                NONE.proposals(1).crashes(1).duplicates(1),
                NONE.proposals(1).timeouts(1),
            ],
            Self::Members => vec![
                NONE.changes(1),
                NONE.changes(1).crashes(1),
                NONE.changes(1).compactions(1),
            ],
            Self::Reads => vec![
                NONE.reads(1).proposals(1),
                NONE.reads(1).crashes(1),
                NONE.reads(1).timeouts(1),
            ],
            Self::Leases => vec![
                NONE.reads(1).timeouts(1),
                NONE.reads(1).timeouts(1).slips(1),
            ],
            Self::Snapshots => vec![
                NONE.compactions(1).heartbeats(1),
                NONE.compactions(1).heartbeats(1).crashes(1),
                NONE.compactions(1).heartbeats(1).proposals(1),
            ],
        }
    }

    /// Bounds that are explored in minutes.
    pub fn large(self) -> Vec<Bounds> {
        let larger = match self {
            Self::Elections => vec![NONE.timeouts(2).stragglers(1), NONE.timeouts(2).crashes(1)],
            Self::Replication => vec![
                NONE.proposals(2).heartbeats(1).stragglers(1),
                NONE.proposals(2).timeouts(1),
                NONE.proposals(1).timeouts(1).stragglers(1),
                NONE.proposals(1).timeouts(1).crashes(1),
            ],
            Self::Members => vec![NONE.changes(1).proposals(1), NONE.changes(1).timeouts(1)],
            Self::Reads => vec![
                NONE.reads(2).proposals(1),
                NONE.reads(1).proposals(1).crashes(1),
                NONE.reads(1).heartbeats(1).stragglers(1),
            ],
            Self::Leases => vec![NONE.reads(1).timeouts(1).crashes(1)],
            Self::Snapshots => vec![
                NONE.compactions(1).heartbeats(1).proposals(1).crashes(1),
                NONE.compactions(1).heartbeats(2),
                NONE.compactions(1).heartbeats(1).stragglers(1),
            ],
        };
        self.small().into_iter().chain(larger).collect()
    }

    /// The shortest timeouts there are: moments are small numbers then, and states that differ in nothing else are the
    /// same. A lease must outlast a nanosecond of drift.
    pub(crate) fn habits(self) -> Habits {
        let timing = |heartbeat, election| Timing {
            heartbeat: Duration::from_nanos(heartbeat),
            election: Duration::from_nanos(election),
        };
        match self {
            Self::Leases => Habits {
                timing: timing(1, 4),
                leases: Some(Leases {
                    longest: Duration::from_nanos(4),
                    drift: Duration::from_nanos(1),
                }),
            },
            _ => Habits {
                timing: timing(1, 2),
                leases: None,
            },
        }
    }

    pub(crate) fn founders(self) -> Membership {
        let members = (1..=3).map(|id| {
            let role = match (self, id) {
                (Self::Members, 3) => Role::Learner,
                _ => Role::Voter,
            };
            Member {
                incarnation: Some(crate::replica::incarnation(ReplicaId(id))),
                role: Some(role),
                next_role: Some(role),
                ..Member::voter(id, id.to_string())
            }
        });
        Membership::founders(members)
    }

    /// What may be asked of the members, each list at once.
    pub(crate) fn changes(self) -> Vec<Vec<Change>> {
        let [one, two, three] = [1, 2, 3].map(ReplicaId);
        match self {
            Self::Elections | Self::Replication | Self::Reads | Self::Leases | Self::Snapshots => {
                Vec::new()
            }
            Self::Members => vec![
                vec![Change::SetRole(three, Role::Voter)],
                vec![
                    Change::SetRole(three, Role::Voter),
                    Change::SetRole(two, Role::Learner),
                ],
                vec![Change::Remove(one)],
            ],
        }
    }
}
