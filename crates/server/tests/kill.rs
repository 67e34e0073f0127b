//! Replicas killed and paused under load: no acknowledged write is lost, and no attempt is applied twice.

mod bound;
mod three;

use std::time::{Duration, Instant};

use bound::block_on;
use little_raft_server::demo::client::Outcome;
use little_raft_server::demo::ledger::value_of;
use little_raft_server::demo::replicas::COUNT;
use little_raft_server::proto::etcdserverpb::PutRequest;
use little_raft_server::proto::etcdserverpb::kv_client::KvClient;
use three::Three;
use tonic::Code;

const CYCLES: usize = 20;
const LANES: usize = 8;

/// Whom a cycle kills.
fn victims(cycle: usize, leader: usize) -> Vec<usize> {
    match cycle % 4 {
        0 | 2 => vec![leader],
        1 => vec![(leader + 1 + cycle / 4 % 2) % COUNT],
        _ => (0..COUNT).collect(),
    }
}

#[test]
fn twenty_times_kill_9_lose_nothing() {
    block_on(async {
        // A short log, so that some catch up by the store's snapshot.
        let mut three = Three::start(&["--snapshot-count=200"]).await;
        let writer = three.write(LANES);
        let mut failovers = Vec::new();
        for cycle in 0..CYCLES {
            three.more(&writer, 40).await;
            let leader = three.all_follow().await;
            let victims = victims(cycle, leader);
            let killed = Instant::now();
            if victims.len() == COUNT {
                three.replicas.kill_all();
            } else {
                three.replicas.kill(victims[0]);
                let pause = three.acknowledged_since(&writer, killed).await;
                if victims[0] == leader {
                    failovers.push(pause);
                }
            }
            for &victim in &victims {
                three.replicas.start(victim).expect("the program starts");
            }
        }
        three.more(&writer, 40).await;
        three.all_follow().await;
        let ledger = writer.stop().await;
        three.prove(&ledger).await;
        failovers.sort_unstable();
        println!("after the leader's death the next write took {failovers:?}");
    });
}

#[test]
fn p57_a_leader_paused_for_three_seconds_is_replaced_and_follows() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let writer = three.write(LANES);
        three.more(&writer, 100).await;
        let paused = three.all_follow().await;
        let at = Instant::now();
        three.replicas.pause(paused);
        let pause = three.acknowledged_since(&writer, at).await;
        println!("after the leader's pause the next write took {pause:?}");
        let key = write_elsewhere(&mut three, paused).await;
        // The pause is the fault: it lasts three seconds, however soon the others go on.
        tokio::time::sleep_until((at + Duration::from_secs(3)).into()).await;
        three.replicas.resume(paused);
        // It believed to lead until a moment ago: what it answers now must not be from that time.
        let found = three
            .until("the old leader's answer", async |three| {
                let answer = three.clients[paused].get(&key, Duration::from_secs(5));
                answer.await.ok()
            })
            .await;
        assert!(
            found.is_some(),
            "a stale read: {key} was acknowledged before"
        );
        three.all_follow().await;
        three.more(&writer, 100).await;
        let ledger = writer.stop().await;
        three.prove(&ledger).await;
    });
}

/// It is in the log of a leader that is alone, and may yet be committed: nobody can say, and nobody waits for ever.
#[test]
fn a_write_that_a_lone_leader_cant_commit_ends_as_unknown() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let leader = three.all_follow().await;
        let channel = three.channel(leader).await;
        for which in (0..COUNT).filter(|which| *which != leader) {
            three.replicas.kill(which);
        }
        let request = PutRequest {
            key: "alone".into(),
            ..PutRequest::default()
        };
        let status = KvClient::new(channel).put(request).await;
        let status = status.expect_err("nobody else is there");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(status.message(), "etcdserver: request timed out");
        for which in (0..COUNT).filter(|which| *which != leader) {
            three.replicas.start(which).expect("the program starts");
        }
        three
            .until("writes to go on", async |three| {
                let put = three.clients[leader].put("together", "x", Duration::from_secs(5));
                matches!(put.await, Outcome::Acknowledged { .. }).then_some(())
            })
            .await;
    });
}

async fn write_elsewhere(three: &mut Three, paused: usize) -> String {
    let mut attempt = 0;
    three
        .until("a write without the old leader", async |three| {
            attempt += 1;
            let key = format!("other/{attempt}");
            let client = &three.clients[(paused + 1) % COUNT];
            let outcome = client
                .put(&key, &value_of(&key), Duration::from_secs(2))
                .await;
            matches!(outcome, Outcome::Acknowledged { .. }).then_some(key)
        })
        .await
}
