//! Drives a running server with the crate `etcd-client`: `little-raft-compat http://127.0.0.1:2379`.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, SortOrder, SortTarget, Txn, TxnOp,
};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).expect("usage: little-raft-compat ENDPOINT");
    let mut client = Client::connect([endpoint], None).await?;

    let first = client.put("fruit/apple", "red", None).await?;
    let first = first.header().expect("a header").revision();
    client.put("fruit/banana", "yellow", None).await?;
    client.put("fruit/apple", "green", None).await?;

    let now = client.get("fruit/apple", None).await?;
    assert_eq!(now.kvs()[0].value_str()?, "green");
    assert_eq!((now.kvs()[0].create_revision(), now.kvs()[0].version()), (first, 2));
    let then = client.get("fruit/apple", Some(GetOptions::new().with_revision(first))).await?;
    assert_eq!(then.kvs()[0].value_str()?, "red");

    let options = GetOptions::new().with_prefix().with_sort(SortTarget::Key, SortOrder::Descend).with_limit(1);
    let last = client.get("fruit/", Some(options)).await?;
    assert_eq!((last.kvs()[0].key_str()?, last.more(), last.count()), ("fruit/banana", true, 2));

    let is_green = Compare::value("fruit/apple", CompareOp::Equal, "green");
    let txn = Txn::new()
        .when([is_green])
        .and_then([TxnOp::put("fruit/apple", "eaten", None)])
        .or_else([TxnOp::get("fruit/apple", None)]);
    assert!(client.txn(txn.clone()).await?.succeeded());
    assert!(!client.txn(txn).await?.succeeded());

    let deleted = client.delete("fruit/", Some(DeleteOptions::new().with_prefix())).await?;
    assert_eq!(deleted.deleted(), 2);
    let revision = deleted.header().expect("a header").revision();
    client.compact(revision, None).await?;
    let gone = client.get("fruit/apple", Some(GetOptions::new().with_revision(first))).await;
    let text = gone.expect_err("below the compaction").to_string();
    assert!(text.contains("required revision has been compacted"), "{text}");

    assert!(client.status().await?.leader() != 0);
    assert!(!client.member_list().await?.members().is_empty());
    println!("etcd-client: all answers as wanted");
    Ok(())
}
