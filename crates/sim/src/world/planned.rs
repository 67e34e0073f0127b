//! What will happen, in its order.

use bytes::Bytes;

use crate::node::Due;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    Arrives {
        from: u64,
        to: u64,
        bytes: Bytes,
    },
    Unreachable {
        at: u64,
        peer: u64,
    },
    Due {
        at: u64,
        boot: u64,
        due: Due,
    },
    /// A client asks for something.
    Asked {
        at: u64,
        ticket: u64,
        is_read: bool,
    },
    Restart {
        at: u64,
    },
    /// A pause may be over.
    Resume {
        at: u64,
    },
    Client,
    /// A client that has heard who leads.
    Rush {
        at: u64,
    },
    /// Its connections break.
    CutOff {
        at: u64,
    },
    Strand {
        at: u64,
    },
    Fault,
}

/// Ordered by time, then by when it was planned.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) at: u64,
    pub(super) number: u64,
    /// In a box: plans are moved about a lot while they wait.
    pub(super) what: Box<Happening>,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
