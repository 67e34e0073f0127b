//! The checker beside a deliberately dumb second one, which tries every order, on thousands of small histories.

use little_raft_history::{Call, Held, Operation, check};

const HISTORIES: u64 = 50_000;

#[test]
fn it_says_what_trying_every_order_says() {
    let mut refused = 0;
    for seed in 0..HISTORIES {
        let history = random_history(&mut Random(seed));
        let expected = any_order_explains(&history, Held(None), &mut Vec::new());
        let found = check(history.clone());
        assert_eq!(
            found.is_ok(),
            expected,
            "seed {seed}: {history:#?} {found:?}"
        );
        refused += u64::from(found.is_err());
    }
    let (few, most) = (HISTORIES / 10, HISTORIES * 9 / 10);
    assert!(
        (few..most).contains(&refused),
        "{refused} were refused: the histories are too much alike"
    );
}

/// Every answered operation has a place after those that ended before it was called; the others may have one.
fn any_order_explains(history: &[Operation], held: Held, done: &mut Vec<usize>) -> bool {
    let left: Vec<usize> = (0..history.len()).filter(|it| !done.contains(it)).collect();
    if left.iter().all(|it| history[*it].ended.is_none()) {
        return true;
    }
    left.iter().any(|&next| {
        let must_wait = left.iter().any(|other| {
            let ended = history[*other].ended;
            ended.is_some_and(|ended| ended < history[next].called)
        });
        let Some(after) = step(&history[next], held).filter(|_| !must_wait) else {
            return false;
        };
        done.push(next);
        let explained = any_order_explains(history, after, done);
        done.pop();
        explained
    })
}

fn step(operation: &Operation, held: Held) -> Option<Held> {
    let fits = operation.found.is_none_or(|found| found == held);
    let after = match operation.call {
        Call::Get => held,
        Call::Put { value } => Held(Some(value)),
        Call::Swap { expected, value } => {
            if expected == held {
                Held(Some(value))
            } else {
                held
            }
        }
    };
    fits.then_some(after)
}

/// Up to six operations on few values, which need not differ: many overlap, some have no known outcome.
fn random_history(random: &mut Random) -> Vec<Operation> {
    let count = 1 + random.below(6);
    (0..count)
        .map(|client| random_operation(random, client))
        .collect()
}

fn random_operation(random: &mut Random, client: u64) -> Operation {
    let value = 1 + random.below(3);
    let call = match random.below(3) {
        0 => Call::Get,
        1 => Call::Put { value },
        _ => Call::Swap {
            expected: random_held(random),
            value,
        },
    };
    let called = random.below(12);
    let answered = random.below(4) > 0;
    let says = call == Call::Get || random.below(2) == 0;
    Operation {
        client,
        key: "k".into(),
        call,
        called,
        ended: answered.then(|| called + random.below(8)),
        found: (answered && says).then(|| random_held(random)),
    }
}

fn random_held(random: &mut Random) -> Held {
    let value = random.below(4);
    Held((value > 0).then_some(value))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
