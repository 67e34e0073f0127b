//! Asking who listens at an address, before anything is known about its cluster.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::Hello;
use crate::hello::{Answer, Greeting, HEAD_BYTES, answer_head, open};

/// Who listens at `address`, a `host:port`. For a replica that joins a group it knows only the addresses of.
///
/// # Errors
/// When nobody answers within `timeout`, or something that is no replica of this version does.
pub fn ask(address: &str, timeout: Duration) -> io::Result<Hello> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in address.to_socket_addrs()? {
        let stream = TcpStream::connect_timeout(&target, timeout);
        match stream.and_then(|stream| ask_one(stream, timeout)) {
            Ok(hello) => return Ok(hello),
            Err(other) => error = other,
        }
    }
    Err(error)
}

fn ask_one(mut stream: TcpStream, timeout: Duration) -> io::Result<Hello> {
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(&Greeting::question().encode())?;
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head)?;
    let (version, length) = answer_head(head).map_err(io::Error::other)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = open(head, body).map_err(io::Error::other)?;
    match Answer::decode(version, body).map_err(io::Error::other)? {
        Answer::Welcome(hello) => Ok(hello),
        Answer::Refused(text) => Err(io::Error::other(text)),
    }
}
