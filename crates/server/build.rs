//! Compiles the .proto files without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["rpc.proto", "command.proto", "group.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .codec_path("crate::proto::SmallCodec")
        .bytes(".")
        .compile_fds(files)?;
    Ok(())
}
