//! `docs/paper.md` names the places in the code that do what the paper says; they must be there.

use std::fs;
use std::path::{Path, PathBuf};

/// What the page names in its tables: `file::function`, `file::Struct.field`, `crate/path.rs`.
fn places(page: &str) -> Vec<&str> {
    let cells = page.lines().filter(|line| line.starts_with('|'));
    let quoted = cells.flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .filter(|name| name.contains("::") || name.contains('/'))
        .collect()
}

/// The file that a place is in: of the core, or `crate/path` of another crate.
fn file(of: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = match of.split_once('/') {
        Some((other, path)) => crates.join(other).join("src").join(path),
        None => crates.join("core/src").join(of),
    };
    path.with_extension("rs")
}

/// The lines of the struct of this name, up to its closing brace.
fn fields<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = code.split_once(&format!("struct {name} {{"))?;
    Some(after.split_once("\n}")?.0)
}

fn is_defined(code: &str, item: &str) -> bool {
    let defines = |start: &str| code.contains(&format!("{start} {item}"));
    match item.split_once('.') {
        Some((name, field)) => fields(code, name).is_some_and(|fields| {
            let mut fields = fields.lines().map(str::trim_start);
            fields.any(|line| {
                line.trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ")
                    .starts_with(&format!("{field}:"))
            })
        }),
        None if item.starts_with(char::is_uppercase) => {
            ["struct", "enum"].iter().any(|kind| defines(kind))
        }
        None => ["(", "<"].iter().any(|end| {
            let start = format!("fn {item}{end}");
            code.contains(&start)
        }),
    }
}

#[test]
fn every_place_that_the_page_names_is_in_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/paper.md");
    let page = fs::read_to_string(page).expect("the page is in the repository");
    let places = places(&page);
    assert!(places.len() > 100, "only {} were found", places.len());
    let missing = places.iter().filter(|place| {
        let (of, item) = place.split_once("::").unwrap_or((place, ""));
        match fs::read_to_string(file(of)) {
            Ok(code) => !item.is_empty() && !is_defined(&code, item),
            Err(_) => true,
        }
    });
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "named and not there: {missing:?}");
}

#[test]
fn every_row_of_the_page_names_a_place() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/paper.md");
    let page = fs::read_to_string(page).expect("the page is in the repository");
    let rows = page
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .filter(|line| !line.starts_with("| the paper |") && !line.starts_with("| the thesis |"));
    let empty: Vec<&str> = rows.filter(|row| places(row).is_empty()).collect();
    assert!(empty.is_empty(), "rows that name no place: {empty:#?}");
}
