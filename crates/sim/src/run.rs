//! One run from its seed to its report: a rough time, a half-mended one, a calm end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use little_raft_core::{Membership, ReplicaId, Role};

use crate::checks::{Violation, ensure, has_quorum};
use crate::coverage::Coverage;
use crate::journal::Journal;
use crate::mix::{Fault, Faults};
use crate::node::Node;
use crate::record::{Record, Recorder};
use crate::weather::{MILLI, SECOND};
use crate::world::World;

/// How to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The fewest and the most replicas; each seed draws between them.
    pub replicas: (u64, u64),
    /// What may befall the cluster; each seed draws its own mix of it.
    pub faults: Faults,
    /// Whether to print all that happens.
    pub trace: bool,
    /// Whether to write down what happened, for a script.
    pub record: bool,
    /// The bug that is planted.
    #[cfg(feature = "plants")]
    pub plant: Option<little_raft_core::Plant>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: (1, 7),
            faults: Faults::ALL,
            trace: false,
            record: false,
            #[cfg(feature = "plants")]
            plant: None,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How many replicas it had.
    pub replicas: u64,
    /// The hash over its whole event log.
    pub hash: u64,
    /// The lines of that log.
    pub events: u64,
    /// The nanoseconds that went by inside it.
    pub virtual_nanos: u64,
    /// Commands acknowledged to clients.
    pub acknowledged: u64,
    /// Reads served.
    pub reads: u64,
    /// Operations refused.
    pub refused: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown: u64,
    /// The last index committed.
    pub committed: u64,
    /// How often hard situations were reached.
    pub coverage: Coverage,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// What happened until then, if it was to be written down.
    pub record: Option<Record>,
}

