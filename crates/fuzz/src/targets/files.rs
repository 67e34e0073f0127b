//! A replica's directory after something damaged it: log, manifest, identity, the plan of a recovery, snapshots.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arbtest::arbitrary::{Result, Unstructured};
use little_raft_core::{HardState, Member, Position, ReplicaId, Write};
use little_raft_sim::SimDisk;
use little_raft_wal::{Founding, Options, Rewrite, SnapshotStore, Survivor, Wal};

use crate::memory::within;
use crate::mutate::{mutate, number_at, put_checksum};
use crate::values::{base, entry_at, hard_state, membership};

const DIR: &str = "data";
const GROUP: u64 = 7;
const OPTIONS: Options = Options {
    segment_bytes: 1 << 10,
    tail_bytes: 1 << 20,
};
const BYTES_A_BYTE: usize = 32;
const SLACK_BYTES: usize = 4 << 20;

fn founding() -> Founding {
    Founding {
        cluster: 0xc1,
        replica: ReplicaId(2),
        founders: vec![Member::voter(1, "a:1"), Member::voter(2, "b:2")],
        incarnation: 0x1234_5678,
    }
}

pub fn run_log(u: &mut Unstructured<'_>) -> Result<()> {
    let disk = Arc::new(SimDisk::default());
    let last = write_log(u, &disk)?;
    if u.ratio(1, 4)? {
        recover_group(u, &disk, last)?;
    }
    let paths = disk.paths();
    let mut is_forged = false;
    for _ in 0..u.int_in_range(1..=2)? {
        let path = u.choose(&paths)?;
        let mend = u.ratio(3, 4)?;
        is_forged |= mend;
        disk.change(path, |bytes| damage(u, path, bytes, mend))?;
    }
    let bound = BYTES_A_BYTE * disk.used() as usize + SLACK_BYTES;
    within(bound, || {
        drop(Survivor::read(disk.clone(), Path::new(DIR), OPTIONS));
        use_log(&disk, is_forged);
    });
    Ok(())
}

/// A few appends, over a few segments.
fn write_log(u: &mut Unstructured<'_>, disk: &Arc<SimDisk>) -> Result<Position> {
    let opened = Wal::open(disk.clone(), Path::new(DIR), OPTIONS, &founding());
    let (mut wal, _) = opened.expect("an empty disk will do");
    let mut last = Position::default();
    for _ in 0..u.int_in_range(0..=12)? {
        let mut entries = Vec::new();
        for _ in 0..u.int_in_range(0..=4)? {
            last = Position::new(last.index + 1, last.term.max(1) + u.int_in_range(0..=1)?);
            let mut entry = entry_at(u, last)?;
            entry.checksum = crc32c::crc32c(&entry.payload);
            entries.push(entry);
        }
        let hard_state = HardState {
            term: last.term,
            ..hard_state(u)?
        };
        let write = Write {
            number: 0,
            hard_state,
            base: None,
            entries: entries.into(),
        };
        wal.append(&[(GROUP, &write)]).expect("there is room");
        wal.maintenance().expect("there is room");
    }
    Ok(last)
}

/// The plan file is there, and done.
fn recover_group(u: &mut Unstructured<'_>, disk: &Arc<SimDisk>, last: Position) -> Result<()> {
    let survivor = Survivor::read(disk.clone(), Path::new(DIR), OPTIONS);
    let survivor = survivor.expect("it is intact").expect("there is one");
    let next = Position::new(last.index + 1, last.term + 1);
    let mut entry = entry_at(u, next)?;
    entry.checksum = crc32c::crc32c(&entry.payload);
    let write = Write {
        number: 0,
        hard_state: HardState {
            term: next.term,
            ..HardState::default()
        },
        base: None,
        entries: vec![entry].into(),
    };
    let rewrite = Rewrite {
        cluster: 0xc2,
        founders: vec![Member::voter(2, "b:2")],
        writes: vec![(GROUP, write)],
    };
    survivor.rewrite(rewrite).expect("there is room");
    Ok(())
}

/// What opens can be used: read, written to, and opened again with what was written. Where checksums were forged, the
/// second opening may name what the first did not look at.
fn use_log(disk: &Arc<SimDisk>, is_forged: bool) {
    let open = || Wal::open(disk.clone(), Path::new(DIR), OPTIONS, &founding());
    let Ok((mut wal, recovered)) = open() else {
        return;
    };
    let restored = recovered.groups.get(&GROUP);
    let read_from = restored.map_or(1, |it| it.base.position.index.saturating_add(1));
    drop(wal.reader().read(GROUP, read_from, u64::MAX, 1 << 20));
    let hard_state = HardState {
        term: u64::MAX,
        ..HardState::default()
    };
    let write = Write {
        number: 0,
        hard_state,
        base: None,
        entries: [].into(),
    };
    if wal.append(&[(GROUP, &write)]).is_err() {
        return;
    }
    drop(wal);
    match open() {
        Ok((_, again)) => assert_eq!(again.groups[&GROUP].hard_state, hard_state),
        Err(error) => assert!(is_forged, "opened once, and not again: {error}"),
    }
}

