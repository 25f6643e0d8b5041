//! I1–I3, and of the work: I7 (no start without a counted attempt), I8 (no second execution) and I9.

use std::collections::{HashMap, HashSet};

use super::{Event, Found, Invariant, Run, is_terminal};

pub(super) fn check(run: &Run<'_>, found: &mut Found) {
    accepted_jobs_are_there(run, found);
    one_key_is_one_job(run, found);
    for job in &run.dump.jobs {
        if !is_terminal(&job.status) {
            found.add(Invariant::I3, format!("{} is {}", job.id, job.status));
        }
    }
    work_is_done_once(run, found);
    results_are_of_the_last_attempt(run, found);
}

fn accepted_jobs_are_there(run: &Run<'_>, found: &mut Found) {
    let mut inputs = HashMap::new();
    for line in run.lines {
        match &line.event {
            Event::Submitting { key, input, .. } => {
                inputs.insert(key, input);
            }
            Event::Answered { key, status: 200 | 202, job } => {
                let Some(job) = job.as_deref().and_then(|id| run.jobs.get(id)) else {
                    found.add(Invariant::I1, format!("{key} was answered with {job:?}, which is not there"));
                    continue;
                };
                if inputs.get(key).is_none_or(|input| **input != job.input) {
                    found.add(Invariant::I1, format!("{} of {key} has the input {}", job.id, job.input));
                }
            }
            _ => {}
        }
    }
}

fn one_key_is_one_job(run: &Run<'_>, found: &mut Found) {
    let mut by_key: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut keys: HashMap<&str, &str> = HashMap::new();
    for line in run.lines {
        match &line.event {
            Event::Submitting { key, input, .. } => {
                keys.insert(input, key);
            }
            Event::Answered { key, job: Some(job), .. } => {
                by_key.entry(key).or_default().insert(job);
            }
            _ => {}
        }
    }
    for job in &run.dump.jobs {
        // Every input of a run is unique, so it tells which submission made the job.
        match keys.get(&*job.input) {
            Some(key) => {
                by_key.entry(key).or_default().insert(&job.id);
            }
            None => {
                found.add(Invariant::I1, format!("{} has an input that nobody sent: {}", job.id, job.input))
            }
        }
    }
    for (key, jobs) in by_key {
        if jobs.len() > 1 {
            found.add(Invariant::I2, format!("{key} made {jobs:?}"));
        }
    }
}

/// When the upstream was asked, for which attempt, and what it answered.
type Start = (u64, u32, Option<u16>);

fn work_is_done_once(run: &Run<'_>, found: &mut Found) {
    let mut starts: HashMap<&str, Vec<Start>> = HashMap::new();
    for line in run.lines {
        if let Event::Work { job, attempt, answer } = &line.event {
            starts.entry(job).or_default().push((line.at, *attempt, *answer));
        }
    }
    for (id, starts) in starts {
        let Some(job) = run.jobs.get(id) else {
            found.add(Invariant::I7, format!("work was done for {id}, which is not there"));
            continue;
        };
        let mut numbers = HashSet::new();
        for &(_, attempt, _) in &starts {
            if attempt == 0 || attempt > job.attempt {
                found.add(
                    Invariant::I7,
                    format!("{id} was started as attempt {attempt} and has {}", job.attempt),
                );
            }
            if !numbers.insert(attempt) {
                found.add(Invariant::I7, format!("{id} was started twice as attempt {attempt}"));
            }
        }
        for pair in starts.windows(2) {
            let ((done, _, answer), (again, ..)) = (pair[0], pair[1]);
            if answer == Some(200) && !run.killed_between(done, again) {
                found.add(Invariant::I8, format!("{id} was run again after it had succeeded"));
            }
        }
    }
}

/// The upstream's results name the attempt they were made in; so an answer to a dead node's attempt would show.
fn results_are_of_the_last_attempt(run: &Run<'_>, found: &mut Found) {
    for job in &run.dump.jobs {
        if let Some(attempt) = job.result["attempt"].as_u64()
            && attempt != u64::from(job.attempt)
        {
            found.add(
                Invariant::I9,
                format!("{} is at attempt {} with the result of {attempt}", job.id, job.attempt),
            );
        }
    }
}
