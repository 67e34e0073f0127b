//! The README shows what is in the repository.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).expect("a file of the repository")
}

#[test]
fn both_readmes_show_the_counter_exactly() {
    let counter = read("examples/counter.rs");
    for readme in ["README.md", "README.zh-CN.md"] {
        let shown = read(readme);
        assert!(
            shown.contains(&format!("```rust\n{counter}```")),
            "{readme} shows another program"
        );
    }
}

#[test]
fn examples_stay_as_short_as_promised() {
    let code = |path| {
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        read(path).lines().filter(is_code).count()
    };
    assert!(code("examples/counter.rs") < 40);
    assert!(code("examples/own_cluster.rs") < 80);
}

#[test]
fn dependencies_point_down() {
    let allowed = [
        ("core", &[][..]),
        ("wal", &["little-raft-core"]),
        ("net", &["little-raft-core"]),
        (
            "little-raft",
            &["little-raft-core", "little-raft-wal", "little-raft-net"],
        ),
    ];
    for (room, below) in allowed {
        let manifest = read(&format!("crates/{room}/Cargo.toml"));
        let (_, dependencies) = manifest.split_once("[dependencies]").expect("dependencies");
        let names = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next());
        for name in names.filter(|name| name.starts_with("little-raft")) {
            assert!(below.contains(&name), "{room} must not depend on {name}");
        }
    }
}
