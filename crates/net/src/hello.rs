//! The handshake's two halves as bytes, and the judgement over the first. `FORMAT.md` draws them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use little_raft_core::ReplicaId;
use little_raft_core::message::Class;

use crate::Reason;

/// The version of handshake and frames, compared before anything else.
pub const WIRE_VERSION: u16 = 1;

const GREETING: [u8; 4] = *b"LRhi";
const ANSWER: [u8; 4] = *b"LRan";
/// Magic, version, length of the rest.
pub(crate) const HEAD_BYTES: usize = 8;
/// The most that may follow the head.
pub(crate) const BODY_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 512;
/// A greeting without the dialer's address.
const GREETING_BYTES: usize = 41;
const ADDRESS_BYTES_MAX: usize = 512;

/// Who this replica is, for the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which cluster.
    pub cluster: u64,
    /// Which replica of it.
    pub replica: ReplicaId,
    /// Which data directory.
    pub incarnation: u64,
    /// Which start of it.
    pub boot: u64,
}

/// The dialer's half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub who: Hello,
    pub wanted: ReplicaId,
    /// What the connection carries.
    pub class: Class,
    /// Where its peers reach the dialer; empty unless it is a member, as far as it knows itself.
    pub address: String,
}

/// The acceptor's half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Welcome(Hello),
    Refused(String),
}

impl Greeting {
    /// Who are you? Said by one that knows no cluster yet: it names none, and wants nobody.
    pub(crate) fn question() -> Self {
        let (replica, wanted) = (ReplicaId(0), ReplicaId(0));
        let who = Hello {
            cluster: 0,
            replica,
            incarnation: 0,
            boot: 0,
        };
        Self {
            who,
            wanted,
            class: Class::Urgent,
            address: String::new(),
        }
    }

    pub(crate) fn is_question(&self) -> bool {
        *self == Self::question()
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        put_hello(&mut body, &self.who);
        body.put_u64_le(self.wanted.0);
        body.put_u8(self.class as u8);
        if self.address.len() <= ADDRESS_BYTES_MAX {
            body.extend_from_slice(self.address.as_bytes());
        }
        sealed(GREETING, WIRE_VERSION, &body)
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Self, Reason> {
        if body.len() < GREETING_BYTES || body.len() > GREETING_BYTES + ADDRESS_BYTES_MAX {
            return Err(Reason::Foreign);
        }
        let (who, wanted) = (take_hello(&mut body), ReplicaId(body.get_u64_le()));
        let class = match body.get_u8() {
            0 => Class::Urgent,
            1 => Class::Bulk,
            2 => Class::Snapshot,
            _ => return Err(Reason::Foreign),
        };
        let address = String::from_utf8(body.to_vec()).map_err(|_| Reason::Foreign)?;
        Ok(Self {
            who,
            wanted,
            class,
            address,
        })
    }

    /// What speaks against listening to the dialer.
    pub(crate) fn objection(
        &self,
        me: &Hello,
        is_member: impl Fn(ReplicaId) -> bool,
    ) -> Option<Reason> {
        if self.who.cluster != me.cluster {
            return Some(Reason::OtherCluster {
                ours: me.cluster,
                theirs: self.who.cluster,
            });
        }
        // Rule 7: an address that now belongs to somebody else must not receive what was meant for its former owner.
        if self.wanted != me.replica {
            return Some(Reason::OtherReplica {
                wanted: self.wanted,
                found: me.replica,
            });
        }
        let replica = self.who.replica;
        (!is_member(replica)).then_some(Reason::NotMember { replica })
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        match self {
            Self::Welcome(hello) => {
                body.put_u8(0);
                put_hello(&mut body, hello);
            }
            Self::Refused(text) => {
                body.put_u8(1);
                let end = text.floor_char_boundary_at(TEXT_BYTES_MAX);
                body.extend_from_slice(&text.as_bytes()[..end]);
            }
        }
        sealed(ANSWER, WIRE_VERSION, &body)
    }

    /// A refusal reads the same in every version, so that a replica of another one can say why.
    pub(crate) fn decode(version: u16, mut body: Bytes) -> Result<Self, Reason> {
        if !body.has_remaining() {
            return Err(Reason::Foreign);
        }
        let code = body.get_u8();
        if code != 0 {
            return Ok(Self::Refused(String::from_utf8_lossy(&body).into_owned()));
        }
        check_version(version)?;
        if body.len() != 32 {
            return Err(Reason::Foreign);
        }
        Ok(Self::Welcome(take_hello(&mut body)))
    }
}

trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, limit: usize) -> usize;
}

impl FloorCharBoundary for String {
    fn floor_char_boundary_at(&self, limit: usize) -> usize {
        let mut end = self.len().min(limit);
        while !self.is_char_boundary(end) {
            end -= 1;
        }
        end
    }
}

pub(crate) fn check_version(theirs: u16) -> Result<(), Reason> {
    if theirs == WIRE_VERSION {
        Ok(())
    } else {
        Err(Reason::OtherVersion {
            ours: WIRE_VERSION,
            theirs,
        })
    }
}

/// Version and length of what follows a greeting's head.
pub(crate) fn greeting_head(head: [u8; HEAD_BYTES]) -> Result<(u16, usize), Reason> {
    decode_head(GREETING, head)
}

/// Version and length of what follows an answer's head.
pub(crate) fn answer_head(head: [u8; HEAD_BYTES]) -> Result<(u16, usize), Reason> {
    decode_head(ANSWER, head)
}

/// Checks and cuts off the checksum behind a body.
pub(crate) fn open(head: [u8; HEAD_BYTES], mut sealed: Vec<u8>) -> Result<Bytes, Reason> {
    let body = sealed.len().checked_sub(4).ok_or(Reason::Foreign)?;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), &sealed[..body]);
    if sealed[body..] != checksum.to_le_bytes() {
        return Err(Reason::Damaged("checksum mismatch in the handshake"));
    }
    sealed.truncate(body);
    Ok(Bytes::from(sealed))
}

fn sealed(magic: [u8; 4], version: u16, body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.extend_from_slice(&magic);
    out.put_u16_le(version);
    out.put_u16_le((body.len() + 4) as u16);
    out.extend_from_slice(body);
    let checksum = crc32c::crc32c(&out);
    out.put_u32_le(checksum);
    out.freeze()
}

fn decode_head(magic: [u8; 4], head: [u8; HEAD_BYTES]) -> Result<(u16, usize), Reason> {
    let mut rest = &head[4..];
    let (version, length) = (rest.get_u16_le(), usize::from(rest.get_u16_le()));
    if head[..4] != magic || length > BODY_BYTES_MAX {
        return Err(Reason::Foreign);
    }
    Ok((version, length))
}

fn put_hello(out: &mut BytesMut, hello: &Hello) {
    out.put_u64_le(hello.cluster);
    out.put_u64_le(hello.replica.0);
    out.put_u64_le(hello.incarnation);
    out.put_u64_le(hello.boot);
}

/// Needs 32 bytes in `body`.
fn take_hello(body: &mut Bytes) -> Hello {
    Hello {
        cluster: body.get_u64_le(),
        replica: ReplicaId(body.get_u64_le()),
        incarnation: body.get_u64_le(),
        boot: body.get_u64_le(),
    }
}
