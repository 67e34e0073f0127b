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
fn all_code_in_the_readmes_is_of_an_example() {
    let examples = ["counter", "own_cluster", "members", "witness"];
    let examples = examples.map(|name| read(&format!("examples/{name}.rs")));
    for readme in ["README.md", "README.zh-CN.md"] {
        let shown = read(readme);
        let blocks = shown.split("```rust\n").skip(1);
        let blocks: Vec<&str> = blocks.filter_map(|it| it.split("```").next()).collect();
        assert!(blocks.len() > 1, "{readme} shows too little");
        for block in blocks {
            let is_compiled = examples.iter().any(|example| example.contains(block));
            assert!(is_compiled, "{readme} shows what is in no example: {block}");
        }
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

/// Whether there is a script of the core, or a function, of this name.
fn is_test(name: &str, code: &str) -> bool {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/scenarios");
    scripts.join(format!("{name}.txt")).exists() || code.contains(&format!("fn {name}("))
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
        let is_known = match name.contains(' ') {
            true => code.contains(&format!("\"{name}\"")),
            false => is_test(name, &code),
        };
        assert!(is_known, "docs/proof.md names {name:?}, and there is none");
    }
}

/// Each row of its table has a number, a danger, and tests that bear the number; or it says that something is not built.
#[test]
fn every_pitfall_has_its_tests() {
    let mut code = String::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    sources(&crates, ".rs", &mut code);
    let page = read("docs/pitfalls.md");
    for number in (1..=60).chain([65]) {
        let begin = format!("| P{number:02} |");
        let mut rows = page.lines().filter(|line| line.starts_with(&begin));
        let row = rows
            .next()
            .unwrap_or_else(|| panic!("P{number} is missing"));
        assert_eq!(rows.next(), None, "P{number} is there twice");
        let bears_it = row.contains(&format!("`p{number:02}_"));
        assert!(
            bears_it || row.contains("| not built"),
            "no test of P{number} bears its number"
        );
    }
    let rows = page.lines().filter(|line| line.starts_with('|'));
    for name in rows.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        assert!(is_test(name, &code), "docs/pitfalls.md names {name:?}");
    }
}

/// Scripts that bear a number are in the row of that number.
#[test]
fn every_numbered_script_is_in_its_pitfalls_row() {
    let page = read("docs/pitfalls.md");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/scenarios");
    for script in fs::read_dir(scripts).expect("the folder of scripts") {
        let path = script.expect("it can be read").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        if let Some(number) = name.strip_prefix('p').and_then(|rest| rest.get(..2)) {
            let mut rows = page.lines();
            let is_there = rows.any(|row| {
                row.starts_with(&format!("| P{number} |")) && row.contains(&format!("`{name}`"))
            });
            let has_number = number.parse::<u8>().is_ok();
            assert!(is_there || !has_number, "{name} is not in docs/pitfalls.md");
        }
    }
}
