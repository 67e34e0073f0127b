//! Messages: how they are sent, and what they meet where they arrive.

use bytes::{Bytes, BytesMut};
use little_raft_core::message::Class;
use little_raft_core::{Codec, Input, Message};

use super::World;
use super::planned::Happening;
use crate::checks::Violation;
use crate::network::Parcel;
use crate::random::hash;

impl World {
    pub(super) fn send(&mut self, message: Message) {
        let (from, to) = (message.from.0, message.to.0);
        let bytes = message.to_bytes();
        assert_eq!(
            Message::from_bytes(bytes.clone()).as_ref(),
            Ok(&message),
            "codec"
        );
        self.garble(&bytes);
        let parcel = Parcel {
            bytes: bytes.len(),
            is_urgent: message.class() == Class::Urgent,
        };
        let fate = self.network.fate(
            self.now,
            (from, to),
            parcel,
            &mut self.random,
            &self.weather,
        );
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(&message, &bytes, fate.arrivals.len());
        }
        for after in fate.arrivals {
            self.plan(
                after,
                Happening::Arrives {
                    from,
                    to,
                    bytes: bytes.clone(),
                },
            );
        }
        if let Some(after) = fate.unreachable {
            self.plan(
                after,
                Happening::Unreachable {
                    at: from - 1,
                    peer: to,
                },
            );
        }
    }

    /// Rule 11: nothing that comes from outside panics. Frames are checksummed, so that it goes no further.
    pub(super) fn garble(&mut self, bytes: &Bytes) {
        if self.random.chance(5) {
            let mut garbled = BytesMut::from(&bytes[..]);
            let at = self.random.below(garbled.len() as u64) as usize;
            garbled[at] ^= 1 << self.random.below(8);
            garbled.truncate(bytes.len() - self.random.below(bytes.len() as u64 / 2) as usize);
            let _ = Message::from_bytes(garbled.freeze());
        }
    }

    pub(super) fn arrive(&mut self, at: usize, bytes: Bytes) -> Result<(), Violation> {
        let digest = hash(0, &bytes);
        let message = Message::from_bytes(bytes).expect("what was encoded decodes");
        let Message { from, term, .. } = message;
        self.journal.note(
            self.now,
            format_args!("{} hears {from} in {term}: {digest:x}", at + 1),
        );
        self.journal
            .detail(self.now, format_args!("{:?}", message.body));
        self.checks.leading.heard(self.now, &message);
        let committed = &self.checks.committed;
        self.checks
            .settled
            .heard(&self.nodes, &message, committed)?;
        if let Some(raft) = self.nodes[at].raft() {
            self.checks.observer.arrives(raft, &message);
        }
        self.input(at, Input::Message(message))
    }
}
