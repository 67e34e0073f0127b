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
    Flush "flush"
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
