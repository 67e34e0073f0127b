//! Members that the other side doesn't know, or knows at another address.

mod common;

use common::*;
use little_raft_core::ReplicaId;

/// It was added while 2 was away, and what 2 would have to know for that, only it can say.
#[test]
fn a_member_that_is_not_known_yet_is_heard_and_answered() {
    let (two, nine) = (listen(), listen());
    let second = address(&two);
    let two = start(two, hello(2), peers([(1, "127.0.0.1:1")]));
    let nine = start_member(nine, hello(9), peers([(2, &second)]));
    nine.tcp.send(ReplicaId(2), read(9, 2, 1));
    assert_eq!(two.ear.wait_messages(1), [read(9, 2, 1)]);
    two.tcp.send(ReplicaId(9), read(2, 9, 2));
    assert_eq!(nine.ear.wait_messages(1), [read(2, 9, 2)]);
}

/// Whoever was not told that it was added is told to see to that, and so is whoever was told that it is none any more.
#[test]
fn one_that_knows_of_no_membership_of_its_own_is_refused() {
    let (two, nine) = (listen(), listen());
    let second = address(&two);
    let two = start(two, hello(2), peers([(1, "127.0.0.1:1")]));
    let nine = start_member(nine, hello(9), peers([(2, &second)]));
    nine.tcp.send(ReplicaId(2), read(9, 2, 1));
    two.ear.wait_messages(1);
    nine.tcp.set_own_address("");
    two.tcp.remove_peer(ReplicaId(9));
    two.ear.wait_refusal("replica 9 is not a member here");
}

#[test]
fn a_peer_that_moved_is_answered_where_it_says_it_is() {
    let (one, two) = (listen(), listen());
    let second = address(&two);
    let two = start(two, hello(2), peers([(1, "127.0.0.1:1")]));
    let one = start_member(one, hello(1), peers([(2, &second)]));
    one.tcp.send(ReplicaId(2), read(1, 2, 1));
    two.ear.wait_messages(1);
    one.ear.wait("an answer", |heard| {
        two.tcp.send(ReplicaId(1), read(2, 1, 2));
        heard.messages.contains(&read(2, 1, 2)).then_some(())
    });
}

/// Each has threads and queues of its own.
#[test]
fn no_more_than_eight_are_heard_on_their_own_word() {
    let two = listen();
    let second = address(&two);
    let two = start(two, hello(2), peers([]));
    let guests: Vec<End> = (10..19)
        .map(|id| {
            let guest = start_member(listen(), hello(id), peers([(2, &second)]));
            guest.tcp.send(ReplicaId(2), read(id, 2, id));
            two.ear.wait("its message", |heard| {
                heard.messages.contains(&read(id, 2, id)).then_some(())
            });
            guest
        })
        .collect();
    let dropped = two.tcp.counts().dropped;
    guests
        .iter()
        .for_each(|guest| guest.tcp.set_own_address(""));
    two.tcp.send(ReplicaId(10), read(2, 10, 1));
    assert_eq!(two.tcp.counts().dropped, dropped + 1, "the first gave way");
    two.tcp.send(ReplicaId(18), read(2, 18, 1));
    assert_eq!(guests[8].ear.wait_messages(1), [read(2, 18, 1)]);
}