/// Runs one seed. A panic in the code under test is a violation too.
pub fn run(seed: u64, options: &Options) -> Report {
    #[cfg(feature = "plants")]
    little_raft_core::Plant::plant(options.plant);
    let mut world = World::new(seed, options, Journal::new(options.trace));
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let violation = match outcome {
        Ok(outcome) => outcome.err(),
        Err(panic) => Some(Violation {
            invariant: "no panic",
            what: text_of(&*panic),
        }),
    };
    if options.trace && violation.is_some() {
        for node in &world.nodes {
            println!("{:?}", node.raft());
        }
    }
    let operations = &world.checks.operations;
    Report {
        seed,
        replicas: world.nodes.len() as u64,
        hash: world.journal.hash(),
        events: world.journal.lines(),
        virtual_nanos: world.now,
        acknowledged: operations.acknowledged,
        reads: operations.reads,
        refused: operations.refused,
        unknown: operations.unknown,
        committed: world.checks.committed.last(),
        coverage: world.checks.observer.coverage,
        violation,
        record: world.recorder.map(Recorder::into_record),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or(panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// A busy run is a short one.
const STEPS_MAX: u64 = 40_000;

fn live(world: &mut World) -> Result<(), Violation> {
    let weather = world.weather.clone();
    for _ in 0..weather.rounds {
        let until = world.steps + STEPS_MAX / weather.rounds;
        world.roughen(weather.clone());
        world.run(weather.duration / weather.rounds, |world| {
            world.steps > until
        })?;
        strand_last(world)?;
        half_mend(world)?;
        commits_go_on(world, "half mended")?;
        world.broken.clear();
        world.calm()?;
        commits_go_on(world, "calm")?;
        world.is_idle = true;
        all_agree(world)?;
    }
    Ok(())
}

/// In some rounds leaders are cut off last of all: those who must get on with each other then have parted before.
fn strand_last(world: &mut World) -> Result<(), Violation> {
    let strands = world.weather.faults.contains(&Fault::StrandLeaders);
    if strands && world.random.chance(500) {
        world.strand_leaders(world.now + SECOND);
        world.run(SECOND, |_| false)?;
    }
    Ok(())
}

/// Rule 14: a majority is up, connected and works; the others go on suffering.
fn half_mend(world: &mut World) -> Result<(), Violation> {
    let memberships = memberships(world);
    let count = world.nodes.len() as u64;
    let start = world.random.below(count);
    let most = world.random.between(0, count);
    world.broken.clear();
    for one in (0..most).map(|n| (start + n) % count + 1) {
        world.broken.insert(one);
        // Whichever membership is in force, a majority of each half must be well.
        let is_well = |id: ReplicaId| !world.broken.contains(&id.0);
        if !memberships.iter().all(|it| has_quorum(it, is_well)) || !can_go_on(world) {
            world.broken.remove(&one);
        }
    }
    power_cut(world);
    world.calm()
}

/// In some rounds all that are well start anew, so that nobody's leadership tells them whom to follow: with half of them
/// broken, only one may be able to win.
fn power_cut(world: &mut World) {
    if world.random.chance(400) {
        for at in 0..world.nodes.len() {
            if !world.is_broken(at) {
                world.crash(at, 0);
            }
        }
    }
}

/// Whether one that is well, and could lead, has all that is committed, or is supplied with it by a witness that is well.
fn can_go_on(world: &World) -> bool {
    let committed = &world.checks.committed;
    let last = committed.at(committed.last()).unwrap_or_default();
    let members = world.checks.changes.newest();
    let well = || {
        world
            .nodes
            .iter()
            .filter(|node| !world.broken.contains(&node.id.0))
    };
    let mut could_lead = well().filter(|node| members.may_lead(node.id));
    could_lead.any(|node| {
        let log = &node.disk.durable;
        let supplies = |it: &Node| {
            let theirs = &it.disk.durable;
            it.is_witness && theirs.holds(last) && log.holds(theirs.base.position)
        };
        log.holds(last) || well().any(supplies)
    })
}

/// Those that may be in force: what is committed, and what stands after it in some log.
fn memberships(world: &World) -> Vec<Membership> {
    let committed = world.checks.changes.newest();
    let logs = world.nodes.iter();
    let logs = logs.flat_map(|node| [&node.disk.durable, &node.disk.logical]);
    let newer = logs.map(|log| log.membership());
    let newer = newer.filter(|membership| membership.version > committed.version);
    let all = newer.chain([committed]);
    all.flat_map(|membership| [promoted(membership.clone()), membership.clone()])
        .collect()
}

/// What a membership becomes by itself.
fn promoted(mut membership: Membership) -> Membership {
    let waiting = membership.members.iter_mut();
    for member in waiting.filter(|member| member.promote_when_caught_up) {
        (member.role, member.next_role) = (Some(Role::Voter), Some(Role::Voter));
    }
    membership
}

/// What is still under way from rougher times may end first; then ten maximum election timeouts must do.
fn commits_go_on(world: &mut World, when: &str) -> Result<(), Violation> {
    world.journal.note(
        world.now,
        format_args!("{when}, but for {:?}", world.broken),
    );
    world.weather.propose_every = world.weather.propose_every.max(5 * MILLI);
    world.run(3 * SECOND, |_| false)?;
    let rafts = world.nodes.iter().filter_map(|node| node.raft());
    let longest = rafts.map(|raft| raft.config().timing.election).max();
    let bound = 10 * 2 * longest.unwrap_or_default().as_nanos() as u64;
    let before = world.checks.operations.acknowledged;
    let (mut until, mut caught_up) = (world.now + bound, 0);
    while world.now < until {
        for at in 0..world.nodes.len() {
            if !world.is_broken(at) {
                world.operate(at, false)?;
            }
        }
        if world.run(20 * MILLI, |world| {
            world.checks.operations.acknowledged > before
        })? {
            return Ok(());
        }
        // Catching up takes the time it takes.
        let shortest = shortest_log(world);
        if shortest > caught_up {
            (until, caught_up) = (world.now + bound, shortest);
        }
    }
    // Meanwhile the broken may have committed on their own what the well can't learn.
    ensure(!can_go_on(world), "liveness", || {
        format!("nothing was committed within the bound when {when}")
    })
}

/// Of those who are members and well.
fn shortest_log(world: &World) -> u64 {
    let memberships = memberships(world);
    let belongs = |id: ReplicaId| memberships.iter().any(|it| it.member(id).is_some());
    let well = |node: &&Node| !world.broken.contains(&node.id.0) && belongs(node.id);
    let lasts = world
        .nodes
        .iter()
        .filter(well)
        .map(|node| node.disk.durable.last());
    lasts.min().unwrap_or_default()
}

/// With nobody asking for anything, and after one more election, what is in the log is committed, all machines are
/// equal, and all that began has ended.
fn all_agree(world: &mut World) -> Result<(), Violation> {
    if let Some(leader) = world.leader().filter(|_| world.random.chance(500)) {
        world.crash(leader, 20 * MILLI);
    }
    world.run(SECOND / 2, |_| false)?;
    let is_equal = world.run(60 * SECOND, are_equal)?;
    ensure(is_equal, "catching up", || {
        let machines: Vec<_> = world.nodes.iter().map(|node| node.machine()).collect();
        format!("after a calm minute the machines are {machines:?}")
    })?;
    world.run(SECOND, |_| false)?;
    world.check_open_reads()
}

fn are_equal(world: &World) -> bool {
    let members = world.membership();
    let nodes = world.nodes.iter();
    let belong = nodes.filter(|node| members.member(node.id).is_some() && !node.is_witness);
    let mut machines = belong.map(|node| node.machine());
    let first = machines.next().flatten();
    let last = first.map_or(0, |machine| machine.position.index);
    let leader = world.leader().and_then(|leader| world.nodes[leader].raft());
    let is_open = leader.is_none_or(|leader| leader.last().index > last);
    let all = machines.all(|machine| machine == first);
    last == world.checks.committed.last() && all && !is_open && !members.is_joint()
}
