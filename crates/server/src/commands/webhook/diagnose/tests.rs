use super::{super::TOLERANCE, *};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OURS: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PAIR: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const ID: &str = "evt_01kaqd";
const SENT: i64 = 1_763_899_200;
const BODY: &str = r#"{"type":"job.succeeded","data":{"price":1.10,"name":"é"}}"#;

fn judged(
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &str,
    secret: &str,
    now: i64,
) -> Result<(), Fault> {
    let by = read_verifier(secret)?;
    let received = Received { id, timestamp, signatures, body: body.as_bytes() };
    judge(received, &[by], now, TOLERANCE)
}

#[test]
fn names_the_first_step_that_fails() {
    let secret = Secret::parse(OURS).unwrap();
    let good = signature::sign(ID, SENT, BODY.as_bytes(), &[&secret]);
    let url_safe = good.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned();
    let key_is_text = Secret::parse(&format!("whsec_{}", BASE64_STANDARD.encode(OURS))).unwrap();
    let by_text = signature::sign(ID, SENT, BODY.as_bytes(), &[&key_is_text]);
    let by_pair = signature::sign(ID, SENT, BODY.as_bytes(), &[&read_secret(PAIR).unwrap()]);
    assert!(read_secret(PUBLIC).is_err(), "it signs nothing");
    let sent = SENT.to_string();
    let spaced = r#"{"type": "job.succeeded", "data": {"price": 1.10, "name": "\u00e9"}}"#;
    let newline = format!("{BODY}\n");
    for (id, timestamp, signatures, body, secret, now, expected) in [
        (ID, &*sent, &*good, BODY, OURS, SENT + 300, None),
        ("", &*sent, &good, BODY, OURS, SENT, Some((Step::Id, "empty"))),
        ("evt.1", &*sent, &good, BODY, OURS, SENT, Some((Step::Id, "dot"))),
        (ID, "soon", &good, BODY, OURS, SENT, Some((Step::Timestamp, "digits"))),
        (ID, "1763899200000", &good, BODY, OURS, SENT, Some((Step::Timestamp, "milliseconds"))),
        (ID, &*sent, &good, BODY, OURS, SENT + 3_600, Some((Step::Timestamp, "1h old, and 5m are allowed"))),
        (ID, &*sent, &good, BODY, OURS, SENT + 3_600, Some((Step::Timestamp, "All else is right"))),
        (ID, &*sent, &good, spaced, OURS, SENT + 3_600, Some((Step::Timestamp, "Besides: re-serialised"))),
        (ID, &*sent, &good, BODY, OURS, SENT - 3_600, Some((Step::Timestamp, "1h ahead"))),
        (ID, &*sent, &good, BODY, &OURS[6..], SENT, Some((Step::SecretPrefix, "lacks its prefix"))),
        (ID, &*sent, &good, BODY, "rbk_x", SENT, Some((Step::SecretPrefix, "API key"))),
        (ID, &*sent, &good, BODY, "whpk_AAAA", SENT, Some((Step::SecretBase64, "Ed25519"))),
        (ID, &*sent, &good, BODY, PUBLIC, SENT, Some((Step::SignatureVersion, "v1a"))),
        (ID, &*sent, &by_pair, BODY, PUBLIC, SENT, None),
        (ID, &*sent, &by_pair, BODY, PAIR, SENT, None),
        (ID, &*sent, &by_pair, BODY, OURS, SENT, Some((Step::SignatureVersion, "asymmetric"))),
        (ID, &*sent, &by_pair, spaced, PUBLIC, SENT, Some((Step::Body, "re-serialised"))),
        (ID, &*sent, "v1a,AAAA", BODY, PUBLIC, SENT, Some((Step::SignatureBase64, "64 bytes"))),
        (ID, &*sent, &good, BODY, "hunter2", SENT, Some((Step::SecretPrefix, "starts with whsec_"))),
        (ID, &*sent, &good, BODY, &format!("{OURS}\n"), SENT, Some((Step::SecretPrefix, "white space"))),
        (
            ID,
            &*sent,
            &good,
            BODY,
            OURS.trim_end_matches('='),
            SENT,
            Some((Step::SecretBase64, "padding (=) is missing")),
        ),
        (ID, &*sent, &good, BODY, "whsec_-_-_", SENT, Some((Step::SecretBase64, "URL-safe"))),
        (ID, &*sent, &good, BODY, "whsec_AAAA", SENT, Some((Step::SecretBase64, "24 to 64 bytes"))),
        (ID, &*sent, &by_text, BODY, OURS, SENT, Some((Step::SecretBase64, "secret's text"))),
        (ID, &*sent, "", BODY, OURS, SENT, Some((Step::SignatureVersion, "empty"))),
        (ID, &*sent, "v1a,x", BODY, OURS, SENT, Some((Step::SignatureVersion, "asymmetric"))),
        (ID, &*sent, &good[3..], BODY, OURS, SENT, Some((Step::SignatureVersion, "`v1,`"))),
        (ID, &*sent, "v1,????", BODY, OURS, SENT, Some((Step::SignatureBase64, "wrong or missing"))),
        (ID, &*sent, "v1,AAAA", BODY, OURS, SENT, Some((Step::SignatureBase64, "32 bytes"))),
        (ID, &*sent, &url_safe, BODY, OURS, SENT, Some((Step::SignatureBase64, "URL-safe"))),
        (
            ID,
            &*sent,
            &format!("v1,{}", "ab".repeat(32)),
            BODY,
            OURS,
            SENT,
            Some((Step::SignatureBase64, "48")),
        ),
        (ID, &*sent, &good, spaced, OURS, SENT, Some((Step::Body, "without white space"))),
        (ID, &*sent, &good, &newline, OURS, SENT, Some((Step::Body, "without the line break"))),
        (ID, &*sent, &good, BODY, SECRET, SENT, Some((Step::Signature, "another secret"))),
        (ID, &*sent, &good, "{}", OURS, SENT, Some((Step::Signature, "another secret"))),
    ] {
        let found = judged(id, timestamp, signatures, body, secret, now).err();
        let shown = format!("{found:?}, wanted {expected:?}");
        match (found, expected) {
            (None, None) => {}
            (Some(fault), Some((step, part))) => {
                assert!(fault.step == step && fault.detail.contains(part), "{shown}")
            }
            _ => panic!("{shown}"),
        }
    }
}

#[test]
fn a_secret_is_never_shown() {
    for text in ["whsec_hunter2", "hunter2", "whsec_aHVudGVyMg==", "rbk_hunter2", " whsec_hunter2"] {
        let fault = read_secret(text).unwrap_err();
        assert!(!fault.detail.contains("hunter2") && !fault.detail.contains("aHVudGVyMg"), "{fault:?}");
    }
}

#[test]
fn steps_are_in_their_order() {
    assert!(Step::ALL.is_sorted());
}
