//! The decoders of this crate for `crates/fuzz`. No part of the API: they are behind the feature `fuzzing`.

use std::io::Read;

use bytes::Bytes;
use little_raft_core::message::Class;
use little_raft_core::{Message, ReplicaId};

use crate::frame::{self, End, Frames};
use crate::hello::{Answer, Greeting, HEAD_BYTES, answer_head, check_version, greeting_head, open};
use crate::{Hello, Options, Reason};

/// The message as a frame.
pub fn frame(message: &Message) -> Bytes {
    frame::encode(message)
}

/// The payloads of all frames, until the stream ends or one is bad.
///
/// # Errors
/// Why it is bad.
pub fn frames(source: &mut impl Read, options: &Options) -> Result<Vec<Bytes>, Reason> {
    let mut frames = Frames::new(options);
    let mut payloads = Vec::new();
    loop {
        match frames.next(source) {
            Ok(payload) => payloads.push(payload),
            Err(End::Closed) => return Ok(payloads),
            Err(End::Fault(reason)) => return Err(reason),
        }
    }
}

/// What a dialer says.
pub fn greeting(who: Hello, wanted: ReplicaId, address: &str) -> Bytes {
    Greeting {
        who,
        wanted,
        class: Class::Urgent,
        address: address.into(),
    }
    .encode()
}

/// Who greets, if these are the bytes of a greeting.
///
/// # Errors
/// Why they aren't.
pub fn read_greeting(bytes: &[u8]) -> Result<Hello, Reason> {
    let (head, rest) = split(bytes)?;
    let (version, length) = greeting_head(head)?;
    check_version(version)?;
    let body = open(head, part(rest, length)?)?;
    Greeting::decode(body).map(|greeting| greeting.who)
}

/// What an acceptor says: itself, or why it refuses.
pub fn answer(answer: Result<Hello, String>) -> Bytes {
    match answer {
        Ok(hello) => Answer::Welcome(hello).encode(),
        Err(text) => Answer::Refused(text).encode(),
    }
}

/// What an acceptor said, if these are the bytes of an answer.
///
/// # Errors
/// Why they aren't.
pub fn read_answer(bytes: &[u8]) -> Result<Result<Hello, String>, Reason> {
    let (head, rest) = split(bytes)?;
    let (version, length) = answer_head(head)?;
    let body = open(head, part(rest, length)?)?;
    Ok(match Answer::decode(version, body)? {
        Answer::Welcome(hello) => Ok(hello),
        Answer::Refused(text) => Err(text),
    })
}

fn split(bytes: &[u8]) -> Result<([u8; HEAD_BYTES], &[u8]), Reason> {
    let (head, rest) = bytes.split_first_chunk().ok_or(Reason::Unfinished)?;
    Ok((*head, rest))
}

fn part(rest: &[u8], length: usize) -> Result<Vec<u8>, Reason> {
    let part = rest.get(..length).ok_or(Reason::Unfinished)?;
    Ok(part.to_vec())
}
