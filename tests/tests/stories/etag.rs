//! Polling cheaply: ETag, 304, and waiting until something changes.

use std::time::Duration;

use ringback_tests::{Ringback, clock};

use super::sleep;

#[tokio::test]
async fn an_unchanged_job_is_304() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("30s")).await;
    api.job_is(&id, "running").await;
    let path = format!("/v1/jobs/{id}");
    let first = api.get(&path).await.expect(200);
    let etag = first.header("etag").unwrap().to_owned();
    assert!(etag.starts_with("W/\"") && etag.ends_with('"'), "{etag}");
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    assert!(first.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);

    let strong = etag.trim_start_matches("W/").to_owned();
    for matching in [etag.clone(), format!("\"other\", {etag}"), "*".to_owned(), strong] {
        let same = api.get_with(&path, &[("if-none-match", &matching)]).await.expect(304);
        assert!(same.body.is_empty());
        assert_eq!(same.header("etag"), Some(&*etag));
    }
    api.get_with(&path, &[("if-none-match", "W/\"other\"")]).await.expect(200);

    api.call(&format!("{path}/cancel")).await;
    let canceled = api.job_is(&id, "canceled").await;
    assert!(canceled["cancel_requested_at"].is_string());
    let ended = api.get_with(&path, &[("if-none-match", &etag)]).await.expect(200);
    assert_ne!(ended.header("etag"), Some(&*etag));
    assert_eq!(ended.header("retry-after"), None, "a terminal job needs no further poll");
}

#[tokio::test]
async fn with_if_none_match_a_wait_holds_until_the_job_changes() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("30s")).await;
    api.job_is(&id, "running").await;
    let path = format!("/v1/jobs/{id}");
    let etag = api.get(&path).await.header("etag").unwrap().to_owned();

    let start = clock::now();
    api.get_with(&format!("{path}?wait=1"), &[("if-none-match", &etag)]).await.expect(304);
    assert!(start.elapsed() >= Duration::from_millis(950));

    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        api.call(&format!("{path}/cancel")).await
    };
    let headers = [("if-none-match", &*etag)];
    let waiting = format!("{path}?wait=20");
    let start = clock::now();
    let (changed, _) = tokio::join!(api.get_with(&waiting, &headers), cancel);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(changed.expect(200).json()["cancel_requested_at"].is_string());
}
