//! Histories that are known to be good or bad: one a row, drawn as people draw them.

mod drawn;

use drawn::drawn;
use little_raft_history::check;

/// Client, call and end (`?` if nobody knows), what was asked, what the answer says.
const GOOD: &[(&str, &[&str])] = &[
    ("nothing happened", &[]),
    ("a new register holds nothing", &["a 0 1 get = -"]),
    (
        "one after the other",
        &[
            "a 0 1 put 1",
            "a 2 3 get = 1",
            "a 4 5 put 2",
            "b 6 7 get = 2",
        ],
    ),
    (
        "a read beside a write sees it",
        &["a 0 10 put 1", "b 2 4 get = 1"],
    ),
    (
        "a read beside a write doesn't see it",
        &["a 0 10 put 1", "b 2 4 get = -"],
    ),
    (
        "two reads beside a write, before and after",
        &["a 0 10 put 1", "b 2 4 get = -", "b 5 6 get = 1"],
    ),
    (
        "writes that overlap, in the other order",
        &["a 0 10 put 1", "b 1 9 put 2", "c 11 12 get = 1"],
    ),
    (
        "writes that overlap, in order",
        &["a 0 10 put 1", "b 1 9 put 2", "c 11 12 get = 2"],
    ),
    (
        "readers agree on the order of writes that overlap",
        &[
            "a 0 10 put 1",
            "b 0 10 put 2",
            "c 1 3 get = 2",
            "d 4 6 get = 1",
            "c 11 12 get = 1",
        ],
    ),
    (
        "a call at the moment of an end overlaps it",
        &["a 0 5 put 1", "b 5 6 get = -"],
    ),
    (
        "an unknown write was done",
        &["a 0 ? put 1", "b 5 6 get = 1"],
    ),
    (
        "an unknown write was not done",
        &["a 0 ? put 1", "b 5 6 get = -"],
    ),
    (
        "an unknown write was done late",
        &[
            "a 0 ? put 1",
            "b 5 6 get = -",
            "b 7 8 put 2",
            "b 9 10 get = 1",
        ],
    ),
    (
        "an unknown write was overwritten unseen",
        &["a 0 ? put 1", "b 1 2 put 2", "b 3 4 get = 2"],
    ),
    (
        "an unknown read says nothing",
        &["a 0 1 put 1", "b 2 ? get", "b 3 4 get = 1"],
    ),
    (
        "a swap that fits",
        &["a 0 1 put 1", "b 2 3 swap 1 2 = 1", "a 4 5 get = 2"],
    ),
    (
        "a swap that doesn't fit says what it found",
        &["a 0 1 put 1", "b 2 3 swap 7 2 = 1", "a 4 5 get = 1"],
    ),
    (
        "of two swaps one fits",
        &["a 0 1 put 1", "a 2 9 swap 1 2 = 1", "b 2 9 swap 1 3 = 2"],
    ),
    (
        "the first swap creates",
        &["a 0 1 swap - 1 = -", "a 2 3 get = 1"],
    ),
    (
        "a put that says what it replaced",
        &["a 0 9 put 1 = 2", "b 0 9 put 2 = -", "a 10 11 get = 1"],
    ),
    (
        "an unknown swap that only another unknown one vouches for",
        &[
            "a 0 1 put 1",
            "a 2 ? swap 1 2",
            "b 3 ? swap 2 3",
            "c 9 10 get = 3",
        ],
    ),
    (
        "an unknown write is seen, and long after it another overwrites it",
        &[
            "a 0 ? put 1",
            "b 1 2 get = 1",
            "b 3 4 put 2",
            "b 5 6 get = 2",
            "b 7 8 get = 2",
        ],
    ),
    (
        "done in all worlds before it ends",
        &[
            "a 0 20 put 1",
            "b 1 2 get = 1",
            "b 3 4 put 2",
            "b 21 22 get = 2",
        ],
    ),
];

/// The same, and the row that can't have ended so.
const BAD: &[(&str, &[&str], usize)] = &[
    ("a value from nowhere", &["a 0 1 get = 1"], 0),
    (
        "a stale read",
        &["a 0 1 put 1", "a 2 3 put 2", "b 4 5 get = 1"],
        2,
    ),
    ("a lost write", &["a 0 1 put 1", "b 2 3 get = -"], 1),
    (
        "a read of what is yet to be written",
        &["a 0 1 get = 1", "b 2 3 put 1"],
        0,
    ),
    (
        "reads that go back",
        &["a 0 10 put 1", "b 1 2 get = 1", "c 3 4 get = -"],
        2,
    ),
    (
        "readers disagree on the order of writes that overlap",
        &[
            "a 0 10 put 1",
            "b 0 10 put 2",
            "c 1 2 get = 1",
            "d 3 4 get = 2",
            "c 5 6 get = 1",
        ],
        4,
    ),
    (
        "an unknown write comes and goes",
        &["a 0 ? put 1", "b 1 2 get = 1", "b 3 4 get = -"],
        2,
    ),
    (
        "an unknown write is done twice",
        &[
            "a 0 ? put 1",
            "b 1 2 get = 1",
            "b 3 4 put 2",
            "b 5 6 get = 1",
        ],
        3,
    ),
    (
        "an unknown write before its call",
        &["b 1 2 get = 1", "a 3 ? put 1"],
        0,
    ),
    (
        "two swaps from the same value",
        &["a 0 1 put 1", "a 2 3 swap 1 2 = 1", "b 4 5 swap 1 3 = 1"],
        2,
    ),
    (
        "of two swaps that overlap both fit",
        &["a 0 1 put 1", "a 2 9 swap 1 2 = 1", "b 2 9 swap 1 3 = 1"],
        2,
    ),
    (
        "a swap that didn't fit changes nothing",
        &["a 0 1 put 1", "b 2 3 swap 7 2 = 1", "a 4 5 get = 2"],
        2,
    ),
    (
        "a swap that fitted was not done",
        &["a 0 1 put 1", "b 2 3 swap 1 2 = 1", "a 4 5 get = 1"],
        2,
    ),
    (
        "two puts replace the same",
        &["a 0 9 put 1 = -", "b 0 9 put 2 = -"],
        1,
    ),
    (
        "the end of an unknown one does not come back",
        &[
            "a 0 1 put 1",
            "a 2 ? swap 1 2",
            "c 3 4 get = 2",
            "c 5 6 get = 1",
        ],
        3,
    ),
];

#[test]
fn good_histories_are_accepted() {
    for (name, rows) in GOOD {
        if let Err(violation) = check(drawn(rows)) {
            panic!("{name}: {violation}");
        }
    }
}

#[test]
fn bad_histories_are_refused_where_they_break() {
    for (name, rows, at) in BAD {
        let Err(violation) = check(drawn(rows)) else {
            panic!("{name} was accepted");
        };
        assert_eq!(violation.at, *at, "{name}: {violation}");
    }
}

#[test]
fn a_violation_shows_the_whole_history_and_what_was_possible() {
    let stale = drawn(&[
        "1 0 1000000 put 1",
        "1 2000000 ? put 2",
        "2 4000000 5500000 get = -",
    ]);
    let violation = check(stale).expect_err("the write is lost");
    let expected = "the history of \"k\" is not linearizable: when the marked operation ended, the register may have held 1
           0.000 to 1.000        client 1: put 1
           2.000 to ?            client 1: put 2
>>>        4.000 to 5.500        client 2: get, found nothing
";
    let lines = |text: &str| {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&violation.to_string()), lines(expected));
}
