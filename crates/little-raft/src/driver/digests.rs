//! Replicas compare digests of their state machines at one index (P58): a machine that is not deterministic, or memory
//! that has failed, is found, and the replicas that differ from the rest stop.
//!
//! The leader proposes to [take](DigestCommand::Take) one now and then. Who applies that says what it found, through the
//! log again, so that all judge by the same; an answer that is missing is no agreement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use little_raft_core::{Codec, DecodeError, Membership, ReplicaId};

/// The payload of an entry of kind [`EntryKind::Digest`](little_raft_core::EntryKind::Digest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestCommand {
    /// Take a digest of the state as it is at this entry.
    Take,
    /// A replica has found this.
    Taken(ReplicaId, Taken),
}

/// A digest of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The index of the state.
    pub index: u64,
    /// The digest.
    pub digest: u64,
}

impl Codec for DigestCommand {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Take => 0u8.encode(out),
            Self::Taken(replica, taken) => {
                1u8.encode(out);
                replica.encode(out);
                taken.index.encode(out);
                taken.digest.encode(out);
            }
        }
    }
    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::Take),
            1 => {
                let replica = ReplicaId::decode(input)?;
                let (index, digest) = (u64::decode(input)?, u64::decode(input)?);
                Ok(Self::Taken(replica, Taken { index, digest }))
            }
            other => Err(DecodeError::Unknown("digest command", other.into())),
        }
    }
}

/// The digests taken last.
#[derive(Debug, Default)]
pub struct Digests {
    /// Ours.
    ours: Option<Taken>,
    /// What others, and we, have said of the same index.
    said: BTreeMap<ReplicaId, u64>,
    alike: Arc<AtomicU64>,
}

impl Digests {
    /// The last index at which a majority had our digest, kept up to date; zero for none.
    pub fn alike(&self) -> Arc<AtomicU64> {
        self.alike.clone()
    }

    /// Ours was taken.
    pub fn take(&mut self, ours: Taken) {
        self.forget();
        self.ours = Some(ours);
    }

    /// The state has become another one by other means.
    pub fn forget(&mut self) {
        self.ours = None;
        self.said.clear();
    }

    /// Another replica's, or ours, has come. Whether a majority of these voters has a digest that is not ours.
    pub fn has_differed(&mut self, by: ReplicaId, theirs: Taken, voters: &Membership) -> bool {
        let Some(ours) = self.ours.filter(|ours| ours.index == theirs.index) else {
            return false;
        };
        self.said.insert(by, theirs.digest);
        let is_majority = |digest| voters.has_quorum(|id| self.said.get(&id) == Some(&digest));
        if is_majority(ours.digest) {
            self.alike.store(ours.index, Ordering::Release);
        }
        if ours.digest != theirs.digest {
            tracing::error!(
                %by, index = ours.index,
                "another replica's state is not ours: one of the two machines is not deterministic, or its memory is damaged"
            );
        }
        ours.digest != theirs.digest && is_majority(theirs.digest)
    }
}

#[cfg(test)]
mod tests {
    use little_raft_core::Member;

    use super::*;

    fn voters(count: u64) -> Membership {
        Membership::founders((1..=count).map(|id| Member::voter(id, "")))
    }

    fn taken(index: u64, digest: u64) -> Taken {
        Taken { index, digest }
    }

    #[test]
    fn p58_only_who_differs_from_a_majority_has_to_stop() {
        let (three, mut digests) = (voters(3), Digests::default());
        digests.take(taken(7, 1));
        assert!(!digests.has_differed(ReplicaId(1), taken(7, 1), &three));
        assert!(
            !digests.has_differed(ReplicaId(2), taken(7, 9), &three),
            "one of two each"
        );
        assert_eq!(digests.alike().load(Ordering::Acquire), 0);
        assert!(!digests.has_differed(ReplicaId(3), taken(7, 1), &three));
        assert_eq!(digests.alike().load(Ordering::Acquire), 7);
        digests.take(taken(9, 1));
        assert!(!digests.has_differed(ReplicaId(2), taken(9, 2), &three));
        assert!(digests.has_differed(ReplicaId(3), taken(9, 2), &three));
    }

    #[test]
    fn p58_no_answer_is_no_agreement() {
        let (three, mut digests) = (voters(3), Digests::default());
        assert!(
            !digests.has_differed(ReplicaId(2), taken(7, 1), &three),
            "we took none"
        );
        digests.take(taken(8, 1));
        for by in [2, 3] {
            let late = digests.has_differed(ReplicaId(by), taken(7, 2), &three);
            assert!(!late, "it is of another index");
        }
        assert!(!digests.has_differed(ReplicaId(1), taken(8, 1), &three));
        assert_eq!(digests.alike().load(Ordering::Acquire), 0, "one of three");
    }

    #[test]
    fn a_command_comes_back_from_its_bytes() {
        for command in [
            DigestCommand::Take,
            DigestCommand::Taken(ReplicaId(3), taken(4, 5)),
        ] {
            assert_eq!(DigestCommand::from_bytes(command.to_bytes()), Ok(command));
        }
        assert!(DigestCommand::from_bytes(Bytes::from_static(&[7])).is_err());
    }
}
