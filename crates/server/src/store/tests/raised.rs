//! A store that goes on in another cluster: what clients remember of the one before is gone, and never comes again.

use super::*;
use crate::proto::command::RaiseRevision;

fn raise(by: u64) -> Kind {
    Kind::RaiseRevision(RaiseRevision { by })
}

#[test]
fn p59_a_raised_store_keeps_its_keys_and_shows_no_revision_of_before() {
    let folder = Folder::new("raised");
    let open = || Driven::new(Store::without_thread(Disk::open(&folder.file()).unwrap()).unwrap());
    let mut driven = open();
    driven.apply(put("a", "1")).unwrap();
    driven.apply(put("a", "2")).unwrap();
    driven.apply(put("b", "1")).unwrap();
    let before = driven.reader().revision();
    let hash = driven.store.digest();
    assert_eq!(driven.apply(raise(100)), Ok(Answer::RaiseRevision));

    let keys = pairs(&[("a", "2"), ("b", "1")]);
    let check = |driven: &Driven| {
        let reader = driven.reader();
        assert_eq!(reader.revision(), before + 100);
        for revision in [1, before, before + 1, before + 99] {
            assert_eq!(contents(&reader, revision), Err(Refusal::Compacted));
        }
        for revision in [0, before + 100] {
            assert_eq!(contents(&reader, revision), Ok(keys.clone()));
        }
    };
    check(&driven);
    assert_ne!(driven.store.digest(), hash, "it is another history");

    // As it is in the file, and as a newcomer gets it.
    driven.store.flush().unwrap();
    check(&driven);
    let mut other = Driven::in_memory();
    other.store.restore(&mut &snapshot_of(&driven)[..]).unwrap();
    other.commit();
    check(&other);
    assert_eq!(other.store.digest(), driven.store.digest());
    drop(driven);
    let mut driven = open();
    check(&driven);
    driven.apply(put("c", "1")).unwrap();
    assert_eq!(driven.reader().revision(), before + 101);
    assert_eq!(contents(&driven.reader(), before + 100), Ok(keys));
}

#[test]
fn revisions_never_rise_so_far_that_nothing_can_be_written() {
    let mut driven = Driven::in_memory();
    for by in [u64::MAX, 1 << 63, (1 << 63) - 2] {
        assert_eq!(driven.apply(raise(by)), Err(Refusal::FutureRevision));
    }
    assert_eq!(driven.reader().revision(), 1);
    driven.apply(raise(1 << 61)).unwrap();
    assert_eq!(driven.apply(raise(1 << 61)), Err(Refusal::FutureRevision));
    driven.apply(put("a", "1")).unwrap();
}
