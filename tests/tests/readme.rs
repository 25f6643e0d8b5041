//! Every shell block of the README and of the guides runs.
//!
//! A fenced `sh` block bears a mark on the line before it, which readers do not see:
//!
//! - `<!-- test: NAME -->`: the blocks of one NAME run in order, as one script, in an empty directory;
//! - `<!-- test: NAME background until "TEXT" -->`: this block runs beside those that follow it, which begin once it has
//!   printed TEXT; it is stopped when they are done;
//! - `<!-- test: NAME prints "TEXT" -->`: the script must have printed TEXT, at the latest soon after its end;
//! - `<!-- test: skip: WHY -->`: it runs elsewhere.
//!
//! `cargo run … --` stands for the binary that the tests use anyway: the build is not what is tried here.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ringback_tests::{ask, binary, clock, verify};

/// How long one script may take, or one line of output be waited for.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Script { text: String, prints: Option<String> },
    Background { text: String, until: String },
}

/// The marked blocks by name, and the lines at which unmarked ones begin.
fn blocks(text: &str) -> (BTreeMap<String, Vec<Part>>, Vec<usize>) {
    let (mut named, mut unmarked): (BTreeMap<String, Vec<Part>>, Vec<usize>) = Default::default();
    let lines: Vec<_> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() != "```sh" {
            at += 1;
            continue;
        }
        let end = (at + 1..lines.len()).find(|&n| lines[n].trim() == "```").unwrap_or(lines.len());
        let script = lines[at + 1..end].join("\n");
        let before =
            lines[..at].iter().rev().find(|line| !line.trim().is_empty()).map_or("", |line| line.trim());
        match before.strip_prefix("<!-- test: ").and_then(|mark| mark.strip_suffix(" -->")) {
            None => unmarked.push(at + 1),
            Some(mark) if mark.starts_with("skip:") => {}
            Some(mark) => {
                let (name, part) = part(mark, script);
                named.entry(name.to_owned()).or_default().push(part);
            }
        }
        at = end + 1;
    }
    (named, unmarked)
}

fn part(mark: &str, text: String) -> (&str, Part) {
    let quoted = |text: &str| text.trim_matches('"').to_owned();
    if let Some((name, until)) = mark.split_once(" background until ") {
        return (name, Part::Background { text, until: quoted(until) });
    }
    match mark.split_once(" prints ") {
        Some((name, prints)) => (name, Part::Script { text, prints: Some(quoted(prints)) }),
        None => (mark, Part::Script { text, prints: None }),
    }
}

#[test]
fn blocks_are_found_by_their_marks() {
    let text = "\
# Title
<!-- test: first background until \"ready\" -->
```sh
serve
```
text
<!-- test: first prints \"202\" -->

```sh
curl one
curl two
```
```sh
unmarked
```
<!-- test: skip: needs a cluster -->
```sh
deploy
```
```json
{}
```
";
    let (named, unmarked) = blocks(text);
    assert_eq!(unmarked, [13]);
    let first = vec![
        Part::Background { text: "serve".into(), until: "ready".into() },
        Part::Script { text: "curl one\ncurl two".into(), prints: Some("202".into()) },
    ];
    assert_eq!(named, BTreeMap::from([("first".to_owned(), first)]));
}

#[test]
fn every_block_of_the_readme_runs() {
    every_block_runs("README.md");
}

