//! A replica's core that hears anything from its peers, in any order.

use arbtest::arbitrary::{Result, Unstructured};
use little_raft_core::{
    Apply, Base, Config, Identity, Input, Member, Membership, Message, Now, PieceOutcome, Position,
    Raft, ReplicaId, Restored,
};

use crate::values::{body, maybe, number, proposal};

const CLUSTER: u64 = 9;
const INCARNATIONS: u64 = 100;
const INPUTS_MAX: usize = 40;
const TIME_STEP_NS: u64 = 150_000_000;

pub fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut one = One::new();
    for _ in 0..u.int_in_range(0..=INPUTS_MAX)? {
        let input = input(u, &one)?;
        one.step(input);
        one.obey(u)?;
    }
    Ok(())
}

/// From somebody it listens to, mostly; of a term near its own.
fn input(u: &mut Unstructured<'_>, one: &One) -> Result<Input> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Input::Wake,
        1 => Input::Propose {
            ticket: number(u)?,
            proposal: proposal(u)?,
        },
        2 => Input::Read { ticket: number(u)? },
        _ => {
            let from = u.int_in_range(2..=3)?;
            Input::Message(Message {
                cluster: CLUSTER,
                group: 0,
                from: ReplicaId(from),
                to: ReplicaId(1),
                from_incarnation: INCARNATIONS + from,
                to_incarnation: maybe(u, |_| Ok(INCARNATIONS + 1))?,
                boot: u.int_in_range(1..=2)?,
                term: match u.ratio(1, 20)? {
                    true => number(u)?,
                    false => one.raft.term() + u.int_in_range(0..=1)?,
                },
                body: body(u)?,
            })
        }
    })
}

/// Replica 1 of three, with an empty log.
struct One {
    raft: Raft,
    now: Now,
}

impl One {
    fn new() -> Self {
        let founders: Vec<Member> = (1..=3).map(|id| Member::voter(id, "")).collect();
        let identity = Identity {
            cluster: CLUSTER,
            replica: ReplicaId(1),
            incarnation: INCARNATIONS + 1,
            boot: 1,
            founders: founders.clone(),
        };
        let restored = Restored {
            base: Base {
                position: Position::default(),
                membership: Membership::founders(founders),
            },
            ..Restored::default()
        };
        let now = Now::default();
        let raft = Raft::new(Config::new(&identity, 0), restored, now);
        Self {
            raft: raft.expect("a timing that works"),
            now,
        }
    }

    fn step(&mut self, input: Input) {
        self.raft.step(self.now, input);
    }

    /// Does what it asks for; time passes.
    fn obey(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.now.monotonic += u.int_in_range(0..=TIME_STEP_NS)?;
        self.now.wall = number(u)?;
        loop {
            let out = self.raft.outputs(self.now);
            let mut inputs = Vec::new();
            inputs.extend(out.write.map(|write| Input::Flushed {
                write: write.number,
            }));
            inputs.extend(
                match out.apply {
                    Apply::Nothing => None,
                    Apply::Entries(entries) => entries.last().map(|it| it.position.index),
                    Apply::Stored { last, .. } => Some(last),
                }
                .map(|index| Input::Applied { index }),
            );
            inputs.extend(out.pieces.into_iter().map(|received| Input::PieceStored {
                from: received.from,
                transfer: received.piece.transfer,
                outcome: match received.piece.done {
                    true => PieceOutcome::Complete(received.piece.base),
                    false => PieceOutcome::Stored(received.piece.offset),
                },
            }));
            inputs.extend(out.fetch.into_iter().map(|fetch| Input::Fetched {
                to: fetch.to,
                entries: Vec::new(),
            }));
            if inputs.is_empty() {
                return Ok(());
            }
            for input in inputs {
                self.step(input);
            }
        }
    }
}
