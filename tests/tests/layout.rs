//! Rules about the sources themselves that a compiler does not hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use ringback_tests::binary::workspace;
use serde_json::Value;

/// Which of our crates each may use, apart from its tests. One way down: nothing flows back up, and `api`, `executor` and
/// `dispatcher` know neither each other nor the engines.
const ARROWS: &[(&str, &[&str])] = &[
    ("ringback-domain", &[]),
    ("ringback-storage", &["ringback-domain"]),
    ("ringback-storage-sql", &["ringback-domain", "ringback-storage"]),
    ("ringback-executor", &["ringback-domain", "ringback-storage"]),
    ("ringback-dispatcher", &["ringback-domain", "ringback-storage"]),
    ("ringback-api", &["ringback-domain", "ringback-storage"]),
    (
        "ringback",
        &[
            "ringback-domain",
            "ringback-storage",
            "ringback-storage-sql",
            "ringback-executor",
            "ringback-dispatcher",
            "ringback-api",
        ],
    ),
];

#[test]
fn dependencies_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let mut ours = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let uses: BTreeSet<String> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("ringback"))
            .map(str::to_owned)
            .collect();
        ours.insert(package["name"].as_str().unwrap_or_default().to_owned(), uses);
    }
    for (name, may_use) in ARROWS {
        let uses = ours.get(*name).unwrap_or_else(|| panic!("{name} is gone"));
        let wrong: Vec<_> = uses.iter().filter(|used| !may_use.contains(&used.as_str())).collect();
        assert!(wrong.is_empty(), "{name} uses {wrong:?}");
    }
}

/// A newcomer opens the root first: it says what the crate is, who feeds it and whom it feeds.
#[test]
fn every_crate_says_what_it_is() {
    for entry in fs::read_dir(workspace().join("crates")).expect("there are crates") {
        let source = entry.expect("an entry").path().join("src");
        let root = ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().find(|path| path.exists());
        let root = root.unwrap_or_else(|| panic!("{} has no root", source.display()));
        let text = fs::read_to_string(&root).expect("a source is text");
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(lines >= 3, "{} begins with {lines} lines of documentation", root.display());
    }
}

/// A call is served by `routes!` alone, which describes it as well: what `/openapi.json` lists is what there is.
#[test]
fn no_call_is_served_without_its_description() {
    for entry in fs::read_dir(workspace().join("crates/api/src")).expect("there are sources") {
        let path = entry.expect("an entry").path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for way in [".route(", ".route_service(", ".nest(", ".nest_service("] {
            assert!(!text.contains(way), "{} serves with {way}…): use routes!(…)", path.display());
        }
    }
}