#[test]
fn every_block_of_the_guides_runs() {
    let guides = fs::read_dir(binary::workspace().join("docs/guides")).expect("there are guides");
    let mut names: Vec<_> =
        guides.map(|guide| guide.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let readme = fs::read_to_string(binary::workspace().join("README.md")).expect("there is a README.md");
    for name in names {
        assert!(readme.contains(&format!("docs/guides/{name}")), "README.md does not lead to {name}");
        every_block_runs(&format!("docs/guides/{name}"));
    }
}

fn every_block_runs(document: &str) {
    let text = fs::read_to_string(binary::workspace().join(document)).expect("it is there");
    let (named, unmarked) = blocks(&text);
    assert!(unmarked.is_empty(), "{document}: shell blocks without a mark at lines {unmarked:?}");
    assert!(!named.is_empty(), "{document} has shell blocks");
    for (name, parts) in named {
        run(&format!("{document}: {name}"), parts);
    }
}

/// Links to files of the repository lead to files that are there.
#[test]
fn every_link_leads_somewhere() {
    let tracked = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .current_dir(binary::workspace())
        .output()
        .expect("git runs");
    let documents = String::from_utf8(tracked.stdout).expect("names are text");
    let mut links = 0;
    for document in documents.lines() {
        let path = binary::workspace().join(document);
        let text = fs::read_to_string(&path).unwrap_or_default();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(char::is_whitespace) {
                continue;
            }
            let folder = path.parent().unwrap_or(Path::new("."));
            assert!(folder.join(target).exists(), "{document} links to {target}, which is not there");
            links += 1;
        }
    }
    assert!(links > 5, "{links} links were looked at");
}

fn run(name: &str, parts: Vec<Part>) {
    eprintln!("{name}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let shell = Shell::new(directory.path());
    let (mut beside, mut script, mut prints) = (Vec::new(), String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Script { text, prints: wanted } => {
                script += &format!("{text}\n");
                prints.extend(wanted);
            }
            Part::Background { text, until } => {
                let running = shell.start(name, &text);
                running.prints(&until);
                beside.push(running);
            }
        }
    }
    let mut foreground = shell.start(name, &script);
    foreground.ends();
    prints.iter().for_each(|text| foreground.prints(text));
}

/// Where and with what the blocks of one name run.
struct Shell<'a> {
    directory: &'a Path,
    path: String,
    /// The README's own port may be taken on this machine.
    port: u16,
}

impl<'a> Shell<'a> {
    fn new(directory: &'a Path) -> Self {
        let bin = directory.join(".bin");
        fs::create_dir(&bin).expect("a directory");
        let stand_in = format!(
            "#!/usr/bin/env bash\nwhile [ $# -gt 0 ] && [ \"$1\" != -- ]; do shift; done\nshift\nexec '{}' \"$@\"\n",
            binary::path().display()
        );
        let cargo = bin.join("cargo");
        fs::write(&cargo, stand_in).expect("a file");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("ours");
        let python = verify::python();
        // What `npm install` would have put there.
        std::os::unix::fs::symlink(verify::node_modules(), directory.join("node_modules")).expect("a link");
        let places = [
            bin.as_path(),
            binary::path().parent().unwrap_or(directory),
            python.parent().unwrap_or(directory),
        ];
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        Self { directory, path: format!("{}:{}", places.join(":"), ask::text("PATH")), port }
    }

    /// Starts a script in a process group of its own.
    fn start(&self, name: &str, script: &str) -> Running {
        let mut child = Command::new("setsid")
            .args(["bash", "-euo", "pipefail", "-c", &format!("exec 2>&1\n{script}")])
            .current_dir(self.directory)
            .env("PATH", &self.path)
            .env("RINGBACK_SERVER__LISTEN", format!("127.0.0.1:{}", self.port))
            .env("RINGBACK_URL", format!("http://127.0.0.1:{}", self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let output = Arc::<Mutex<String>>::default();
        let (pipe, copy) = (child.stdout.take().expect("piped"), output.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                copy.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
            }
        });
        Running { name: name.to_owned(), child, output }
    }
}

struct Running {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Running {
    fn prints(&self, wanted: &str) {
        let start = clock::now();
        while !self.shown().contains(wanted) {
            assert!(start.elapsed() < LIMIT, "{}: {wanted:?} was not printed:\n{}", self.name, self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ends(&mut self) {
        let start = clock::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                assert!(status.success(), "{}: {status}\n{}", self.name, self.shown());
                return;
            }
            assert!(start.elapsed() < LIMIT, "{} does not end:\n{}", self.name, self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn shown(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its whole process group, which setsid made: what it started too.
        let group = format!("kill -TERM -- -{} 2>/dev/null", self.child.id());
        let _ = Command::new("bash").args(["-c", &group]).status();
        let _ = self.child.wait();
    }
}
