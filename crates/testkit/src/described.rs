//! Holds what a server answered against its own description: no answer, header or member that the description does not
//! have, and none of another shape.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, Method};
use jsonschema::Validator;
use serde_json::{Value, json};

/// Headers that belong to HTTP itself, and the type, which stands elsewhere in a description.
const OF_HTTP: &[&str] =
    &["content-type", "content-length", "date", "connection", "transfer-encoding", "vary"];

/// What is answered where nothing is described: to a path or a method that nobody serves, and to a head that nobody reads.
const OF_NOTHING: &[u16] = &[400, 401, 404, 405, 408, 414, 431];

/// An OpenAPI document.
pub struct Description {
    document: Value,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

/// One request and what came back.
pub struct Exchange<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query.
    pub path: &'a str,
    /// Its body, if it was JSON.
    pub sent: Option<&'a Value>,
    /// The answer's status.
    pub status: u16,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a [u8],
}

impl Description {
    /// Reads it.
    ///
    /// # Panics
    /// If it is no JSON.
    pub fn new(text: &str) -> Self {
        let document = serde_json::from_str(text).expect("the description is JSON");
        Self { document, compiled: Mutex::default() }
    }

    /// The document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Every call: its path and its methods in capitals.
    pub fn calls(&self) -> BTreeMap<String, Vec<String>> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        paths
            .map(|(path, item)| (path.clone(), methods(item).map(|name| name.to_uppercase()).collect()))
            .collect()
    }

    /// What of this is not as described.
    pub fn judge(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let shown = format!("{} {} → {}", exchange.method, exchange.path, exchange.status);
        self.judged(exchange).map_err(|why| format!("{shown}: {why}"))
    }

    fn judged(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let Some(operation) = self.operation(exchange.method, exchange.path) else {
            // Beside the API there may be pages, and other servers.
            let beside = !exchange.path.starts_with("/v1");
            let fine = beside || OF_NOTHING.contains(&exchange.status);
            return if fine { Ok(()) } else { Err("the call is not described".into()) };
        };
        let status = exchange.status.to_string();
        let response = self.resolved(&operation["responses"][&status]);
        if response.is_null() {
            return Err("the status is not described".into());
        }
        self.headers(response, exchange.headers)?;
        if exchange.method != Method::HEAD {
            self.body(response, exchange)?;
        }
        let taken = (200..300).contains(&exchange.status);
        match exchange.sent.filter(|_| taken) {
            Some(sent) => {
                let body = self.resolved(&operation["requestBody"]);
                self.shape(&body["content"]["application/json"]["schema"], sent)
                    .map_err(|why| format!("the server took a body that is not described: {why}"))
            }
            None => Ok(()),
        }
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        // HEAD is answered like GET (RFC 9110 section 9.3.2).
        let name = if *method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
        let paths = self.document["paths"].as_object()?;
        let fitting = paths.iter().filter(|(template, _)| fits(template, path));
        // A path without a parameter goes before one with.
        let (_, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
        item.get(name)
    }

    fn headers(&self, response: &Value, headers: &HeaderMap) -> Result<(), String> {
        let described = response["headers"].as_object();
        for name in headers.keys().map(|name| name.as_str()).filter(|name| !is_of_http(name)) {
            let known = described.into_iter().flatten().any(|(known, _)| known.eq_ignore_ascii_case(name));
            if !known {
                return Err(format!("the header {name} is not described"));
            }
        }
        Ok(())
    }

    fn body(&self, response: &Value, exchange: &Exchange<'_>) -> Result<(), String> {
        let content_type = exchange.headers.get("content-type").and_then(|value| value.to_str().ok());
        let contents = response["content"].as_object().filter(|contents| !contents.is_empty());
        let Some(contents) = contents else {
            return if exchange.body.is_empty() { Ok(()) } else { Err("a body is not described".into()) };
        };
        let content_type = content_type.ok_or("it has no Content-Type")?;
        let Some(content) = contents.get(content_type).or_else(|| contents.get("*/*")) else {
            return Err(format!("the type {content_type} is not described"));
        };
        if !content_type.ends_with("json") || content["schema"].is_null() {
            return Ok(());
        }
        let body = serde_json::from_slice(exchange.body).map_err(|error| format!("its body: {error}"))?;
        self.shape(&content["schema"], &body)
    }

    /// The schema's rules, and no member that it does not have.
    fn shape(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let validator = self.compile(schema)?;
        let faults: Vec<_> =
            validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if !faults.is_empty() {
            return Err(format!("{}\n{body:#}", faults.join("\n")));
        }
        let mut unknown = Vec::new();
        self.unknown(&[schema], body, "", &mut unknown);
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("members that are not described: {}", unknown.join(", ")))
        }
    }

    fn compile(&self, schema: &Value) -> Result<Arc<Validator>, String> {
        let key = schema.to_string();
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = compiled.get(&key) {
            return Ok(Arc::clone(validator));
        }
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self.document["components"],
            "allOf": [schema],
        });
        let validator = Arc::new(jsonschema::validator_for(&whole).map_err(|error| error.to_string())?);
        compiled.insert(key, Arc::clone(&validator));
        Ok(validator)
    }

    /// Members of `body` that none of these schemas, which all may describe it, has.
    fn unknown(&self, schemas: &[&Value], body: &Value, at: &str, found: &mut Vec<String>) {
        let parts: Vec<&Value> = schemas.iter().flat_map(|schema| self.parts(schema)).collect();
        match body {
            Value::Object(members) => {
                let open = |part: &&Value| {
                    let objects = part.get("properties").is_some() || part["type"] == "null";
                    let more = part.get("additionalProperties");
                    more.map_or(!objects && part.get("type").is_none(), |more| *more != Value::Bool(false))
                };
                let is_open = parts.iter().any(open);
                for (name, value) in members {
                    let of_it: Vec<_> =
                        parts.iter().filter_map(|part| part["properties"].get(name)).collect();
                    if !of_it.is_empty() {
                        self.unknown(&of_it, value, &format!("{at}/{name}"), found);
                    } else if !is_open {
                        found.push(format!("{at}/{name}"));
                    }
                }
            }
            Value::Array(items) => {
                let of_it: Vec<_> = parts.iter().filter_map(|part| part.get("items")).collect();
                for (place, item) in items.iter().enumerate().filter(|_| !of_it.is_empty()) {
                    self.unknown(&of_it, item, &format!("{at}/{place}"), found);
                }
            }
            _ => {}
        }
    }

    /// A schema's own rules and those that it is put together from.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolved(schema);
        let within = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|of| schema[of].as_array()).flatten();
        let combined: Vec<_> = within.flat_map(|part| self.parts(part)).collect();
        // What only combines others says nothing of its own.
        if combined.is_empty() || schema.get("properties").is_some() {
            [schema].into_iter().chain(combined).collect()
        } else {
            combined
        }
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let reference = value.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        reference.map_or(value, |pointer| self.document.pointer(pointer).unwrap_or(&Value::Null))
    }
}

