//! Random operations against a model that keeps every revision as a whole map.

use std::collections::BTreeMap;

use super::*;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::mvccpb::KeyValue;

/// Invariant: `history[r]` is what a read at revision `r` returns.
struct Model {
    history: Vec<BTreeMap<String, KeyValue>>,
    compacted: i64,
}

impl Model {
    fn put(
        &self,
        contents: &mut BTreeMap<String, KeyValue>,
        key: &str,
        value: &str,
        revision: i64,
    ) {
        let old = contents.get(key);
        let kv = KeyValue {
            key: Bytes::from(key.to_owned()),
            value: Bytes::from(value.to_owned()),
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version + 1),
            lease: 0,
        };
        contents.insert(key.to_owned(), kv);
    }

    fn newest(&self) -> (BTreeMap<String, KeyValue>, i64) {
        let contents = self.history.last().expect("never empty").clone();
        (contents, self.history.len() as i64)
    }
}

/// A small generator; the seed is printed when a run fails.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn key(&mut self) -> String {
        format!("k{}", self.below(12))
    }
}

fn step(driven: &mut Driven, model: &mut Model, random: &mut Random) {
    let (mut contents, revision) = model.newest();
    match random.below(10) {
        0..5 => {
            let (key, value) = (random.key(), format!("v{revision}"));
            driven.apply(put(&key, &value)).unwrap();
            model.put(&mut contents, &key, &value, revision);
            model.history.push(contents);
        }
        5 | 6 => {
            let (from, to) = (random.key(), random.key());
            driven.apply(Kind::DeleteRange(delete(&from, &to))).unwrap();
            let before = contents.len();
            contents.retain(|key, _| *key < from || *key >= to);
            if contents.len() < before {
                model.history.push(contents);
            }
        }
        7 => {
            let keys = [random.key(), format!("other{}", random.below(3))];
            let gone = format!("third{}", random.below(2));
            let mut success = Vec::new();
            success.push(op(Request::RequestDeleteRange(delete(&gone, ""))));
            contents.remove(&gone);
            for key in &keys {
                success.push(op(Request::RequestPut(put_request(key, "txn"))));
                model.put(&mut contents, key, "txn", revision);
            }
            let txn = TxnRequest {
                success,
                ..TxnRequest::default()
            };
            driven.apply(Kind::Txn(txn)).unwrap();
            model.history.push(contents);
        }
        8 => {
            let at = random.below(revision as u64 + 2) as i64;
            let answer = driven.apply(compact(at)).map(drop);
            let expected = if at <= model.compacted {
                Err(Refusal::Compacted)
            } else if at > revision - 1 {
                Err(Refusal::FutureRevision)
            } else {
                model.compacted = at;
                Ok(())
            };
            assert_eq!(answer, expected);
        }
        _ => driven.store.flush().unwrap(),
    }
}

fn check(driven: &Driven, model: &Model, random: &mut Random) {
    let newest = model.history.len() as i64 - 1;
    let revision = random.below(newest as u64 + 2) as i64;
    let sort_target = random.below(5) as i32;
    let sort_order = random.below(3) as i32;
    let limit = random.below(6) as i64;
    let min_mod_revision = if random.below(3) == 0 { newest / 2 } else { 0 };
    let request = RangeRequest {
        revision,
        sort_target,
        sort_order,
        limit,
        min_mod_revision,
        ..all()
    };
    let answer = driven.reader().range(&request).map(|(page, _)| page);
    let at = if revision == 0 { newest } else { revision };
    if at > newest {
        return assert_eq!(answer, Err(Refusal::FutureRevision));
    }
    if at < model.compacted {
        return assert_eq!(answer, Err(Refusal::Compacted));
    }
    let contents = &model.history[at as usize];
    let mut kvs: Vec<KeyValue> = contents.values().cloned().collect();
    kvs.retain(|kv| kv.mod_revision >= min_mod_revision);
    let target = SortTarget::try_from(sort_target).unwrap();
    kvs.sort_by_key(|kv| match target {
        SortTarget::Key => 0,
        SortTarget::Version => kv.version,
        SortTarget::Create => kv.create_revision,
        SortTarget::Mod => kv.mod_revision,
        SortTarget::Value => 0,
    });
    match target {
        SortTarget::Key => kvs.sort_by_key(|kv| kv.key.clone()),
        SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
        _ => {}
    }
    let page = answer.unwrap();
    assert_eq!(page.count, contents.len() as i64);
    let wanted = if limit == 0 {
        kvs.len()
    } else {
        kvs.len().min(limit as usize)
    };
    assert_eq!(page.more, wanted < kvs.len());
    if sort_order == SortOrder::Descend as i32 {
        // Ties keep their order, so compare what they were sorted by only as a set when nothing is cut.
        if !page.more {
            let by_key = |mut kvs: Vec<KeyValue>| {
                kvs.sort_by_key(|kv| kv.key.clone());
                kvs
            };
            assert_eq!(by_key(page.kvs), by_key(kvs));
        }
    } else {
        assert_eq!(page.kvs, kvs[..wanted]);
    }
}

#[test]
fn random_operations_agree_with_the_model() {
    for seed in 1..=60_u64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut driven = Driven::in_memory();
        let mut model = Model {
            history: vec![BTreeMap::new(), BTreeMap::new()],
            compacted: -1,
        };
        println!("seed {seed}");
        for _ in 0..150 {
            step(&mut driven, &mut model, &mut random);
            check(&driven, &model, &mut random);
        }
        let bytes = snapshot_of(&driven);
        let mut restored = Driven::in_memory();
        restored.store.restore(&mut &bytes[..]).unwrap();
        restored.commit();
        assert_eq!(
            restored.reader().hash().unwrap(),
            driven.reader().hash().unwrap()
        );
    }
}
