//! What must be true at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use little_raft_history::{Call, Operation, check_each};
use little_raft_server::demo::client::Client;

use crate::cluster::{Cluster, MENDED_TIMEOUT};
use crate::journal::Journal;
use crate::store::{Answer, Store};
use crate::workload::{Told, nanoseconds};

/// Who reads at the end.
const READER: u64 = 0;
const POLL: Duration = Duration::from_millis(100);

/// Reads every register once more, through every server in turn, checks the history, and looks for all that was kept.
pub async fn judge(cluster: &Cluster, told: Told) -> Result<(), String> {
    let mut history = told.history;
    history.extend(last_reads(cluster, &history).await?);
    check_each(history).map_err(|violations| {
        let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
        texts.join("\n")
    })?;
    all_kept(&cluster.client(0), &told.kept).await?;
    all_agree(&cluster.clients()).await
}

async fn last_reads(cluster: &Cluster, history: &[Operation]) -> Result<Vec<Operation>, String> {
    let keys: BTreeSet<&String> = history.iter().map(|operation| &operation.key).collect();
    let clients = cluster.clients();
    let mut reads = Vec::new();
    for (key, client) in keys.into_iter().zip(clients.iter().cycle()) {
        reads.push(read(client, key, &cluster.journal).await?);
    }
    Ok(reads)
}

async fn read(client: &Client, key: &str, journal: &Journal) -> Result<Operation, String> {
    let begun = Instant::now();
    loop {
        let called = journal.elapsed();
        let mut store = Store::new(client.clone(), MENDED_TIMEOUT);
        let answer = store.call(key, Call::Get, true).await;
        if let Answer::Done(found) = answer {
            return Ok(Operation {
                client: READER,
                key: key.into(),
                call: Call::Get,
                called: nanoseconds(called),
                ended: Some(nanoseconds(journal.elapsed())),
                found,
            });
        }
        if begun.elapsed() > MENDED_TIMEOUT {
            return Err(format!("{key} can't be read, though all is mended"));
        }
    }
}

async fn all_kept(client: &Client, kept: &[(String, crate::store::Value)]) -> Result<(), String> {
    let found = client.get_all("kept/", None).await;
    let (_, found) = found.map_err(|status| format!("what was kept can't be read: {status}"))?;
    let found: BTreeMap<_, _> = found.into_iter().map(|kv| (kv.key, kv.value)).collect();
    let lost = kept.iter().find(|(key, value)| {
        let key = key.as_bytes();
        found.get(key).is_none_or(|found| *found != value.bytes())
    });
    match lost {
        Some((key, _)) => Err(format!("{key} was acknowledged, and is lost")),
        None => Ok(()),
    }
}

/// What each has by itself becomes the same.
async fn all_agree(clients: &[Client]) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let mut differing = BTreeSet::new();
        for client in clients {
            let mut all = Vec::new();
            for prefix in ["kept/", "register/"] {
                let found = client.get_all_local(prefix).await;
                all.extend(found.map_err(|status| format!("a server can't be read: {status}"))?);
            }
            let versions = all.into_iter().map(|kv| {
                (
                    kv.key,
                    kv.value,
                    kv.create_revision,
                    kv.mod_revision,
                    kv.version,
                )
            });
            differing.insert(versions.collect::<Vec<_>>());
        }
        if differing.len() == 1 {
            return Ok(());
        }
        if begun.elapsed() > MENDED_TIMEOUT {
            return Err("the servers' stores differ, though all is mended".into());
        }
        tokio::time::sleep(POLL).await;
    }
}
