//! The group changes under load: no acknowledged write is lost, and none is applied twice.

mod bound;
mod three;

use std::time::Instant;

use bound::block_on;
use three::Three;

const LANES: usize = 8;
const CYCLES: usize = 10;

/// Three founders give way to three others, one by one.
#[test]
fn a_group_is_rolled_to_new_replicas_under_load() {
    block_on(async {
        let mut three = Three::start(&["--snapshot-count=200"]).await;
        let writer = three.write(LANES);
        three.more(&writer, 100).await;
        let mut members = vec![0, 1, 2];
        for old in 0..3 {
            let new = old + 3;
            three.join(new, &members, members[1]).await;
            writer.use_or_not(new, true);
            members.push(new);
            three.more(&writer, 40).await;
            writer.use_or_not(old, false);
            members.remove(0);
            three.leave(old, members[1]).await;
            three.more(&writer, 40).await;
        }
        assert_eq!(members, [3, 4, 5]);
        let ledger = writer.stop().await;
        three.prove_at(&ledger, &members).await;
        let listed = three.clients[4].members().await.expect("it answers");
        assert_eq!(listed.len(), 3);
        // They start again by themselves, though every founder is gone.
        three.replicas.kill_all();
        for &which in &members {
            three.replicas.start(which).expect("the program starts");
        }
        three.prove_at(&ledger, &members).await;
    });
}

/// A fourth comes and goes, leadership wanders, and all the while some are killed.
#[test]
fn kills_during_changes_of_members_and_transfers_lose_nothing() {
    block_on(async {
        let mut three = Three::start(&["--snapshot-count=200"]).await;
        let writer = three.write(LANES);
        for cycle in 0..CYCLES {
            three.all_follow().await;
            let other = (cycle + 1) % 3;
            three.more(&writer, 40).await;
            // Each has an address of its own, and so an id that was never used.
            let guest = 3 + cycle / 5;
            match cycle % 5 {
                0 => three.join(guest, &[0, 1, 2], other).await,
                3 => three.leave(guest, other).await,
                _ => three.transfer(other).await,
            }
            let leader = three.all_follow().await;
            let victim = if cycle % 2 == 0 { leader } else { other };
            let killed = Instant::now();
            three.replicas.kill(victim);
            three.acknowledged_since(&writer, killed).await;
            three.replicas.start(victim).expect("the program starts");
        }
        three.more(&writer, 40).await;
        three.all_follow().await;
        let ledger = writer.stop().await;
        three.prove(&ledger).await;
    });
}
