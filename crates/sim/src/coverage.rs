//! How often hard situations were reached: faults that never meet what they are for prove nothing.

macro_rules! situations {
    ($($situation:ident $name:literal)*) => {
        /// Something that is hard to get right, and rare.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Situation {
            $($situation,)*
        }

        impl Situation {
            const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}

situations! {
    TermInFlush "term changes during a flush"
    TailReplaced "tail of a log replaced"
    ReplacedInFlush "entries replaced during their flush"
    ChangeCutOff "membership cut off with the tail"
    WritesLost "unflushed writes lost in a crash"
    LostThenReplaced "tail replaced after a crash that lost writes"
    AllDown "all replicas down"
    VoteAfterRestart "vote in the term of the restart"
    SplitVote "two candidates in a term"
    Handover "campaign on a go-ahead"
    NoContact "leader steps down without contact"
    SlowDisk "leader steps down for its slow disk"
    NoProgress "leader steps down without progress"
    NotAVoter "leader steps down as no voter"
    PausedAndDeposed "leader wakes from a pause deposed"
    LeaderLostInJoint "leader lost in the joint phase"
    LeadsAsNoVoter "leader that is no voter commits"
    JointCommitted "joint membership committed"
    SnapshotInJoint "log begins in a joint membership"
    Removed "replica told of its removal"
    EarlierTermCommitted "entries of an earlier term committed"
    Rejected "append rejected"
    FormerTerm "message of a former term"
    FormerBoot "message of a former boot"
    Fetched "entries fetched for a laggard"
    HeadDroppedInFetch "head of the log dropped during a fetch"
    Installed "snapshot installed"
    InstallInApply "snapshot arrives during an apply"
    GoAheadInSnapshot "go-ahead while a snapshot is sent"
    Resumed "snapshot goes on in another transfer"
    ResumedElsewhere "snapshot goes on from another sender"
    Lent "snapshot from a follower"
    LenderLost "lender lost, and the leader's snapshot taken"
    PieceRepeated "piece of a snapshot out of turn"
    AppliedFromStorage "entries applied from storage"
    SnapshotAheadOfLog "start with a snapshot ahead of the log's beginning"
    ReportOvertaken "report of an apply overtaken by a later one"
    ReadAcrossLeaders "read across a change of leaders"
    Unknown "proposal with an unknown outcome"
    RefusedTransferring "proposal refused during a transfer"
    RefusedBusy "proposal refused at the bound"
    RefusedDiskFull "proposal refused for a full disk"
    RefusedUnderWay "change refused during another"
    Settled "witness drops what full replicas have"
    BaseToldWitness "witness told where to begin"
    Supplied "witness supplies what a candidate lacks"
    SuppliedTail "witness supplies in place of a tail"
    SupplyFetched "entries fetched for a witness's supply"
}

/// How often each situation was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            counts: vec![0; Situation::NAMES.len()],
        }
    }
}

impl Coverage {
    pub(crate) fn reach(&mut self, situation: Situation) {
        self.counts[situation as usize] += 1;
    }

    /// Adds what another run reached.
    pub fn add(&mut self, other: &Self) {
        let both = self.counts.iter_mut().zip(&other.counts);
        both.for_each(|(sum, count)| *sum += count);
    }

    /// All situations by name, and how often each was reached.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Situation::NAMES.iter().copied();
        names.zip(self.counts.iter().copied())
    }

    /// A situation that was never reached.
    pub fn first_missed(&self) -> Option<&'static str> {
        let mut counts = self.counts();
        counts.find(|(_, count)| *count == 0).map(|(name, _)| name)
    }
}
