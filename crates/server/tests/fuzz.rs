//! Configuration at random: a wrong one is told by its key and never by its value, which may be a secret; a right one can
//! be shown; neither panics.
//!
//! `PROPTEST_CASES=100000 cargo test -p ringback --test fuzz` goes on for longer.

use std::io::Write;

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use ringback::config::{self, Sources};

/// In every secret and every value that is wrong: it must be in no message.
const HIDDEN: &str = "hunter2";

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("TOML has its own words for these", |number| number.is_finite())
            .prop_map(|n| format!("{n:?}")),
        "[0-9]{1,6}(ms|s|m|h|d|KiB|MiB|GiB|B)?".prop_map(|text| format!("\"{text}\"")),
        "[a-z0-9:/.*@-]{0,20}".prop_map(|text| format!("\"{text}\"")),
        Just(format!("\"{HIDDEN}\"")),
        Just("[]".to_owned()),
        Just("[\"127.0.0.0/8\"]".to_owned()),
        Just("[\"*.example.com\", \"\"]".to_owned()),
        Just("[443, 65536]".to_owned()),
        Just("{}".to_owned()),
        Just("{ schedule = [\"5s\", \"1m\"], jitter = 0.2 }".to_owned()),
        Just("{ initial = \"1s\", multiplier = 0 }".to_owned()),
        Just("{ type = \"object\", required = 7 }".to_owned()),
        Just("[\"/bin/true\"]".to_owned()),
    ]
}

/// Keys of a section: the known ones, and others.
fn section(name: &'static str, keys: &'static [&'static str]) -> impl Strategy<Value = String> {
    let key = prop_oneof![9 => prop::sample::select(keys).prop_map(str::to_owned), 1 => "[a-z_]{1,12}"];
    prop::collection::btree_map(key, value(), 0..4).prop_map(move |pairs| {
        let lines: Vec<_> = pairs.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        format!("[{name}]\n{}\n", lines.join("\n"))
    })
}

fn file() -> impl Strategy<Value = String> {
    const TASK: &[&str] = &[
        "run",
        "url",
        "secret",
        "argv",
        "env",
        "cwd",
        "timeout",
        "retry",
        "concurrency",
        "input_schema",
        "max_result",
    ];
    const DELIVERY: &[&str] = &[
        "allow_http",
        "allow_ports",
        "allow_cidrs",
        "allow_hosts",
        "timeout",
        "connect_timeout",
        "max_in_flight",
        "per_lane_in_flight",
        "ca_file",
        "retry",
    ];
    let run = prop::sample::select(vec!["echo", "sleep", "fail", "http", "command", "nope"]);
    (
        section("server", &["listen", "public_url", "max_body", "admin_listen", "cors_origins"]),
        section("storage", &["url", "connections"]),
        section("auth", &["bootstrap_key"]),
        section("node", &["lease", "drain"]),
        section("secrets", &["master_key"]),
        section("delivery", DELIVERY),
        section("tasks.one", TASK),
        run,
        any::<u8>(),
    )
        .prop_map(|(a, b, c, d, e, f, task, run, mask)| {
            // A few sections each: with all of them something would always be wrong.
            let sections = [a, b, c, d, e, f, format!("{task}\n[tasks.two]\nrun = \"{run}\"\n")];
            let chosen = sections.into_iter().enumerate().filter(|(place, _)| mask >> place & 1 == 1);
            chosen.map(|(_, section)| section).collect()
        })
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(8202), failure_persistence: None, ..Config::with_cases(3_000) })]

    #[test]
    fn any_file_is_read_or_told_what_is_wrong(text in prop_oneof![9 => file(), 1 => "\\PC{0,60}"]) {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        written.write_all(text.as_bytes()).unwrap();
        let sources = Sources { file: Some(written.path().to_owned()), ..Sources::default() };
        let told = match config::load(&sources) {
            Err(error) => error.to_string(),
            Ok(config) => {
                let shown = config::settings(&sources).expect("what can be read can be shown");
                let secret = |key: &str| key.ends_with("_key") || key.ends_with(".secret");
                for setting in shown.iter().filter(|setting| secret(&setting.key)) {
                    prop_assert!(!setting.value.contains(HIDDEN), "{setting:?}");
                }
                let errors = config.check().err().unwrap_or_default();
                let keys = [config.master_key().err(), config.bootstrap_key().err()];
                errors.iter().chain(keys.iter().flatten()).map(|error| format!("{error}\n")).collect()
            }
        };
        // What stands in the file's own text is shown by its place, not by its content.
        prop_assert!(!told.contains(HIDDEN), "{told}\n{text}");
    }
}
