//! Histories written as text: `a 0 9 swap 1 2 = 1` is client a's, called at 0, ended at 9.

use little_raft_history::{Call, Held, Operation};

pub fn drawn(rows: &[&str]) -> Vec<Operation> {
    rows.iter().map(|row| operation(row)).collect()
}

fn operation(row: &str) -> Operation {
    let (asked, found) = match row.split_once(" = ") {
        Some((asked, found)) => (asked, Some(held(found))),
        None => (row, None),
    };
    let words: Vec<&str> = asked.split(' ').collect();
    let call = match words[3..] {
        ["get"] => Call::Get,
        ["put", value] => Call::Put {
            value: number(value),
        },
        ["swap", expected, value] => Call::Swap {
            expected: held(expected),
            value: number(value),
        },
        _ => panic!("no operation: {row}"),
    };
    Operation {
        client: u64::from_str_radix(words[0], 16).expect("a client is a hexadecimal number"),
        key: "k".into(),
        call,
        called: number(words[1]),
        ended: (words[2] != "?").then(|| number(words[2])),
        found,
    }
}

fn held(word: &str) -> Held {
    Held((word != "-").then(|| number(word)))
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}
