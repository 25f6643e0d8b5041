//! The calls of the server's description: a story that goes through all of them asserts that it does.

use std::collections::BTreeSet;

use http::Method;
use ringback_tests::Api;
use serde_json::Value;

/// Every call under `/v1`: its method and its path, as `GET /v1/jobs/{id}`.
pub(crate) async fn calls(api: &Api) -> BTreeSet<String> {
    let document: Value = api.get("/openapi.json").await.expect(200).json();
    let paths = document["paths"].as_object().expect("paths").iter();
    paths
        .filter(|(path, _)| path.starts_with("/v1/"))
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").keys().map(|name| name.to_uppercase());
            methods
                .filter(|name| ["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&&**name))
                .map(move |name| format!("{name} {path}"))
        })
        .collect()
}

/// Asserts that a story's list is all of them.
pub(crate) async fn assert_all(api: &Api, listed: impl IntoIterator<Item = (&Method, &str)>) {
    let listed: BTreeSet<_> = listed.into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    let described = calls(api).await;
    let missing: Vec<_> = described.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&described).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not in this story: {missing:?}; not served: {gone:?}");
}
