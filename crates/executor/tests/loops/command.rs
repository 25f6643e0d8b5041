//! `command` tasks: real processes under a supervisor, on the clock moved by hand.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use domain::{
    chance::{Clock, Moment},
    event::Event,
    id::{EventId, JobId, Tenant},
    job::{Ended, Ending, Job, Links},
    task::{CommandRun, Run, TaskSpec},
};
use storage::{Cancel, Canceled, Content, Fetched, Finish, Guard};

use super::harness::{Ground, Node, seconds};

fn command(name: &str, argv: &[&str]) -> TaskSpec {
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    let like = Ground::new().tasks.swap_remove(0);
    let run = Run::Command(CommandRun { argv, env: Default::default(), cwd: None });
    TaskSpec { name: name.parse().unwrap(), run, ..like }
}

fn script(text: &str) -> TaskSpec {
    command("work", &["/bin/sh", "-c", text])
}

/// A node whose only task is this.
async fn node(task: TaskSpec) -> (Ground, Node) {
    let mut ground = Ground::new();
    ground.tasks = vec![task];
    // Processes are told apart by their job's id, whose first half is the time: no two tests may have the same.
    static NODES: AtomicU64 = AtomicU64::new(0);
    let number = u64::from(std::process::id()) * 1000 + NODES.fetch_add(1, Ordering::Relaxed);
    ground.clock.advance(Duration::from_millis(number));
    let node = ground.start().await;
    node.executor.supervise_with(PathBuf::from(env!("CARGO_BIN_EXE_supervisor")));
    node.settle().await;
    (ground, node)
}

/// Processes take real time; the loop goes on meanwhile.
async fn until(node: &Node, what: &str, done: impl AsyncFn() -> bool) {
    for _ in 0..4_000 {
        node.executor.step().await;
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: never");
}

async fn shows(node: &Node, id: JobId, line: &str) {
    let left = async || node.shows(id).await == "running 1";
    until(node, line, async || !left().await).await;
    assert_eq!(node.shows(id).await, line);
    assert_eq!(processes(id), 0, "something is left over");
}

/// Runs the task once: how its job shows then, and what it answered.
async fn once(task: TaskSpec, input: &str) -> (String, Job, Option<Content>) {
    let (_ground, node) = node(task).await;
    let id = node.run("work", input).await;
    until(&node, "an end", async || node.executor.idle() && node.get(id).await.attempt() > 0).await;
    assert_eq!(processes(id), 0, "something is left over");
    let result = match node.engine.result(Tenant::DEFAULT, id).await.unwrap() {
        Fetched::Content(content) => Some(content),
        _ => None,
    };
    (node.shows(id).await, node.get(id).await, result)
}

/// What of the job is alive on this machine, its supervisor included.
fn processes(id: JobId) -> usize {
    let mark = format!("RINGBACK_JOB_ID={id}");
    let environments = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = environments.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|all| all.split(|&byte| byte == 0).any(|one| one == mark.as_bytes())).count()
}

