//! What can go wrong with five servers, each as one step that `Cluster::mend` undoes.

use std::time::Duration;

use crate::cluster::{COUNT, Cluster};
use crate::link::{Link, Passage};
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL, for one up to all of them.
    Kill,
    /// SIGKILL again while it starts.
    KillAgain,
    KillLeader,
    /// SIGSTOP, for one or two.
    Pause,
    PauseLeader,
    /// Two sides that don't hear each other.
    Split,
    /// One, or the leader, is cut off.
    Isolate,
    /// One, or the leader, is heard and hears nothing, or the other way round.
    OneWay,
    /// Two halves that only one server hears both of.
    Bridge,
    /// Some links don't work, without any order in it.
    Holes,
    Late,
    Lossy,
    /// Connections break again and again.
    Breaking,
    /// Bits are flipped.
    Noisy,
    Narrow,
    /// Not a byte more fits onto a disk, which is a small one.
    FullDisk,
    /// Files can't grow: a write of the log or the store fails.
    FailingDisk,
}

/// A majority may be unable to work, or to hear each other.
pub const HARD: &[Fault] = &[
    Fault::Kill,
    Fault::KillAgain,
    Fault::KillLeader,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::Split,
    Fault::Isolate,
    Fault::OneWay,
    Fault::Bridge,
    Fault::Holes,
    Fault::FullDisk,
    Fault::FailingDisk,
];

/// The group works on, slowly.
pub const SOFT: &[Fault] = &[
    Fault::Late,
    Fault::Lossy,
    Fault::Breaking,
    Fault::Noisy,
    Fault::Narrow,
];

const EVERYONE: [usize; COUNT] = [0, 1, 2, 3, 4];

impl Fault {
    /// What was done, for the journal.
    pub async fn begin(self, cluster: &mut Cluster, random: &mut Random) -> String {
        let places = random.shuffled(&EVERYONE);
        let one = places[0];
        let leader = cluster.leader().await.unwrap_or(one);
        let prominent = if random.chance(500) { leader } else { one };
        let rest: Vec<usize> = EVERYONE.into_iter().filter(|it| *it != prominent).collect();
        match self {
            Self::Kill => kill(cluster, &places[..random.between(1, COUNT as u64) as usize]),
            Self::KillAgain => kill_again(cluster, prominent, random).await,
            Self::KillLeader => kill(cluster, &[leader]),
            Self::Pause => pause(cluster, &places[..random.between(1, 2) as usize]),
            Self::PauseLeader => pause(cluster, &[leader]),
            Self::Split => {
                let (few, many) = places.split_at(random.between(1, 2) as usize);
                let passage = closed(random);
                close(cluster, few, many, passage);
                close(cluster, many, few, passage);
                format!(
                    "{} don't hear {}: {passage:?}",
                    named(cluster, few),
                    named(cluster, many)
                )
            }
            Self::Isolate => {
                let passage = closed(random);
                close(cluster, &[prominent], &rest, passage);
                close(cluster, &rest, &[prominent], passage);
                format!("{} is cut off: {passage:?}", cluster.name(prominent))
            }
            Self::OneWay => one_way(cluster, prominent, &rest, random),
            Self::Bridge => {
                let (left, right) = (&places[1..3], &places[3..]);
                let passage = closed(random);
                close(cluster, left, right, passage);
                close(cluster, right, left, passage);
                let (left, right) = (named(cluster, left), named(cluster, right));
                format!(
                    "only {} hears both {left} and {right}: {passage:?}",
                    cluster.name(one)
                )
            }
            Self::Holes => holes(cluster, random),
            Self::FullDisk => fill(cluster),
            Self::FailingDisk => limit_files(cluster, prominent, random),
            Self::Late | Self::Lossy | Self::Breaking | Self::Noisy | Self::Narrow => {
                self.worsen(cluster, &places, random)
            }
        }
    }

