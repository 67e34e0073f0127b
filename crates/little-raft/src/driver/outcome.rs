//! What an entry comes to once it is applied, and who waits for that.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use little_raft_core::Codec;

use crate::error::ProposeError;
use crate::machine::ResponseCodec;
use crate::pending::{Answer, Limit};
use crate::session::Session;

/// What an entry came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// A command's response.
    Response(R),
    /// The responses of commands proposed together.
    Responses(Vec<R>),
    /// A session was registered under this name.
    Session(u64),
}

/// How a proposal ended.
pub type Ended<R> = Result<Outcome<R>, ProposeError>;

/// Who waits, and for what.
pub enum Waiter<R> {
    /// For a command's response.
    Response(Answer<R, ProposeError>),
    /// For the responses of commands proposed together.
    Responses(Answer<Vec<R>, ProposeError>),
    /// For a session.
    Session(Answer<Session, ProposeError>),
}

impl<R> Waiter<R> {
    /// Ends the wait. Call it with no lock held.
    ///
    /// # Panics
    /// If it waits for something else: then it stood at the position of another's entry.
    pub fn send(self, ended: Ended<R>) {
        match (self, ended) {
            (Self::Response(answer), Ok(Outcome::Response(response))) => answer.send(Ok(response)),
            (Self::Responses(answer), Ok(Outcome::Responses(all))) => answer.send(Ok(all)),
            (Self::Session(answer), Ok(Outcome::Session(id))) => answer.send(Ok(Session::new(id))),
            (Self::Response(answer), Err(error)) => answer.send(Err(error)),
            (Self::Responses(answer), Err(error)) => answer.send(Err(error)),
            (Self::Session(answer), Err(error)) => answer.send(Err(error)),
            (_, Ok(_)) => panic!("a proposal got what another one came to"),
        }
    }
}

impl<R> fmt::Debug for Waiter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}

impl<R: Send + 'static> Waiter<R> {
    /// Lets somebody end the wait before its answer is there.
    pub(crate) fn limit(&self) -> Option<Arc<dyn Limit>> {
        match self {
            Self::Response(answer) => answer.limit(),
            Self::Responses(answer) => answer.limit(),
            Self::Session(answer) => answer.limit(),
        }
    }
}

impl<R> Outcome<R> {
    /// As bytes, for a session to keep.
    pub fn encode(&self, codec: &ResponseCodec<R>) -> Bytes {
        match self {
            Self::Response(response) => (codec.encode)(response),
            Self::Responses(all) => {
                let all: Vec<Bytes> = all.iter().map(codec.encode).collect();
                all.to_bytes()
            }
            Self::Session(id) => id.to_bytes(),
        }
    }

    /// A command's, from what a session kept.
    pub fn decode_one(kept: Bytes, codec: &ResponseCodec<R>) -> Option<Self> {
        (codec.decode)(kept).map(Self::Response)
    }

    /// That of commands proposed together.
    pub fn decode_all(kept: Bytes, codec: &ResponseCodec<R>) -> Option<Self> {
        let kept = Vec::<Bytes>::from_bytes(kept).ok()?.into_iter();
        let all: Option<Vec<R>> = kept.map(codec.decode).collect();
        all.map(Self::Responses)
    }
}
