//! A copy of the store as a stream, made while it is sent.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::{Sender, channel};
use tonic::Status;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use super::ETCD_VERSION;
use crate::backup::file;
use crate::proto::etcdserverpb::{ResponseHeader, SnapshotResponse};
use crate::store::StoreView;

/// What a client gets.
pub type Pieces = ReceiverStream<Result<SnapshotResponse, Status>>;

const PIECE_BYTES: usize = 64 << 10;
/// So many are made before the client has taken the first.
const PIECES_AHEAD: usize = 4;

/// Makes the copy on a thread of its own, which ends when the client has it or is gone.
pub fn pieces(mut view: StoreView, header: ResponseHeader) -> Pieces {
    let (pieces, receiver) = channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&mut view, header, &pieces) {
            // Whoever is gone isn't told.
            drop(pieces.blocking_send(Err(unreadable(error))));
        }
    });
    ReceiverStream::new(receiver)
}

/// Stored data can't be read, or is damaged.
pub fn unreadable(error: io::Error) -> Status {
    tracing::error!(%error, "the store can't be copied");
    Status::internal(format!("the store can't be copied: {error}"))
}

type Piece = Result<SnapshotResponse, Status>;

fn send(view: &mut StoreView, header: ResponseHeader, pieces: &Sender<Piece>) -> io::Result<()> {
    // Clients are told with each piece how much is left, and some stop at zero.
    let mut count = Count(0);
    file::write(view, &mut count)?;
    let mut out = Cut {
        left: count.0,
        header,
        pieces,
        buffer: BytesMut::with_capacity(PIECE_BYTES),
    };
    file::write(view, &mut out)?;
    out.flush()
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts what is written into pieces.
struct Cut<'a> {
    left: u64,
    header: ResponseHeader,
    pieces: &'a Sender<Piece>,
    buffer: BytesMut,
}

impl Cut<'_> {
    fn send(&mut self, blob: Bytes) -> io::Result<()> {
        self.left -= blob.len() as u64;
        let piece = SnapshotResponse {
            header: Some(self.header),
            remaining_bytes: self.left,
            blob,
            version: ETCD_VERSION.to_owned(),
        };
        let sent = self.pieces.blocking_send(Ok(piece));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Cut<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(PIECE_BYTES);
        match piece.is_empty() {
            true => Ok(()),
            false => self.send(piece),
        }
    }
}