    /// All ways from some servers become worse.
    fn worsen(self, cluster: &Cluster, places: &[usize], random: &mut Random) -> String {
        let from = &places[..random.between(1, COUNT as u64) as usize];
        let mut worse = Link::default();
        match self {
            Self::Late => {
                // There and back takes less than an election timeout: else nobody could lead for long.
                let least = random.below(50);
                worse.delay_ms = (least, least + random.below(100));
            }
            Self::Lossy => worse.lost_permille = random.between(10, 100),
            Self::Breaking => worse.broken_permille = random.between(1, 50),
            Self::Noisy => worse.flipped_permille = random.between(1, 50),
            _ => worse.bytes_per_second = Some(random.between(16, 256) << 10),
        }
        // What another fault did to a link's passage stays.
        cluster.change_links(from, &EVERYONE, |link| {
            *link = Link {
                passage: link.passage,
                ..worse
            };
        });
        format!("what {} say is {self:?}: {worse:?}", named(cluster, from))
    }
}

fn named(cluster: &Cluster, places: &[usize]) -> String {
    let names: Vec<&str> = places.iter().map(|place| cluster.name(*place)).collect();
    names.join("+")
}

fn closed(random: &mut Random) -> Passage {
    random.pick(&[Passage::Held, Passage::Held, Passage::Refused])
}

fn close(cluster: &Cluster, from: &[usize], to: &[usize], passage: Passage) {
    cluster.change_links(from, to, |link| link.passage = passage);
}

fn kill(cluster: &mut Cluster, places: &[usize]) -> String {
    for place in places {
        cluster.members[*place].kill();
    }
    format!("{} killed", named(cluster, places))
}

async fn kill_again(cluster: &mut Cluster, place: usize, random: &mut Random) -> String {
    let times = random.between(2, 4);
    for _ in 0..times {
        let member = &mut cluster.members[place];
        member.kill();
        member.start();
        tokio::time::sleep(Duration::from_millis(random.below(150))).await;
    }
    format!("{} killed {times} times as it started", cluster.name(place))
}

fn pause(cluster: &mut Cluster, places: &[usize]) -> String {
    for place in places {
        cluster.members[*place].pause();
    }
    format!("{} paused", named(cluster, places))
}

/// Only what is said from now on is lost or held: connections break only if that is how the way is closed.
fn one_way(cluster: &Cluster, one: usize, rest: &[usize], random: &mut Random) -> String {
    let name = cluster.name(one);
    if random.chance(500) {
        close(cluster, &[one], rest, Passage::Held);
        format!("{name} is not heard, and hears")
    } else {
        close(cluster, rest, &[one], Passage::Held);
        format!("{name} is heard, and hears nothing")
    }
}

fn holes(cluster: &Cluster, random: &mut Random) -> String {
    let mut closed = Vec::new();
    for from in EVERYONE {
        for to in EVERYONE.into_iter().filter(|to| *to != from) {
            if random.chance(300) {
                close(cluster, &[from], &[to], Passage::Held);
                closed.push(format!("{}->{}", cluster.name(from), cluster.name(to)));
            }
        }
    }
    format!("held: {}", closed.join(" "))
}

fn fill(cluster: &mut Cluster) -> String {
    let mut full = Vec::new();
    for member in &mut cluster.members {
        if let Some(disk) = &member.disk {
            disk.fill();
            full.push(member.address.name.clone());
            // The store looks whether there is space before it writes, and the disk may fill in between.
            member.let_end();
        }
    }
    format!("small disks filled: {}", full.join("+"))
}

fn limit_files(cluster: &mut Cluster, place: usize, random: &mut Random) -> String {
    let member = &mut cluster.members[place];
    let bytes = match random.chance(500) {
        // The store can't grow, or no segment can be made.
        true => member.largest_file(),
        // Most of what is written today lies beyond.
        false => random.between(4, 64) << 10,
    };
    member.limit_files(bytes);
    format!(
        "{} can't write files beyond {bytes} bytes",
        cluster.name(place)
    )
}