fn damage(u: &mut Unstructured<'_>, path: &Path, bytes: &mut Vec<u8>, mend: bool) -> Result<()> {
    if is_segment(path) {
        // Most of a segment is zeros: damage where something is.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |it| it + 1);
        let zeros = bytes.split_off(used);
        mutate(u, bytes)?;
        bytes.extend(zeros);
        if mend {
            mend_segment(bytes);
        }
        return Ok(());
    }
    mutate(u, bytes)?;
    if mend {
        // Identity, plan and both slots of the manifest: magic, version, checksum of the rest.
        let whole = 16..bytes.len();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("manifest") => [0, 4096]
                .into_iter()
                .for_each(|slot| put_checksum(bytes, slot + 12, slot + 16..slot + 48)),
            _ => put_checksum(bytes, 12, whole),
        }
    }
    Ok(())
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Makes every checksum of a segment right, and each batch the next of the one before it.
fn mend_segment(bytes: &mut [u8]) {
    const HEADER: usize = 64;
    const BATCH_HEADER: usize = 40;
    put_checksum(bytes, 12, 16..HEADER);
    let mut at = HEADER;
    let mut previous = number_at(bytes, 40);
    while bytes.len() >= at + BATCH_HEADER && bytes[at..at + 4] == *b"RLTB" {
        let length = number_at(bytes, at + 24) as usize;
        let body = at + BATCH_HEADER..at.saturating_add(BATCH_HEADER).saturating_add(length);
        put_checksum(bytes, at + 28, body.clone());
        bytes[at + 32..at + 36].copy_from_slice(&previous.to_le_bytes());
        put_checksum(bytes, at + 4, at + 8..at + BATCH_HEADER);
        previous = number_at(bytes, at + 4);
        at = body.end.saturating_add(7) / 8 * 8;
    }
}

pub fn run_snapshots(u: &mut Unstructured<'_>) -> Result<()> {
    let disk = Arc::new(SimDisk::default());
    let dir = Path::new("snapshots");
    let store = SnapshotStore::open(disk.clone(), dir).expect("an empty disk will do");
    for index in 1..=u.int_in_range(1..=2)? {
        let mut base = base(u)?;
        base.position = Position::new(index, 1);
        base.membership = membership(u)?;
        let mut writer = store.begin(&base).expect("there is room");
        let count = u.int_in_range(0..=200.min(u.len()))?;
        writer.write(u.bytes(count)?).expect("there is room");
        writer.finish().expect("there is room");
    }
    let paths: Vec<PathBuf> = disk.paths();
    let path = u.choose(&paths)?;
    let mend = u.ratio(3, 4)?;
    disk.change(path, |bytes| {
        mutate(u, bytes)?;
        if mend {
            mend_snapshot(bytes);
        }
        Ok(())
    })?;
    let bound = BYTES_A_BYTE * disk.used() as usize + SLACK_BYTES;
    within(bound, || read_snapshots(&store));
    Ok(())
}

fn read_snapshots(store: &SnapshotStore) {
    drop(store.newest(Position::default()));
    for position in store.list().expect("names are in order") {
        if let Ok(mut snapshot) = store.at(position) {
            let mut content = Vec::new();
            drop(snapshot.read_to_end(&mut content));
            drop(snapshot.piece(0, usize::MAX));
            drop(snapshot.piece(u64::MAX, 1));
        }
    }
}

fn mend_snapshot(bytes: &mut [u8]) {
    const HEADER: usize = 20;
    const TRAILER: usize = 20;
    let base = HEADER.saturating_add(number_at(bytes, 12) as usize);
    put_checksum(bytes, 16, HEADER..base);
    let Some(trailer) = bytes.len().checked_sub(TRAILER) else {
        return;
    };
    if base <= trailer {
        let content = (trailer - base) as u64;
        bytes[trailer + 4..trailer + 12].copy_from_slice(&content.to_le_bytes());
        put_checksum(bytes, trailer + 12, base..trailer);
    }
    put_checksum(bytes, trailer + 16, trailer..trailer + 16);
}
