//! The types and services generated from `proto/`.
#![allow(missing_docs, clippy::all, rust_2018_idioms)] // generated; documented in the .proto files

/// A key with its value.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The etcd v3 API.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Commands in the replicated log.
pub mod command {
    tonic::include_proto!("little_raft_command");
}
