//! Known bugs of other systems, planted one at a time for the simulator to find: in the algorithm, and by the same
//! switches in the log and the driver. No build without the feature `plants` has them: there, every `planted!` is the
//! constant `false`.

/// `planted!(P17)` says whether this bug is planted; `planted!(P17, wrong, right)` picks what is computed.
#[cfg(feature = "plants")]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($plant:ident) => {
        $crate::Plant::$plant.is_planted()
    };
    ($plant:ident, $wrong:expr, $right:expr) => {
        if $crate::planted!($plant) {
            $wrong
        } else {
            $right
        }
    };
}

#[cfg(not(feature = "plants"))]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($plant:ident) => {
        $crate::never_planted(stringify!($plant))
    };
    ($plant:ident, $wrong:expr, $right:expr) => {
        $right
    };
}

/// What `planted!` is where nothing is.
#[cfg(not(feature = "plants"))]
#[doc(hidden)]
pub const fn never_planted(_: &str) -> bool {
    false
}

pub(crate) use planted;

#[cfg(feature = "plants")]
pub use catalogue::Plant;

/// What each voter has, but that the best copy of those who don't vote stands for the weakest voter's (P33, P34).
#[cfg(feature = "plants")]
pub(crate) fn with_outsiders(
    members: &crate::Membership,
    us: crate::ReplicaId,
    value: impl Fn(crate::ReplicaId) -> u64,
) -> impl Fn(crate::ReplicaId) -> u64 {
    let learners = members.members.iter().map(|member| member.id);
    let learners = learners.filter(|_| planted!(P34));
    let outsiders = learners.chain(planted!(P33).then_some(us));
    let outsiders = outsiders.filter(|id| !members.is_voter(*id));
    let best = outsiders.map(&value).max().unwrap_or(0);
    let weakest = members.voters().min_by_key(|id| value(*id));
    move |id| match Some(id) == weakest {
        true => value(id).max(best),
        false => value(id),
    }
}

#[cfg(feature = "plants")]
mod catalogue {
    extern crate std;

    use core::cell::Cell;
    use std::thread_local;

    thread_local! {
        /// By thread, so that runs beside each other can differ.
        static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
    }

    macro_rules! plants {
        ($($plant:ident $name:literal $bug:literal)*) => {
            /// A known bug, by the number of its pitfall.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub enum Plant {
                $(#[doc = $bug] $plant,)*
            }

            impl Plant {
                /// All there are.
                pub const ALL: &[Self] = &[$(Self::$plant,)*];

                /// What it is called: `p17`.
                pub fn name(self) -> &'static str {
                    match self {
                        $(Self::$plant => $name,)*
                    }
                }

                /// What goes wrong with it.
                pub fn bug(self) -> &'static str {
                    match self {
                        $(Self::$plant => $bug,)*
                    }
                }
            }
        };
    }

    plants! {
        P01 "p01" "a vote is answered before it is durable"
        P02 "p02" "late votes of an older candidacy count"
        P03a "p03a" "logs are compared by index alone"
        P03b "p03b" "logs are compared by term and by index, and both must be enough"
        P04 "p04" "a late pre-vote counts as a vote"
        P05 "p05" "the higher term in a pre-vote's rejection is not adopted"
        P06 "p06" "who campaigns goes on protecting its old leader"
        P07 "p07" "contact with learners keeps a leader in office"
        P09 "p09" "a voter that does not know of its promotion refuses to vote"
        P10 "p10" "a transfer of leadership never ends"
        P11 "p11" "all replicas draw the same timeouts"
        P12 "p12" "a follower cuts its log before it compares"
        P13 "p13" "a follower acknowledges its whole log"
        P14 "p14" "a conflict's hint is stored as a match"
        P15 "p15" "a flush of entries that were replaced counts for those in their place"
        P17 "p17" "an append from before the follower's snapshot is rejected"
        P19 "p19" "a follower commits what was not verified"
        P20 "p20" "a heartbeat's answer does not restart a follower whose window is full"
        P21 "p21" "bytes charged before a change of leaders are never released"
        P22 "p22" "entries of earlier terms are committed by counting"
        P23 "p23" "the leader counts its own copy before its flush"
        P24 "p24" "a follower acknowledges before its flush"
        P25 "p25" "half of an even number is a majority"
        P26 "p26" "a leader opens its term without an entry"
        P27 "p27" "nothing is looked at again when the quorum shrinks"
        P28 "p28" "entries beyond a cut batch are forgotten"
        P29 "p29" "a leader changes the membership before a commit in its own term"
        P30 "p30" "a membership counts once it is applied"
        P31 "p31" "a membership whose entry was cut off stays in force"
        P32 "p32" "a snapshot keeps only the new half of a joint membership"
        P33 "p33" "a leader that was removed counts itself"
        P34 "p34" "learners' copies count towards a commit"
        P36 "p36" "a leader serves reads before a commit in its term"
        P37 "p37" "any answer confirms all waiting reads"
        P38 "p38" "a lease begins when its answer arrives"
        P39 "p39" "a read does not wait until what it must see is applied"
        P41 "p41" "a late report of an apply lowers the applied index"
        P42 "p42" "a log that conflicts with an installed snapshot keeps what follows"
        P43 "p43" "the log's head is dropped before the snapshot in its place is durable"
        P44 "p44" "a snapshot is named by a later index than its content is from"
        P45 "p45" "a transfer of a snapshot that has stopped is never given up"
        P46 "p46" "a failed flush is tried again"
        P47 "p47" "damage is taken for an unfinished write"
        P49 "p49" "a new segment's name is not flushed"
        P50 "p50" "the applied index is stored before the state"
        P54 "p54" "a proposal whose outcome is unknown is told as refused"
        P55 "p55" "who waits for an entry is known by its index alone"
        P56 "p56" "snapshots leave the sessions out"
        P65 "p65" "a repeated append is acknowledged at once"
    }

    impl Plant {
        /// The plant of this name.
        pub fn named(name: &str) -> Option<Self> {
            Self::ALL.iter().copied().find(|it| it.name() == name)
        }

        /// From now on replicas that run on this thread have this bug, and no other.
        pub fn plant(planted: Option<Self>) {
            PLANTED.set(planted);
        }

        /// Whether this thread has it.
        pub fn is_planted(self) -> bool {
            PLANTED.get() == Some(self)
        }
    }
}
