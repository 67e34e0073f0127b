//! The documents say what is in the repository.

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

/// All text of the files below `folder` whose names end so.
fn sources(folder: &Path, end: &str, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            sources(&path, end, text);
        } else if path.to_string_lossy().ends_with(end) {
            *text += &fs::read_to_string(&path).expect("it is text");
        }
    }
}

/// The last column of its tables names tests, scripts of the core, and, in words, what the simulator checks.
#[test]
fn what_is_named_as_proof_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    sources(&crates, ".rs", &mut code);
    let proof = read("docs/proof.md");
    let cells = proof
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    let names: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 150, "only {} names were found", names.len());
    for name in names {
        let script = crates.join(format!("core/tests/scenarios/{name}.txt"));
        let is_known = match name.contains(' ') {
            true => code.contains(&format!("\"{name}\"")),
            false => script.exists() || code.contains(&format!("fn {name}(")),
        };
        assert!(is_known, "docs/proof.md names {name:?}, and there is none");
    }
}