/// A browser's own affair, too, where the operator lets pages call.
fn is_of_http(name: &str) -> bool {
    OF_HTTP.contains(&name) || name.starts_with("access-control-")
}

fn methods(item: &Value) -> impl Iterator<Item = &str> {
    let names = item.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    names.filter(|name| ["get", "post", "put", "patch", "delete"].contains(name))
}

fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given))
                if wanted == given || (wanted.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(
        method: Method,
        path: &str,
        status: u16,
        header: &'static str,
        body: &Value,
    ) -> Result<(), String> {
        let document = json!({
            "paths": {"/jobs/{id}": {"get": {"responses": {
                "200": {
                    "headers": {"ETag": {}},
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
                },
                "404": {"content": {}},
            }}}},
            "components": {"schemas": {
                "Facts": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "any": {}}},
                "Job": {"allOf": [
                    {"$ref": "#/components/schemas/Facts"},
                    {"type": "object", "properties": {
                        "queue": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"at": {}}}]},
                    }},
                ]},
            }},
        });
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert(header, "x".parse().unwrap());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let exchange =
            Exchange { method: &method, path, sent: None, status, headers: &headers, body: body.as_bytes() };
        Description::new(&document.to_string()).judge(&exchange)
    }

    #[test]
    fn finds_what_is_not_described() {
        let fine = json!({"id": "a", "any": {"x": [1]}, "queue": null});
        for (path, status, header, body, wrong) in [
            ("/jobs/1", 200, "etag", &fine, None),
            ("/jobs/1", 404, "date", &Value::Null, None),
            ("/nothing", 404, "x-else", &Value::Null, None),
            ("/jobs/", 404, "date", &Value::Null, None),
            ("/nothing", 200, "date", &Value::Null, None),
            ("/v1/nothing", 200, "date", &Value::Null, Some("call")),
            ("/jobs/1", 202, "etag", &fine, Some("status")),
            ("/jobs/1", 200, "x-else", &fine, Some("header")),
            ("/jobs/1", 404, "date", &fine, Some("a body")),
            ("/jobs/1", 200, "etag", &json!({"id": 1}), Some("/id")),
            ("/jobs/1", 200, "etag", &json!({}), Some("id")),
            ("/jobs/1", 200, "etag", &json!({"id": "a", "else": 1}), Some("/else")),
            ("/jobs/1", 200, "etag", &json!({"id": "a", "queue": {"at": 1, "x": 1}}), Some("/queue/x")),
        ] {
            let judged = judge(Method::GET, path, status, header, body);
            match wrong {
                None => assert_eq!(judged, Ok(()), "{path}"),
                Some(wrong) => assert!(judged.as_ref().is_err_and(|why| why.contains(wrong)), "{judged:?}"),
            }
        }
        assert_eq!(judge(Method::HEAD, "/jobs/1", 200, "etag", &Value::Null), Ok(()));
    }
}
