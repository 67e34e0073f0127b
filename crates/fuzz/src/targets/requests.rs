//! What clients ask for, and what stands in the log as a command.

use arbtest::arbitrary::{Result, Unstructured};
use bytes::Bytes;
use little_raft::core::Position;
use little_raft::{Entry, LibraryState, StateMachine};
use little_raft_server::proto::command::Command;
use little_raft_server::proto::etcdserverpb::{PutRequest, RangeRequest, TxnRequest};
use little_raft_server::store::{
    Store, check_put, check_range, check_txn, encode, put_cost, reads_only, serializable, txn_cost,
};
use prost::Message;

use crate::memory::within;
use crate::mutate::mutate;
use crate::requests::{command, put, range, txn};

const COMMANDS_MAX: usize = 12;
/// An empty message takes two bytes, in memory it can have 200.
const BYTES_A_BYTE: usize = 256;
const SLACK_BYTES: usize = 4 << 10;
/// What the store's file takes in memory for itself.
const STORE_BYTES: usize = 8 << 20;

pub fn run(u: &mut Unstructured<'_>) -> Result<()> {
    decode(u, range, |request: RangeRequest| {
        let _ = check_range(&request);
    })?;
    decode(u, put, |request: PutRequest| {
        let _ = check_put(&request);
        put_cost(&request);
    })?;
    decode(u, txn, |request: TxnRequest| {
        let _ = check_txn(&request);
        txn_cost(&request);
        reads_only(&request);
        serializable(&request);
    })?;
    decode(
        u,
        |u| {
            Ok(Command {
                kind: Some(command(u)?),
            })
        },
        |_: Command| (),
    )?;
    apply(u)
}

fn decode<T: Message + Default, U: Message>(
    u: &mut Unstructured<'_>,
    make: impl Fn(&mut Unstructured<'_>) -> Result<U>,
    check: impl Fn(T),
) -> Result<()> {
    let mut encoded = make(u)?.encode_to_vec();
    mutate(u, &mut encoded)?;
    let encoded = Bytes::from(encoded);
    let bound = BYTES_A_BYTE * encoded.len() + SLACK_BYTES;
    let decoded = within(bound, || T::decode(encoded.clone()));
    if let Ok(request) = decoded {
        check(request);
    }
    Ok(())
}

/// A store bears any commands, and answers any reads between them.
fn apply(u: &mut Unstructured<'_>) -> Result<()> {
    let mut store = Store::in_memory().expect("memory will do");
    for index in 1..=u.int_in_range(0..=COMMANDS_MAX as u64)? {
        let mut encoded = encode(command(u)?).to_vec();
        if u.ratio(1, 20)? {
            mutate(u, &mut encoded)?;
        }
        let (encoded, request) = (Bytes::from(encoded), range(u)?);
        let position = Position::new(index, 1);
        within(STORE_BYTES, || {
            drop(store.apply(Entry::new(position, 1, &encoded)));
            let committed = store.commit(position, &LibraryState::default());
            drop(store.reader().range(&request));
            committed
        })
        .or_else(|error| match error.kind() {
            // It knows no such command, and stops for good.
            std::io::ErrorKind::Other => Ok::<(), std::io::Error>(()),
            _ => panic!("a store in memory can't fail: {error}"),
        })
        .expect("either way it went on");
        let reads = txn(u)?;
        if check_txn(&reads).is_ok() && reads_only(&reads) {
            drop(store.reader().txn(&reads));
        }
        if u.ratio(1, 4)? {
            store.flush().expect("memory will do");
        }
    }
    Ok(())
}
