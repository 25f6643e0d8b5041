//! The checker's own tests: a good history passes, and each planted fault is found under its own number.

use serde_json::json;
use standardwebhooks::Webhook;

use super::*;
use crate::history::DumpAttempt;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const START: i64 = 1_763_899_200_000_000;

fn rules() -> Rules {
    Rules { secret: SECRET.into(), attempts: 3 }
}

fn body(job: &DumpJob) -> String {
    let told = json!({ "id": job.id, "status": job.status, "result": job.result, "attempt": job.attempt });
    json!({ "type": format!("job.{}", job.status), "timestamp": "…", "data": { "job": told } }).to_string()
}

fn webhook(body: &str, at: u64, answer: Option<u16>) -> Line {
    let wall = START + i64::try_from(at).unwrap();
    let stamp = wall / 1_000_000;
    let signature = Webhook::new(SECRET).unwrap().sign("evt_1", stamp, body.as_bytes()).unwrap();
    let headers = [
        ("webhook-id", "evt_1".to_owned()),
        ("webhook-timestamp", stamp.to_string()),
        ("webhook-signature", signature),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    Line { at, event: Event::Webhook { headers, body: body.to_owned(), wall, answer } }
}

fn attempt(number: u32, from: i64, to: i64, outcome: &str, status: Option<u16>) -> DumpAttempt {
    DumpAttempt {
        number,
        outcome: Some(outcome.into()),
        status,
        started_at: START + from,
        ended_at: Some(START + to),
    }
}

/// Times in microseconds. A lost answer repeated; one failed start and one killed; a webhook refused once, interrupted
/// once and taken at the third request.
fn good() -> (Vec<Line>, Dump) {
    let job = DumpJob {
        id: "job_1".into(),
        status: "succeeded".into(),
        attempt: 3,
        result: json!({ "key": "a", "attempt": 3 }),
        finished_at: Some("2025-11-23T12:00:05Z".into()),
        input: r#"{"key":"a"}"#.into(),
    };
    let body = body(&job);
    let delivery = DumpDelivery {
        id: "dlv_1".into(),
        job: job.id.clone(),
        event: "evt_1".into(),
        event_type: "job.succeeded".into(),
        status: "succeeded".into(),
        reason: None,
        attempts: vec![
            attempt(1, 10_000_000, 10_100_000, "http_status", Some(500)),
            attempt(2, 20_000_000, 22_000_000, "interrupted", None),
            attempt(3, 30_000_000, 30_100_000, "delivered", Some(200)),
        ],
        body: body.clone(),
    };
    let line = |at, event| Line { at, event };
    let submitting = || Event::Submitting { key: "a".into(), input: job.input.clone(), callback: true };
    let work = |attempt, answer| Event::Work { job: job.id.clone(), attempt, answer };
    let running = DumpJob {
        status: "running".into(),
        attempt: 2,
        result: json!(null),
        finished_at: None,
        ..job.clone()
    };
    let pending = DumpDelivery {
        status: "pending".into(),
        attempts: vec![
            delivery.attempts[0].clone(),
            DumpAttempt { outcome: None, ended_at: None, ..delivery.attempts[1].clone() },
        ],
        ..delivery.clone()
    };
    let lines = vec![
        line(1_000_000, submitting()),
        line(1_100_000, Event::AnswerLost { key: "a".into() }),
        line(1_200_000, submitting()),
        line(1_300_000, Event::Answered { key: "a".into(), status: 202, job: Some(job.id.clone()) }),
        line(2_000_000, work(1, Some(500))),
        line(3_000_000, work(2, Some(200))),
        line(3_050_000, Event::SeenJob { job: running }),
        line(3_100_000, Event::Killed),
        line(3_500_000, Event::Ready),
        line(4_000_000, work(3, Some(200))),
        line(9_000_000, Event::SeenJob { job: job.clone() }),
        webhook(&body, 10_050_000, Some(500)),
        webhook(&body, 20_050_000, None),
        line(20_060_000, Event::SeenDelivery { delivery: pending }),
        line(20_100_000, Event::Killed),
        line(21_000_000, Event::Ready),
        webhook(&body, 30_050_000, Some(200)),
        line(40_000_000, Event::SeenDelivery { delivery: delivery.clone() }),
    ];
    (lines, Dump { jobs: vec![job], deliveries: vec![delivery] })
}

/// Plants a fault and asserts that it is found as this invariant's.
#[track_caller]
fn planted(invariant: Invariant, plant: impl FnOnce(&mut Vec<Line>, &mut Dump)) {
    let (mut lines, mut dump) = good();
    plant(&mut lines, &mut dump);
    let found = check(&lines, &dump, &rules());
    assert!(
        found.iter().any(|violation| violation.invariant == invariant),
        "{invariant:?} is not among {found:#?}"
    );
}

fn is_webhook(line: &Line) -> bool {
    matches!(line.event, Event::Webhook { .. })
}

#[test]
fn a_good_history_passes() {
    let (lines, dump) = good();
    assert_eq!(check(&lines, &dump, &rules()), []);
}

#[test]
fn a_history_is_the_same_after_writing_and_reading() {
    let (lines, dump) = good();
    let file = tempfile::NamedTempFile::new().unwrap();
    crate::history::write(file.path(), &lines, &dump).unwrap();
    assert_eq!(crate::history::read(file.path()).unwrap(), (lines, dump));
}

#[test]
fn i1_an_accepted_job_is_lost() {
    planted(Invariant::I1, |_, dump| dump.jobs.clear());
}

#[test]
fn i1_an_input_has_changed() {
    planted(Invariant::I1, |_, dump| dump.jobs[0].input = r#"{"key":"A"}"#.into());
}

#[test]
fn i2_a_repeated_submission_made_two_jobs() {
    planted(Invariant::I2, |_, dump| {
        let twin = DumpJob { id: "job_2".into(), ..dump.jobs[0].clone() };
        dump.jobs.push(twin);
    });
}

#[test]
fn i2_a_key_finds_another_job() {
    planted(Invariant::I2, |lines, _| {
        let answered = Event::Answered { key: "a".into(), status: 202, job: Some("job_2".into()) };
        lines.push(Line { at: 50_000_000, event: answered });
    });
}

#[test]
fn i3_a_job_never_ends() {
    planted(Invariant::I3, |_, dump| dump.jobs[0].status = "running".into());
}

#[test]
fn i4_an_event_is_missing() {
    planted(Invariant::I4, |lines, dump| {
        dump.deliveries.clear();
        lines.retain(|line| !is_webhook(line));
    });
}

#[test]
fn i4_a_job_has_two_terminal_events() {
    planted(Invariant::I4, |_, dump| {
        let twin = DumpDelivery { id: "dlv_2".into(), event: "evt_2".into(), ..dump.deliveries[0].clone() };
        dump.deliveries.push(twin);
    });
}

#[test]
fn i4_an_event_tells_another_end() {
    planted(Invariant::I4, |_, dump| dump.jobs[0].status = "failed".into());
}

#[test]
fn i4_a_dead_letter_has_no_reason() {
    planted(Invariant::I4, |_, dump| dump.deliveries[0].status = "failed".into());
}

#[test]
fn i4_a_delivery_never_ends() {
    planted(Invariant::I4, |_, dump| dump.deliveries[0].status = "pending".into());
}

#[test]
fn i5_a_delivery_succeeded_without_a_2xx() {
    planted(Invariant::I5, |lines, _| {
        for line in lines {
            if let Event::Webhook { answer, .. } = &mut line.event {
                *answer = Some(500);
            }
        }
    });
}

#[test]
fn i5_a_delivery_gave_up_too_early() {
    planted(Invariant::I5, |_, dump| {
        (dump.deliveries[0].status, dump.deliveries[0].reason) = ("failed".into(), Some("exhausted".into()));
    });
}

#[test]
fn i5_a_delivery_is_gone_and_nobody_said_so() {
    planted(Invariant::I5, |_, dump| {
        (dump.deliveries[0].status, dump.deliveries[0].reason) = ("failed".into(), Some("gone".into()));
    });
}

#[test]
fn i6_the_bytes_differ_between_attempts() {
    planted(Invariant::I6, |lines, _| {
        let last = lines.iter_mut().rfind(|line| is_webhook(line)).unwrap();
        *last = webhook(r#"{"type": "job.succeeded"}"#, last.at, Some(200));
    });
}

#[test]
fn i6_an_attempt_bears_another_webhook_id() {
    planted(Invariant::I6, |lines, _| {
        let last = lines.iter_mut().rfind(|line| is_webhook(line)).unwrap();
        if let Event::Webhook { headers, .. } = &mut last.event {
            headers[0].1 = "evt_2".into();
        }
    });
}

#[test]
fn i6_a_signature_is_wrong() {
    planted(Invariant::I6, |lines, _| {
        let last = lines.iter_mut().rfind(|line| is_webhook(line)).unwrap();
        if let Event::Webhook { headers, .. } = &mut last.event {
            headers[2].1 = "v1,AAAA".into();
        }
    });
}

#[test]
fn i6_a_header_comes_twice() {
    planted(Invariant::I6, |lines, _| {
        let last = lines.iter_mut().rfind(|line| is_webhook(line)).unwrap();
        if let Event::Webhook { headers, .. } = &mut last.event {
            let again = ("Webhook-Id".to_owned(), headers[0].1.clone());
            headers.push(again);
        }
    });
}

#[test]
fn i7_a_number_is_left_out() {
    planted(Invariant::I7, |_, dump| dump.deliveries[0].attempts[1].number = 4);
}

#[test]
fn i7_a_request_has_no_recorded_attempt() {
    planted(Invariant::I7, |_, dump| {
        dump.deliveries[0].attempts.remove(1);
        dump.deliveries[0].attempts[1].number = 2;
    });
}

#[test]
fn i7_a_start_was_not_counted() {
    planted(Invariant::I7, |_, dump| dump.jobs[0].attempt = 2);
}

#[test]
fn i7_an_attempt_was_started_twice() {
    planted(Invariant::I7, |lines, _| {
        let again = Event::Work { job: "job_1".into(), attempt: 3, answer: Some(200) };
        lines.push(Line { at: 4_500_000, event: again });
    });
}

#[test]
fn i8_a_webhook_comes_again_after_a_2xx() {
    planted(Invariant::I8, |lines, dump| {
        let again = webhook(&dump.deliveries[0].body, 31_000_000, Some(200));
        lines.push(again);
    });
}

#[test]
fn i8_work_is_run_again_after_it_succeeded() {
    planted(Invariant::I8, |lines, _| lines.retain(|line| line.event != Event::Killed));
}

#[test]
fn i9_a_dead_attempt_gave_the_result() {
    planted(Invariant::I9, |_, dump| dump.jobs[0].result = json!({ "key": "a", "attempt": 2 }));
}

#[test]
fn i11_a_result_has_changed() {
    planted(Invariant::I11, |_, dump| dump.jobs[0].result = json!({ "key": "b", "attempt": 3 }));
}

#[test]
fn i11_a_terminal_state_is_left() {
    planted(Invariant::I11, |lines, _| {
        let seen = lines.iter().find_map(|line| match &line.event {
            Event::SeenJob { job } if job.status == "running" => Some(job.clone()),
            _ => None,
        });
        let job = DumpJob { attempt: 3, ..seen.unwrap() };
        lines.push(Line { at: 9_500_000, event: Event::SeenJob { job } });
    });
}

#[test]
fn i11_an_attempt_vanishes() {
    planted(Invariant::I11, |lines, dump| {
        lines.retain(|line| !is_webhook(line));
        dump.deliveries[0].attempts.remove(0);
    });
}

#[test]
fn i11_a_delivery_comes_back_from_the_dead() {
    planted(Invariant::I11, |lines, dump| {
        let mut delivery = dump.deliveries[0].clone();
        (delivery.status, delivery.reason) = ("failed".into(), Some("exhausted".into()));
        lines.push(Line { at: 45_000_000, event: Event::SeenDelivery { delivery } });
    });
}
