//! Three replicas as processes: what was acknowledged survives `kill -9` of any and of all.

mod bound;
mod common;

use std::time::{Duration, Instant};

use bound::block_on;
use bytes::Bytes;
use common::Server;
use little_raft_server::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use little_raft_server::proto::etcdserverpb::{PutRequest, RangeRequest, StatusRequest};

const TIMEOUT: Duration = Duration::from_secs(30);

async fn put(servers: &[Server], from: usize, key: &str) {
    let start = Instant::now();
    loop {
        let request = PutRequest {
            key: Bytes::from(key.to_owned()),
            value: Bytes::from_static(b"value"),
            ..PutRequest::default()
        };
        match servers[from].kv().await.put(request).await {
            Ok(_) => return,
            Err(status) => assert!(start.elapsed() < TIMEOUT, "{key}: {status}"),
        }
    }
}

async fn count(server: &Server) -> i64 {
    let start = Instant::now();
    loop {
        let request = RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            count_only: true,
            ..RangeRequest::default()
        };
        match server.kv().await.range(request).await {
            Ok(answer) => return answer.into_inner().count,
            Err(status) => assert!(start.elapsed() < TIMEOUT, "{status}"),
        }
    }
}

/// Which server leads, by its own word.
async fn leader(servers: &[Server]) -> usize {
    let start = Instant::now();
    loop {
        for (number, server) in servers.iter().enumerate() {
            let mut client = MaintenanceClient::new(server.channel().await);
            if let Ok(answer) = client.status(StatusRequest {}).await {
                let answer = answer.into_inner();
                let own = answer.header.as_ref().map(|header| header.member_id);
                if own == Some(answer.leader) {
                    return number;
                }
            }
        }
        assert!(start.elapsed() < TIMEOUT, "nobody leads");
    }
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    block_on(async {
        let mut servers = Server::three();
        for n in 0..30 {
            put(&servers, n % 3, &format!("before{n}")).await;
        }
        for server in &servers {
            assert_eq!(count(server).await, 30, "{}", server.client_url);
        }
        let led = leader(&servers).await;
        servers[led].kill();
        for n in 0..10 {
            put(&servers, (led + 1 + n % 2) % 3, &format!("without{n}")).await;
        }
        servers[led].restart();
        assert_eq!(
            count(&servers[led]).await,
            40,
            "the old leader has caught up"
        );
        servers.iter_mut().for_each(Server::kill);
        servers.iter_mut().for_each(Server::restart);
        for server in &servers {
            assert_eq!(count(server).await, 40, "{}", server.client_url);
        }
        put(&servers, 0, "after").await;
        assert_eq!(count(&servers[2]).await, 41);
    });
}

/// Long enough away that the store has made its part durable in the meantime.
#[test]
fn a_straggler_catches_up_with_writes_made_while_it_was_away() {
    block_on(async {
        let mut servers = Server::three_with(&["--snapshot-count", "20"]);
        put(&servers, 0, "first").await;
        let away = (leader(&servers).await + 1) % 3;
        servers[away].kill();
        // The store's thread makes its part durable every two seconds.
        let start = Instant::now();
        let mut written = 1;
        while start.elapsed() < Duration::from_secs(6) {
            put(&servers, (away + 1) % 3, &format!("key{written}")).await;
            written += 1;
        }
        servers[away].restart();
        assert_eq!(count(&servers[away]).await, written);
    });
}
