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

/// Calls of our own.
pub mod group {
    tonic::include_proto!("little_raft_group");
}

/// Codes messages as prost does, beginning with small buffers: most requests and answers are far smaller than the
/// 8 KiB that tonic would take for each.
pub struct SmallCodec<T, U>(std::marker::PhantomData<(T, U)>);

fn buffers() -> tonic::codec::BufferSettings {
    tonic::codec::BufferSettings::new(512, 32 * 1024)
}

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for SmallCodec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = tonic_prost::ProstEncoder<T>;
    type Decoder = tonic_prost::ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Self::Encoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::Decoder::new(buffers())
    }
}
