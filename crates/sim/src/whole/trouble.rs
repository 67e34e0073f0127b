//! What can go wrong with whole replicas.

use crate::random::Random;

/// One kind of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Messages are lost, doubled and late, all the time.
    Loss,
    Kill,
    PowerCut,
    AllLosePower,
    Isolated,
    OneWay,
    SlowDisk,
    FullDisk,
    FailedDisk,
    Transfer,
    Members,
    Wipe,
    Rot,
    LostMajority,
}

impl Trouble {
    pub(super) const ALL: [Self; 14] = [
        Self::Loss,
        Self::Kill,
        Self::PowerCut,
        Self::AllLosePower,
        Self::Isolated,
        Self::OneWay,
        Self::SlowDisk,
        Self::FullDisk,
        Self::FailedDisk,
        Self::Transfer,
        Self::Members,
        Self::Wipe,
        Self::Rot,
        Self::LostMajority,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Loss => "messages were lost",
            Self::Kill => "a process was killed",
            Self::PowerCut => "a replica lost power",
            Self::AllLosePower => "all lost power",
            Self::Isolated => "a replica was cut off",
            Self::OneWay => "a link worked one way",
            Self::SlowDisk => "a disk was slow",
            Self::FullDisk => "a disk was full",
            Self::FailedDisk => "an operation of a disk failed",
            Self::Transfer => "leadership was handed over",
            Self::Members => "members were changed",
            Self::Wipe => "a disk was to be emptied",
            Self::Rot => "a bit was to rot",
            Self::LostMajority => "a majority was to be lost",
        }
    }
}

/// The kinds that a run meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Troubles(pub(super) Vec<Trouble>);

impl Troubles {
    /// Every run is rough in its own way.
    pub(super) fn some(random: &mut Random) -> Self {
        let all = Trouble::ALL.into_iter();
        Self(all.filter(|_| random.chance(600)).collect())
    }

    pub(super) fn allows(&self, trouble: Trouble) -> bool {
        self.0.contains(&trouble)
    }

    pub(super) fn draw(&self, random: &mut Random) -> Option<Trouble> {
        (!self.0.is_empty()).then(|| random.pick(&self.0))
    }
}
