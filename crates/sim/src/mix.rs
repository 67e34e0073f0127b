//! What can befall a cluster, and which of it is wanted.

use std::fmt;
use std::str::FromStr;

macro_rules! faults {
    ($($fault:ident $name:literal in $group:literal)*) => {
        /// What can be done to a cluster.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($fault,)*
        }

        impl Fault {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$fault,)*];

            /// Its name and that of its group.
            fn names(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$fault => ($name, $group),)*
                }
            }
        }
    };
}

faults! {
    CrashOne "crash-one" in "crashes"
    CrashLeader "crash-leader" in "crashes"
    CrashAll "crash-all" in "crashes"
    IsolateOne "isolate-one" in "links"
    IsolateLeader "isolate-leader" in "links"
    StrandLeaders "strand-leaders" in "links"
    Split "split" in "links"
    OneWay "one-way" in "links"
    Bridge "bridge" in "links"
    Heal "heal" in "links"
    Storm "storm" in "links"
    SlowLinks "slow-links" in "links"
    Topple "topple" in "crashes"
    Pause "pause" in "pauses"
    PauseLeader "pause-leader" in "pauses"
    SuspendLeader "suspend-leader" in "pauses"
    SlowDisk "slow-disk" in "disks"
    StuckDisk "stuck-disk" in "disks"
    FullDisk "full-disk" in "disks"
    SlowApply "slow-apply" in "disks"
    WallClock "wall-clock" in "clocks"
    Transfer "transfer" in "operations"
    Timing "timing" in "operations"
    Members "members" in "operations"
}

/// The faults a run may draw from: `all`, `none`, or names and groups of them with commas between.
///
/// ```
/// let faults: little_raft_sim::Faults = "crashes,one-way".parse().unwrap();
/// assert_eq!(faults.to_string(), "crash-one,crash-leader,crash-all,one-way,topple");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults(u64);

impl Faults {
    /// All of them.
    pub const ALL: Self = Self((1 << Fault::ALL.len()) - 1);
    /// None of them.
    pub const NONE: Self = Self(0);

    pub(crate) fn contains(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u64) != 0
    }

    fn named(name: &str) -> Self {
        let is_meant = |fault: &&Fault| {
            let (one, group) = fault.names();
            name == one || name == group
        };
        let meant = Fault::ALL.iter().filter(is_meant);
        Self(meant.fold(0, |all, fault| all | (1 << *fault as u64)))
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = 0;
        for name in text.split(',') {
            all |= match (name, Self::named(name)) {
                ("all", _) => Self::ALL.0,
                ("none", _) => 0,
                (_, Self::NONE) => {
                    return Err(format!(
                        "no fault is called {name}; there are {}",
                        Self::ALL
                    ));
                }
                (_, Self(some)) => some,
            };
        }
        Ok(Self(all))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = Fault::ALL.iter().filter(|fault| self.contains(**fault));
        let names: Vec<&str> = wanted.map(|fault| fault.names().0).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}
