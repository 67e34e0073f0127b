//! Appending, starting again, reading.

use std::sync::Arc;

use super::disk::TestDisk;
use super::harness::*;

#[test]
fn a_new_directory_remembers_nothing_and_an_old_one_everything() {
    let disk = Arc::new(TestDisk::default());
    let (mut wal, recovered) = open(&disk).expect("opens");
    assert_eq!(recovered.identity.boot, 1);
    assert!(recovered.groups.is_empty());
    let writes = [write(1, 3, 1), write(4, 2, 2), write(3, 1, 3), based(2, 1)];
    for write in &writes {
        wal.append(&[(GROUP, write)]).expect("appends");
    }
    drop(wal);
    let (_wal, recovered) = open(&disk).expect("opens");
    assert_eq!(recovered.identity.boot, 2);
    assert_eq!(recovered.groups[&GROUP], model(&writes));
    assert_eq!(recovered.torn, None);
}

#[test]
fn a_long_life_over_many_segments_with_many_starts() {
    let disk = Arc::new(TestDisk::default());
    let mut writes = Vec::new();
    for start in 0..30 {
        let (mut wal, recovered) = open(&disk).expect("opens");
        assert_eq!(
            recovered.groups.get(&GROUP).cloned().unwrap_or_default(),
            model(&writes)
        );
        for step in 0..7 {
            let last = model(&writes).last;
            let write = match step {
                3 if last > 5 => write(last - 2, 4, start + 1),
                6 if last > 40 => {
                    let log = model(&writes).tail;
                    let at = log[log.len() / 2].position;
                    let mut base = based(at.index, at.term);
                    base.hard_state.term = start + 1;
                    base
                }
                _ => write(last + 1, 5, start + 1),
            };
            wal.append(&[(GROUP, &write)]).expect("appends");
            writes.push(write);
            wal.maintenance().expect("upkeep");
        }
        let expected = model(&writes);
        let first = expected.base.position.index + 1;
        let read = wal
            .reader()
            .read(GROUP, first, u64::MAX, usize::MAX)
            .expect("reads");
        assert_eq!(read, expected.tail);
    }
}
