//! The store as a whole: against a dumb model, across crashes, restores and compactions.

mod model;
mod raised;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use little_raft::core::Position;
use little_raft::{Entry, LibraryState, Snapshot, StateMachine};

use super::*;
use crate::proto::command::MemberAttributes;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest,
};

/// A store with a log's position, each command a batch of its own unless `commit` is left to the caller.
struct Driven {
    store: Store,
    index: u64,
}

impl Driven {
    fn new(store: Store) -> Self {
        let index = store.durable().expect("the store is durable").0.index;
        Self { store, index }
    }

    fn in_memory() -> Self {
        Self::new(Store::in_memory().expect("memory doesn't fail"))
    }

    fn apply_only(&mut self, kind: Kind) -> Result<Answer, Refusal> {
        self.index += 1;
        let command = encode(kind);
        self.store
            .apply(Entry::new(Position::new(self.index, 1), 0, &command))
    }

    fn commit(&mut self) {
        let library = LibraryState(Bytes::from(format!("members at {}", self.index)));
        self.store
            .commit(Position::new(self.index, 1), &library)
            .expect("memory doesn't fail");
    }

    fn apply(&mut self, kind: Kind) -> Result<Answer, Refusal> {
        let answer = self.apply_only(kind);
        self.commit();
        answer
    }

    fn reader(&self) -> Reader {
        self.store.reader()
    }
}

fn put(key: &str, value: &str) -> Kind {
    Kind::Put(put_request(key, value))
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from(value.to_owned()),
        ..PutRequest::default()
    }
}

fn delete(key: &str, end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: Bytes::from(key.to_owned()),
        range_end: Bytes::from(end.to_owned()),
        ..DeleteRangeRequest::default()
    }
}

fn compact(revision: i64) -> Kind {
    Kind::Compact(CompactionRequest {
        revision,
        physical: false,
    })
}

fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

fn all() -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..RangeRequest::default()
    }
}

