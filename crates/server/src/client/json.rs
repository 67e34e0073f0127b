//! Answers as JSON, as Go writes etcd's types: zeros left out, bytes in base64.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::backup::file::Content;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{
    DeleteRangeResponse, Member, MemberAddResponse, MemberListResponse, PutResponse, RangeResponse,
    ResponseHeader, ResponseOp, StatusResponse, TxnResponse,
};
use crate::proto::group::TimingResponse;
use crate::proto::mvccpb::KeyValue;

/// An object without what is zero, empty or false.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {{
        let mut object = Map::new();
        $(add(&mut object, $name, json!($value));)*
        Value::Object(object)
    }};
}

fn add(object: &mut Map<String, Value>, name: &str, value: Value) {
    let zero = match &value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_u64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(_) => false,
    };
    if !zero {
        object.insert(name.into(), value);
    }
}

pub fn snapshot(content: &Content) -> Value {
    json!({
        "hash": content.summary.hash,
        "revision": content.summary.revision,
        "totalKey": content.summary.records,
        "totalSize": content.bytes,
    })
}

fn header(header: &Option<ResponseHeader>) -> Value {
    let Some(header) = header else {
        return Value::Null;
    };
    object! {
        "cluster_id": header.cluster_id,
        "member_id": header.member_id,
        "revision": header.revision,
        "raft_term": header.raft_term,
    }
}

fn key_value(kv: &KeyValue) -> Value {
    object! {
        "key": base64(&kv.key),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
        "value": base64(&kv.value),
        "lease": kv.lease,
    }
}

fn key_values(kvs: &[KeyValue]) -> Vec<Value> {
    kvs.iter().map(key_value).collect()
}

pub fn put(answer: &PutResponse) -> Value {
    object! {"header": header(&answer.header), "prev_kv": answer.prev_kv.as_ref().map(key_value)}
}

pub fn get(answer: &RangeResponse) -> Value {
    object! {
        "header": header(&answer.header),
        "kvs": key_values(&answer.kvs),
        "more": answer.more,
        "count": answer.count,
    }
}

pub fn del(answer: &DeleteRangeResponse) -> Value {
    object! {
        "header": header(&answer.header),
        "deleted": answer.deleted,
        "prev_kvs": key_values(&answer.prev_kvs),
    }
}

pub fn txn(answer: &TxnResponse) -> Value {
    let responses: Vec<Value> = answer.responses.iter().map(operation).collect();
    object! {
        "header": header(&answer.header),
        "succeeded": answer.succeeded,
        "responses": responses,
    }
}

/// Go's encoder shows the generated name of a union's member.
fn operation(operation: &ResponseOp) -> Value {
    let response = match &operation.response {
        Some(Response::ResponseRange(answer)) => json!({"response_range": get(answer)}),
        Some(Response::ResponsePut(answer)) => json!({"response_put": put(answer)}),
        Some(Response::ResponseDeleteRange(answer)) => {
            json!({"response_delete_range": del(answer)})
        }
        Some(Response::ResponseTxn(answer)) => json!({"response_txn": txn(answer)}),
        None => Value::Null,
    };
    json!({"Response": response})
}

pub fn status(answers: &[(String, StatusResponse)]) -> Value {
    let one = |(endpoint, answer): &(String, StatusResponse)| {
        let status = object! {
            "header": header(&answer.header),
            "version": answer.version,
            "dbSize": answer.db_size,
            "leader": answer.leader,
            "raftIndex": answer.raft_index,
            "raftTerm": answer.raft_term,
            "raftAppliedIndex": answer.raft_applied_index,
            "errors": answer.errors,
            "dbSizeInUse": answer.db_size_in_use,
            "isLearner": answer.is_learner,
            "isWitness": answer.is_witness,
        };
        json!({"Endpoint": endpoint, "Status": status})
    };
    answers.iter().map(one).collect()
}

pub fn members(answer: &MemberListResponse) -> Value {
    members_changed(&answer.header, &answer.members)
}

pub fn member_added(answer: &MemberAddResponse) -> Value {
    let added = answer.member.as_ref().map_or(Value::Null, member);
    let members: Vec<Value> = answer.members.iter().map(member).collect();
    object! {"header": header(&answer.header), "member": added, "members": members}
}

pub fn members_changed(of: &Option<ResponseHeader>, members: &[Member]) -> Value {
    let members: Vec<Value> = members.iter().map(member).collect();
    object! {"header": header(of), "members": members}
}

fn member(member: &Member) -> Value {
    object! {
        "ID": member.id,
        "name": member.name,
        "peerURLs": member.peer_ur_ls,
        "clientURLs": member.client_ur_ls,
        "isLearner": member.is_learner,
        "isWitness": member.is_witness,
    }
}

pub fn timing(answer: &TimingResponse) -> Value {
    json!({
        "heartbeat_ns": answer.heartbeat_ns,
        "election_ns": answer.election_ns,
        "agreed": answer.agreed,
    })
}

fn base64(bytes: &Bytes) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for sextet in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * sextet)) as usize & 63];
            text.push(if sextet <= chunk.len() {
                symbol.into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_rfc_4648s() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (text, encoded) in cases {
            assert_eq!(base64(&Bytes::from_static(text.as_bytes())), encoded);
        }
    }
}
