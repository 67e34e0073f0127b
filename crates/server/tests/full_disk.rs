//! A disk that is full: leadership goes to a replica that has space, reads go on, nothing acknowledged is lost, and
//! when there is space again the replica goes on by itself.

mod bound;
mod common;
mod kept;
mod three;

use std::time::{Duration, Instant};

use bound::block_on;
use kept::Disk;
use little_raft_server::demo::client::Outcome;
use little_raft_server::demo::replicas::COUNT;
use little_raft_server::proto::etcdserverpb::PutRequest;
use little_raft_server::proto::etcdserverpb::kv_client::KvClient;
use three::Three;
use tonic::Code;

#[test]
fn p60_a_leader_whose_disk_is_full_hands_over_and_comes_back() {
    block_on(async {
        let mut three = Three::described(&[]);
        let disks: Vec<Disk> = (0..COUNT)
            .map_while(|which| Disk::at(&three.replicas.data_dir(which), "size=24m"))
            .collect();
        if disks.len() < COUNT {
            return;
        }
        three.begin().await;
        let writer = three.write(4);
        three.more(&writer, 100).await;
        let full = three.all_follow().await;
        disks[full].fill();
        // Enough to use up what the log had reserved.
        let begun = Instant::now();
        let mut number = 0;
        three
            .until("another leader", async |three| {
                number += 1;
                let key = format!("large/{number}");
                let value = "x".repeat(256 << 10);
                let client = &three.clients[(full + 1) % COUNT];
                client.put(&key, &value, Duration::from_secs(2)).await;
                let status = three.clients[(full + 1) % COUNT].status(Duration::from_secs(1));
                let full_status = three.clients[full]
                    .status(Duration::from_secs(1))
                    .await
                    .ok()?;
                let status = status.await.ok()?;
                let own = full_status.header?.member_id;
                (status.leader != 0 && status.leader != own).then_some(())
            })
            .await;
        println!(
            "handed over after {:?} and {number} writes",
            begun.elapsed()
        );
        three.more(&writer, 100).await;
        disks[full].empty();
        three.all_follow().await;
        let ledger = writer.stop().await;
        three.prove(&ledger).await;
    });
}

#[test]
fn p60_all_disks_full_refuse_writes_and_recover() {
    block_on(async {
        let mut three = Three::described(&[]);
        let disks: Vec<Disk> = (0..COUNT)
            .map_while(|which| Disk::at(&three.replicas.data_dir(which), "size=24m"))
            .collect();
        if disks.len() < COUNT {
            return;
        }
        three.begin().await;
        let writer = three.write(4);
        three.more(&writer, 100).await;
        disks.iter().for_each(Disk::fill);
        let channel = three.channel(0).await;
        let mut number = 0;
        let refused = three
            .until("a write to be refused for want of space", async |_| {
                number += 1;
                let request = PutRequest {
                    key: format!("large/{number}").into(),
                    value: vec![b'x'; 256 << 10].into(),
                    ..PutRequest::default()
                };
                let put = KvClient::new(channel.clone()).put(request).await;
                put.err()
                    .filter(|status| status.code() == Code::ResourceExhausted)
            })
            .await;
        assert_eq!(
            refused.message(),
            "etcdserver: mvcc: database space exceeded"
        );
        let ledger = writer.stop().await;
        for client in &three.clients[..COUNT] {
            let found = client.get_all_local("write/").await.expect("reads go on");
            assert!(found.len() > 50);
        }
        disks.iter().for_each(Disk::empty);
        three
            .until("writes to go on", async |three| {
                let put = three.clients[0].put("after", "x", Duration::from_secs(10));
                matches!(put.await, Outcome::Acknowledged { .. }).then_some(())
            })
            .await;
        three.prove(&ledger).await;
    });
}