fn contents(reader: &Reader, revision: i64) -> Result<Vec<(String, String)>, Refusal> {
    let request = RangeRequest { revision, ..all() };
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let (page, _) = reader.range(&request)?;
    Ok(page
        .kvs
        .iter()
        .map(|kv| (text(&kv.key), text(&kv.value)))
        .collect())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("little-raft-store-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("store.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn revisions_count_requests_that_wrote() {
    let mut driven = Driven::in_memory();
    let reader = driven.reader();
    assert_eq!(reader.revision(), 1);
    driven.apply(put("a", "1")).unwrap();
    driven.apply(Kind::DeleteRange(delete("none", ""))).unwrap();
    assert_eq!(reader.revision(), 2);
    driven.apply(put("a", "2")).unwrap();
    driven.apply(Kind::DeleteRange(delete("a", ""))).unwrap();
    driven.apply(put("a", "3")).unwrap();
    assert_eq!(reader.revision(), 5);
    let (page, _) = reader.range(&all()).unwrap();
    assert_eq!((page.kvs[0].version, page.kvs[0].create_revision), (1, 5));
    assert_eq!(contents(&reader, 2), Ok(pairs(&[("a", "1")])));
    assert_eq!(contents(&reader, 3), Ok(pairs(&[("a", "2")])));
    assert_eq!(contents(&reader, 4), Ok(pairs(&[])));
    assert_eq!(contents(&reader, 6), Err(Refusal::FutureRevision));
}

#[test]
fn what_is_not_committed_is_not_seen() {
    let mut driven = Driven::in_memory();
    let reader = driven.reader();
    driven.apply(put("a", "1")).unwrap();
    driven.apply_only(put("a", "2")).unwrap();
    assert_eq!(contents(&reader, 0), Ok(pairs(&[("a", "1")])));
    driven.store.flush().unwrap();
    assert_eq!(contents(&reader, 0), Ok(pairs(&[("a", "1")])));
    driven.commit();
    assert_eq!(contents(&reader, 0), Ok(pairs(&[("a", "2")])));
}

/// Each operation is refused in turn; the others must leave no trace.
#[test]
fn a_refused_transaction_changes_nothing() {
    let keep_missing = PutRequest {
        ignore_value: true,
        ..put_request("missing", "")
    };
    let leased = PutRequest {
        lease: 7,
        ..put_request("leased", "x")
    };
    let future = RangeRequest {
        revision: 99,
        ..all()
    };
    let compacted = RangeRequest {
        revision: 1,
        ..all()
    };
    let refused = [
        (Request::RequestPut(keep_missing), Refusal::KeyNotFound),
        (Request::RequestPut(leased), Refusal::LeaseNotFound),
        (Request::RequestRange(future), Refusal::FutureRevision),
        (Request::RequestRange(compacted), Refusal::Compacted),
        (Request::RequestPut(put_request("", "x")), Refusal::EmptyKey),
        (
            Request::RequestPut(put_request("b", "x")),
            Refusal::DuplicateKey,
        ),
    ];
    for (request, refusal) in refused {
        for nested in [false, true] {
            let mut driven = Driven::in_memory();
            driven.apply(put("a", "1")).unwrap();
            driven.apply(put("a", "2")).unwrap();
            driven.apply(compact(3)).unwrap();
            let (hash, digest) = (driven.reader().hash().unwrap(), driven.store.digest());
            let last = if nested {
                let success = vec![op(request.clone())];
                op(Request::RequestTxn(TxnRequest {
                    success,
                    ..TxnRequest::default()
                }))
            } else {
                op(request.clone())
            };
            let success = vec![
                op(Request::RequestPut(put_request("b", "1"))),
                op(Request::RequestDeleteRange(delete("a", ""))),
                last,
            ];
            let txn = TxnRequest {
                success,
                ..TxnRequest::default()
            };
            assert_eq!(driven.apply(Kind::Txn(txn)), Err(refusal));
            assert_eq!(contents(&driven.reader(), 0), Ok(pairs(&[("a", "2")])));
            assert_eq!(driven.reader().revision(), 3);
            assert_eq!(
                (driven.reader().hash().unwrap(), driven.store.digest()),
                (hash, digest)
            );
        }
    }
}

#[test]
fn operations_see_earlier_ones_and_compares_dont() {
    let mut driven = Driven::in_memory();
    driven.apply(put("a", "old")).unwrap();
    let is_new = Compare {
        key: Bytes::from_static(b"b"),
        target: CompareTarget::Version as i32,
        result: CompareResult::Equal as i32,
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    let nested = TxnRequest {
        compare: vec![is_new],
        success: vec![op(Request::RequestRange(all()))],
        failure: vec![],
    };
    let txn = TxnRequest {
        success: vec![
            op(Request::RequestDeleteRange(delete("a", ""))),
            op(Request::RequestPut(put_request("b", "new"))),
            op(Request::RequestTxn(nested)),
        ],
        ..TxnRequest::default()
    };
    let Ok(Answer::Txn(response)) = driven.apply(Kind::Txn(txn)) else {
        panic!("refused");
    };
    let text = format!("{response:?}");
    assert!(
        text.contains("count: 1") && text.contains("b\"new\"") && !text.contains("old"),
        "{text}"
    );
    assert_eq!(driven.reader().revision(), 3);
}

#[test]
fn a_missing_key_compares_as_zeros_but_has_no_value() {
    let driven = Driven::in_memory();
    let holds = |target: CompareTarget, result: CompareResult| {
        let compare = Compare {
            key: Bytes::from_static(b"missing"),
            target: target as i32,
            result: result as i32,
            ..Compare::default()
        };
        let compare = vec![compare];
        let txn = TxnRequest {
            compare,
            ..TxnRequest::default()
        };
        driven.reader().txn(&txn).unwrap().succeeded
    };
    assert!(holds(CompareTarget::Create, CompareResult::Equal));
    assert!(!holds(CompareTarget::Mod, CompareResult::Greater));
    assert!(!holds(CompareTarget::Value, CompareResult::Equal));
    assert!(!holds(CompareTarget::Value, CompareResult::NotEqual));
}

/// Rule 10: state, applied position and the library's part are of one moment, wherever the crash comes.
#[test]
fn p50_a_crash_at_any_step_loses_only_the_end_and_replay_restores_it() {
    let folder = Folder::new("crash");
    let commands: Vec<Kind> = (0..40)
        .map(|n| match n % 8 {
            6 => Kind::DeleteRange(delete(&format!("k{}", n % 5), "")),
            7 => compact(n - 4),
            _ => put(&format!("k{}", n % 5), &format!("v{n}")),
        })
        .collect();
    let mut undisturbed = Driven::in_memory();
    for command in &commands {
        drop(undisturbed.apply(command.clone()));
    }
    let expected = undisturbed.reader().hash().unwrap();
    for crash_at in 0..commands.len() {
        for flush_every in [1, 3, 100] {
            drop(std::fs::remove_file(folder.file()));
            {
                let mut driven = Driven::new(
                    Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap(),
                );
                for (n, command) in commands[..crash_at].iter().enumerate() {
                    drop(driven.apply(command.clone()));
                    if n % flush_every == 0 {
                        driven.store.flush().unwrap();
                    }
                }
                // Without its thread the store drops what it hasn't flushed, as a crash would.
            }
            let mut driven =
                Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
            let (position, library) = driven.store.durable().unwrap();
            if position.index > 0 {
                assert_eq!(
                    library.0,
                    Bytes::from(format!("members at {}", position.index))
                );
            }
            let replayed = usize::try_from(position.index).unwrap();
            assert!(replayed <= crash_at);
            for command in &commands[replayed..] {
                drop(driven.apply(command.clone()));
            }
            assert_eq!(
                driven.reader().hash().unwrap(),
                expected,
                "crash at {crash_at}, replay from {replayed}"
            );
            assert_eq!(driven.store.digest(), undisturbed.store.digest());
        }
    }
}

#[test]
fn compaction_frees_the_file_and_survives_a_crash_before_cleaning() {
    let folder = Folder::new("compaction");
    let mut driven =
        Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
    for n in 0..50 {
        driven.apply(put("same", &n.to_string())).unwrap();
    }
    driven.apply(Kind::DeleteRange(delete("same", ""))).unwrap();
    driven.apply(put("other", "x")).unwrap();
    driven.store.flush().unwrap();
    driven.apply(compact(53)).unwrap();
    assert_eq!(driven.apply(compact(53)), Err(Refusal::Compacted));
    assert_eq!(driven.apply(compact(54)), Err(Refusal::FutureRevision));
    maintenance::flush(driven.store.shared()).unwrap();
    drop(driven);

    let driven = Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
    let reader = driven.reader();
    assert_eq!(contents(&reader, 52), Err(Refusal::Compacted));
    let before = reader.bytes();
    let hash = reader.hash().unwrap();
    driven.store.flush().unwrap();
    assert_eq!(reader.cleaned(), 53);
    assert!(reader.bytes() < before / 20);
    assert_eq!(reader.hash().unwrap(), hash);
    let mut left = Vec::new();
    driven
        .store
        .shared()
        .disk
        .scan(|_, record| left.push(record.key))
        .unwrap();
    assert_eq!(left, [Bytes::from_static(b"other")]);
}

fn snapshot_of(driven: &Driven) -> Vec<u8> {
    let mut bytes = Vec::new();
    driven
        .store
        .snapshot()
        .unwrap()
        .write_to(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn what_members_say_survives_a_restart_and_travels_in_the_snapshot() {
    let said = MemberAttributes {
        id: 7,
        name: "seven".into(),
        client_urls: vec!["http://h:1".into()],
    };
    let folder = Folder::new("attributes");
    let mut driven =
        Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
    let revision = driven.store.reader().revision();
    let answer = driven.apply(Kind::Attributes(said.clone()));
    assert_eq!(answer, Ok(Answer::Attributes));
    assert_eq!(driven.store.reader().revision(), revision);
    let expected: Attributes = [(7, said)].into();
    let bytes = snapshot_of(&driven);
    driven.store.flush().unwrap();
    drop(driven);
    let again = Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap();
    assert_eq!(*again.reader().attributes(), expected);
    let mut other = Store::in_memory().unwrap();
    other.restore(&mut &bytes[..]).unwrap();
    other
        .commit(Position::new(1, 1), &LibraryState::default())
        .unwrap();
    assert_eq!(*other.reader().attributes(), expected);
}

#[test]
fn p44_a_snapshot_is_of_one_moment_though_writes_go_on() {
    for flush_before in [false, true] {
        let mut driven = Driven::in_memory();
        driven.apply(put("a", "1")).unwrap();
        if flush_before {
            driven.store.flush().unwrap();
        }
        driven.apply(put("b", "1")).unwrap();
        let hash = driven.reader().hash().unwrap();
        let mut view = driven.store.snapshot().unwrap();
        driven.apply(put("a", "2")).unwrap();
        driven.store.flush().unwrap();
        let mut bytes = Vec::new();
        view.write_to(&mut bytes).unwrap();

        let mut other = Driven::in_memory();
        other.apply(put("z", "gone after the restore")).unwrap();
        other.store.restore(&mut &bytes[..]).unwrap();
        other.commit();
        assert_eq!(other.reader().hash().unwrap(), hash);
        assert_eq!(
            contents(&other.reader(), 0),
            Ok(pairs(&[("a", "1"), ("b", "1")]))
        );
        other.apply(put("a", "2")).unwrap();
        assert_eq!(other.store.digest(), driven.store.digest());
    }
}

/// Rule 10: installed whole or not at all.
#[test]
fn a_crash_during_a_restore_leaves_the_old_state() {
    let folder = Folder::new("restore");
    let mut source = Driven::in_memory();
    for n in 0..20 {
        source.apply(put(&format!("new{n}"), "value")).unwrap();
    }
    let bytes = snapshot_of(&source);
    let open = || Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
    let mut driven = open();
    driven.apply(put("old", "1")).unwrap();
    driven.store.flush().unwrap();
    let hash = driven.reader().hash().unwrap();
    drop(driven);
    for cut in 0..bytes.len() {
        let mut driven = open();
        assert!(
            driven.store.restore(&mut &bytes[..cut]).is_err(),
            "cut at {cut}"
        );
        assert_eq!(driven.reader().hash().unwrap(), hash);
        if cut % 64 == 0 {
            let mut flipped = bytes.clone();
            flipped[cut] ^= 1;
            assert!(
                driven.store.restore(&mut &flipped[..]).is_err(),
                "flipped at {cut}"
            );
        }
    }
    let mut driven = open();
    driven.store.restore(&mut &bytes[..]).unwrap();
    drop(driven);
    let mut driven = open();
    assert_eq!(
        driven.reader().hash().unwrap(),
        hash,
        "not committed, so not there"
    );
    driven.store.restore(&mut &bytes[..]).unwrap();
    driven.index = 77;
    driven.commit();
    drop(driven);
    let driven = open();
    assert_eq!(
        driven.reader().hash().unwrap(),
        source.reader().hash().unwrap()
    );
    assert_eq!(driven.store.durable().unwrap().0, Position::new(77, 1));
}

#[test]
fn damage_in_a_record_is_found_at_the_start() {
    let folder = Folder::new("damage");
    {
        let mut driven =
            Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
        driven
            .apply(put("key", "a value that is easy to find"))
            .unwrap();
        driven.store.flush().unwrap();
    }
    let mut bytes = std::fs::read(folder.file()).unwrap();
    let needle = b"a value that is easy to find";
    let at: Vec<usize> = (0..bytes.len() - needle.len())
        .filter(|at| bytes[*at..].starts_with(needle))
        .collect();
    at.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(folder.file(), bytes).unwrap();
    let error = Store::open(&folder.file()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = Folder::new("in-use");
    let _store = Store::open(&folder.file()).unwrap();
    let error = Store::open(&folder.file()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn the_thread_writes_in_the_background_and_when_it_ends() {
    let folder = Folder::new("thread");
    let mut driven = Driven::new(Store::open(&folder.file()).unwrap());
    driven.apply(put("a", "1")).unwrap();
    drop(driven);
    let driven = Driven::new(Store::open(&folder.file()).unwrap());
    assert_eq!(contents(&driven.reader(), 0), Ok(pairs(&[("a", "1")])));
    assert_eq!(driven.index, 1);
}

#[test]
fn p58_an_unknown_command_ends_the_replica() {
    let mut driven = Driven::in_memory();
    let garbage = Bytes::from_static(&[0xff; 3]);
    let answer = driven
        .store
        .apply(Entry::new(Position::new(1, 1), 0, &garbage));
    assert_eq!(answer, Err(Refusal::Corrupt));
    let error: io::Error = driven
        .store
        .commit(Position::new(1, 1), &LibraryState::default())
        .unwrap_err();
    assert!(error.to_string().contains("1@1"), "{error}");
}