fn error(job: &Job) -> serde_json::Value {
    match job.ended().map(|ended| &ended.ending) {
        Some(Ending::Failed(error)) => serde_json::from_str(error.as_json()).unwrap(),
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn the_exit_status_says_how_it_went() {
    for (text, expected) in [
        ("cat", "succeeded 1"),
        ("exit 1", "failed 1 command-failed"),
        ("exit 75", "queued 1"),
        ("exit 137", "failed 1 command-failed"),
        ("kill -9 $$", "queued 1"),
        ("kill -15 $$", "queued 1"),
        ("kill -10 $$", "queued 1"),
        ("printf '%2000s' x", "failed 1 result-too-large"),
    ] {
        assert_eq!(once(script(text), "{}").await.0, expected, "{text}");
    }
}

#[tokio::test]
async fn stdout_is_the_result() {
    for (text, content_type, bytes) in [
        ("cat", "application/json", &br#"{"price": 1.10}"#[..]),
        ("echo 1 2", "text/plain; charset=utf-8", b"1 2\n"),
        ("printf '\\377'", "application/octet-stream", b"\xff"),
        ("true", "text/plain; charset=utf-8", b""),
    ] {
        let (shown, _, result) = once(script(text), r#"{"price": 1.10}"#).await;
        assert_eq!(shown, "succeeded 1", "{text}");
        let result = result.unwrap();
        assert_eq!((&*result.content_type, &*result.bytes), (content_type, bytes), "{text}");
    }
}

#[tokio::test]
async fn stderr_is_the_log_of_a_failure() {
    let (_, job, _) = once(script("echo 'no \"paper\"' >&2; exit 3"), "1").await;
    let error = error(&job);
    assert_eq!(error["detail"], "It exited with status 3.");
    assert_eq!(error["log"], "no \"paper\"\n");
    let (shown, job, _) = once(command("work", &["/no/such/program"]), "1").await;
    assert_eq!(shown, "failed 1 command-failed");
    assert!(self::error(&job)["log"].as_str().unwrap().contains("cannot start /no/such/program"));
}

#[tokio::test]
async fn its_environment_is_its_own() {
    let mut task = command("work", &["/usr/bin/env"]);
    let Run::Command(run) = &mut task.run else { panic!("a command") };
    run.env = [("GREETING".to_owned(), "a b=c".to_owned())].into();
    let (_, job, result) = once(task, "1").await;
    let text = String::from_utf8(result.unwrap().bytes.to_vec()).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    let deadline = job.created_at + seconds(60);
    assert_eq!(
        lines,
        [
            "GREETING=a b=c".to_owned(),
            "RINGBACK_ATTEMPT=1".to_owned(),
            format!("RINGBACK_DEADLINE={deadline}"),
            format!("RINGBACK_JOB_ID={}", job.id),
            "RINGBACK_PROGRESS_FD=3".to_owned(),
        ]
    );
}

#[tokio::test]
async fn no_shell_reads_its_arguments_and_none_of_the_input_is_in_them() {
    let words = ["$HOME", "`id`", "$(id)", "; exit 3", "*", "a  b", ""];
    let mut argv = vec!["/usr/bin/printf", "[%s]"];
    argv.extend(words);
    let (_, _, result) = once(command("work", &argv), r#""; exit 3 $(id)""#).await;
    let expected: String = words.iter().map(|word| format!("[{word}]")).collect();
    assert_eq!(String::from_utf8_lossy(&result.unwrap().bytes), expected);
}

#[tokio::test]
async fn an_input_need_not_be_read() {
    let input = format!("\"{}\"", "x".repeat(1 << 20));
    for (text, expected) in [
        ("wc -c", "1048578\n"),
        ("echo unread", "unread\n"),
        ("head -c 1 > /dev/null; echo one", "one\n"),
        ("exec 0<&-; sleep 0.1; echo closed", "closed\n"),
    ] {
        let (shown, _, result) = once(script(text), &input).await;
        assert_eq!(shown, "succeeded 1", "{text}");
        assert_eq!(String::from_utf8_lossy(&result.unwrap().bytes).trim(), expected.trim(), "{text}");
    }
}

#[tokio::test]
async fn who_writes_without_end_is_stopped() {
    for text in ["yes", "trap '' TERM; yes & wait"] {
        let (shown, ..) = once(script(text), "1").await;
        assert_eq!(shown, "failed 1 result-too-large", "{text}");
    }
    // What is said and not kept is read all the same.
    let (shown, ..) = once(script("yes | head -c 300000 >&2; yes | head -c 300000 >&3; echo 1"), "1").await;
    assert_eq!(shown, "succeeded 1");
}

#[tokio::test]
async fn what_it_leaves_running_ends_with_it() {
    let text = "sleep 1000 & setsid sleep 1000 & (trap '' TERM HUP; sleep 1000) & sleep 0.2; echo 1";
    let (shown, ..) = once(script(text), "1").await;
    assert_eq!(shown, "succeeded 1");
}

#[tokio::test]
async fn at_the_timeout_it_is_asked_to_end() {
    let (ground, node) =
        node(script("trap 'echo late >&2; exit 0' TERM; while :; do sleep 0.05; done")).await;
    let job = Job { max_attempts: 1, ..node.job("work") };
    let id = node.submit(job, "1").await;
    until(&node, "its start", async || processes(id) >= 3).await;
    ground.clock.advance(seconds(60));
    shows(&node, id, "failed 1 timeout").await;
    assert!(error(&node.get(id).await)["log"].as_str().unwrap().ends_with("late\n"));
}

#[tokio::test]
async fn who_does_not_end_is_killed_with_all_its_children() {
    let text =
        "trap '' TERM; sh -c \"trap '' TERM; sleep 1000\" & setsid sleep 1000 & sleep 1000; sleep 1000";
    let (ground, node) = node(script(text)).await;
    let id = node.run("work", "1").await;
    until(&node, "its start", async || processes(id) >= 5).await;
    ground.clock.advance(seconds(60));
    node.settle().await;
    ground.clock.advance(seconds(4));
    node.settle().await;
    assert_eq!(node.shows(id).await, "running 1");
    assert!(processes(id) > 1, "the grace is not over");
    ground.clock.advance(seconds(1));
    shows(&node, id, "queued 1").await;
}

#[tokio::test]
async fn a_canceled_one_is_stopped() {
    let (ground, node) = node(script("sleep 1000 & sleep 1000")).await;
    let id = node.run("work", "1").await;
    until(&node, "its start", async || processes(id) >= 4).await;
    let (job, at) = (node.get(id).await, Moment::of(&*ground.clock));
    let ending = Ending::Canceled;
    let ended = Ended { attempt: job.attempt(), started_at: job.started_at(), finished_at: at.wall, ending };
    let links = Links::new("", id);
    let event = Event::ended(EventId::new(at.now, 5), &job, &ended, &links);
    let guard = Guard::Queued { attempt: job.attempt() };
    let finish = Finish { job, guard, ended, result: None, event, links, at };
    assert_eq!(node.engine.cancel(Cancel { finish }).await.unwrap(), Canceled::Requested);
    shows(&node, id, "canceled 1").await;
}

#[tokio::test]
async fn one_that_is_given_back_has_ended_before() {
    let (_ground, node) = node(script("sleep 1000 & sleep 1000")).await;
    let id = node.run("work", "1").await;
    until(&node, "its start", async || processes(id) >= 4).await;
    node.executor.drain();
    node.executor.give_back().await;
    assert_eq!((node.shows(id).await, processes(id)), ("queued 0".into(), 0));
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_ended_before_the_next() {
    let (ground, node) = node(script("[ $RINGBACK_ATTEMPT = 2 ] || exit 75")).await;
    let id = node.run("work", "1").await;
    shows(&node, id, "queued 1").await;
    let mut stray = Command::new("/bin/sleep")
        .arg("1000")
        .env("RINGBACK_JOB_ID", id.to_string())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    ground.clock.advance(seconds(10));
    until(&node, "the second attempt", async || node.shows(id).await == "succeeded 2").await;
    assert!(!stray.wait().unwrap().success());
    assert!(ground.clock.now() > node.get(id).await.created_at);
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_command_with_it() {
    let (_ground, node) = node(script("echo $PPID > \"$(cat | tr -d '\"')\"; sleep 1000")).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let id = node.run("work", &serde_json::to_string(file.path()).unwrap()).await;
    let read = || std::fs::read_to_string(file.path()).unwrap().trim().to_owned();
    until(&node, "its start", async || !read().is_empty() && processes(id) >= 3).await;
    assert!(Command::new("/bin/kill").args(["-9", &read()]).status().unwrap().success());
    shows(&node, id, "queued 1").await;
}

#[tokio::test]
async fn what_it_says_on_its_progress_pipe_shows_once_a_second_at_most() {
    let text = r#"printf 'what?\n{"fraction": 7}\n%9000s\n{"fraction": 0.1, "message": "one"}\n' x >&3
        printf '{"fraction": 0.2, "message": "two"}\n{"fraction": 0.2, "message": "two"}\n' >&3; sleep 60"#;
    let (ground, node) = node(script(text)).await;
    let id = node.run("work", "null").await;
    let said = async || node.get(id).await.progress.as_ref().and_then(|progress| progress.fraction);
    until(&node, "something", async || said().await.is_some()).await;
    // The first may have been written before the second was read: that one waits for its second.
    ground.clock.advance(Duration::from_secs(1));
    until(&node, "the latest", async || said().await == Some(0.2)).await;
    let shown = node.get(id).await.progress.unwrap();
    assert_eq!(shown.message.as_deref(), Some("two"));
    ground.clock.advance(Duration::from_secs(120));
    shows(&node, id, "queued 1").await;
    assert!(node.get(id).await.progress.is_none(), "the next attempt begins anew");
}

#[tokio::test]
async fn the_last_it_said_stays_with_the_job() {
    let text =
        r#"for n in 1 2 3 4; do echo '{"fraction": 0.'$n'}' >&3; done; echo '{"fraction": 1}' >&3; echo 5"#;
    let (shown, job, _) = once(script(text), "null").await;
    assert_eq!(shown, "succeeded 1");
    assert_eq!(job.progress.unwrap().fraction, Some(1.0));
}
