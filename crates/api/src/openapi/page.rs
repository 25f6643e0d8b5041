//! The description as a page for people: every call, its parameters, its body, its answers, and the shapes they have.
//!
//! Plain HTML without a script: it needs nothing from elsewhere, runs nothing in the server's origin, and is searched
//! with the browser's own search.

use std::fmt::Write;

use serde_json::{Map, Value};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;\
    color:CanvasText;background:Canvas;color-scheme:light dark}h2{border-bottom:1px solid;margin-top:2em}\
    code,pre{font-size:.9em}pre{overflow:auto;padding:.5em;border:1px solid GrayText}table{border-collapse:collapse}\
    td{padding:.1em 1em .1em 0;vertical-align:top}summary{cursor:pointer}details{margin:.5em 0 .5em 1em}\
    .method{font-weight:bold}.says{margin:0 0 0 1em}nav a{margin-right:1em}";

/// The page of a document.
pub(super) fn html(document: &Value) -> String {
    let mut page = Page(String::with_capacity(64 * 1024));
    let info = &document["info"];
    page.add(format_args!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <h1>{0} {1}</h1>\n<p>{2}</p>\n<nav>",
        Text(&info["title"]),
        Text(&info["version"]),
        Text(&info["description"])
    ));
    let tags: Vec<&Value> = document["tags"].as_array().into_iter().flatten().collect();
    for tag in &tags {
        page.add(format_args!("<a href=\"#{0}\">{0}</a>", Text(&tag["name"])));
    }
    page.add(format_args!(
        "<a href=\"#webhooks\">webhooks</a><a href=\"#shapes\">shapes</a><a href=\"/openapi.json\">openapi.json</a></nav>\n"
    ));
    for tag in tags {
        page.add(format_args!(
            "<h2 id=\"{0}\">{0}</h2>\n<p>{1}</p>\n",
            Text(&tag["name"]),
            Text(&tag["description"])
        ));
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                if operation["tags"][0] == tag["name"] {
                    page.call(&method.to_uppercase(), path, operation);
                }
            }
        }
    }
    page.add(format_args!(
        "<h2 id=\"webhooks\">webhooks</h2>\n<p>What we send to a callback's URL, signed.</p>\n"
    ));
    for (event, item) in members(&document["webhooks"]) {
        page.call("POST", event, &item["post"]);
    }
    page.add(format_args!("<h2 id=\"shapes\">shapes</h2>\n"));
    for (name, schema) in members(&document["components"]["schemas"]) {
        page.shape(name, schema);
    }
    page.add(format_args!("</html>\n"));
    page.0
}

struct Page(String);

impl Page {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(text);
    }

    fn call(&mut self, method: &str, path: &str, operation: &Value) {
        self.add(format_args!(
            "<details id=\"{}\"><summary><span class=\"method\">{method}</span> <code>{}</code> — {}</summary>\n",
            Text(&operation["operationId"]),
            Escaped(path),
            Text(&operation["summary"])
        ));
        if operation["description"].is_string() {
            self.add(format_args!("<p>{}</p>\n", Text(&operation["description"])));
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let mut rows = parameters.peekable();
        if rows.peek().is_some() {
            self.add(format_args!("<table>\n"));
            for parameter in rows {
                self.add(format_args!(
                    "<tr><td><code>{}</code><td>{}<td>{}<td>{}\n",
                    Text(&parameter["name"]),
                    Text(&parameter["in"]),
                    Kind(&parameter["schema"]),
                    Text(&parameter["description"])
                ));
            }
            self.add(format_args!("</table>\n"));
        }
        for (content_type, content) in members(&operation["requestBody"]["content"]) {
            self.add(format_args!(
                "<p>Body: <code>{}</code>, {}</p>\n",
                Escaped(content_type),
                Kind(&content["schema"])
            ));
        }
        self.add(format_args!("<table>\n"));
        for (status, response) in
            members(&operation["responses"]).filter(|(_, response)| response["$ref"].is_null())
        {
            self.answer(status, response);
        }
        self.add(format_args!("</table>\n"));
        let problems = operation["x-problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut problems = problems.peekable();
        if problems.peek().is_some() {
            self.add(format_args!("<p>Problems:"));
            for slug in problems {
                self.add(format_args!(" <a href=\"/problems/{slug}\">{slug}</a>"));
            }
            self.add(format_args!("</p>\n"));
        }
        self.add(format_args!("</details>\n"));
    }

    fn answer(&mut self, status: &str, response: &Value) {
        let contents = &response["content"];
        // Problems are listed below, each with its page.
        if contents.get("application/problem+json").is_some() {
            return;
        }
        self.add(format_args!("<tr><td>{}<td>{}<td>", Escaped(status), Text(&response["description"])));
        for (content_type, content) in members(contents) {
            self.add(format_args!("<code>{}</code> {} ", Escaped(content_type), Kind(&content["schema"])));
        }
        self.add(format_args!("<td>"));
        for (header, _) in
            members(&response["headers"]).filter(|(header, _)| *header != "ringback-request-id")
        {
            self.add(format_args!("<code>{}</code> ", Escaped(header)));
        }
        self.add(format_args!("\n"));
    }

    fn shape(&mut self, name: &str, schema: &Value) {
        self.add(format_args!(
            "<details id=\"{0}\"><summary><code>{0}</code> {1}</summary>\n<p>{2}</p>\n",
            Escaped(name),
            Kind(schema),
            Text(&schema["description"])
        ));
        self.members_of(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.add(format_args!("<p>with {}</p>\n", Kind(part)));
            self.members_of(part);
        }
        let examples = schema["examples"].as_array().into_iter().flatten();
        for example in examples.chain(schema.get("example")) {
            self.add(format_args!("<pre>{}</pre>\n", Escaped(&format!("{example:#}"))));
        }
        self.add(format_args!("</details>\n"));
    }

    fn members_of(&mut self, schema: &Value) {
        let required = schema["required"].as_array();
        let mut rows = members(&schema["properties"]).peekable();
        if rows.peek().is_none() {
            return;
        }
        self.add(format_args!("<table>\n"));
        for (name, member) in rows {
            let must = required.into_iter().flatten().any(|one| one.as_str() == Some(name));
            self.add(format_args!(
                "<tr><td><code>{}</code><td>{}<td>{}<td>{}\n",
                Escaped(name),
                Kind(member),
                if must { "always" } else { "" },
                Text(&member["description"])
            ));
        }
        self.add(format_args!("</table>\n"));
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

/// What a schema is, in a few words, with links.
struct Kind<'a>(&'a Value);

impl std::fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let schema = self.0;
        if let Some(name) =
            schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/components/schemas/"))
        {
            return write!(f, "<a href=\"#{0}\">{0}</a>", Escaped(name));
        }
        for either in ["oneOf", "anyOf"] {
            for (place, one) in schema[either].as_array().into_iter().flatten().enumerate() {
                write!(f, "{}{}", if place == 0 { "" } else { " or " }, Kind(one))?;
            }
        }
        if let Some(words) = schema["enum"].as_array() {
            let words: Vec<_> = words.iter().map(|word| word.to_string()).collect();
            return write!(f, "{}", Escaped(&words.join(" ")));
        }
        match &schema["type"] {
            Value::String(name) if name == "array" => write!(f, "list of {}", Kind(&schema["items"])),
            Value::String(name) => write!(f, "{}", Escaped(name)),
            Value::Array(names) => {
                let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
                write!(f, "{}", Escaped(&names.join(" or ")))
            }
            _ => Ok(()),
        }
    }
}

/// A JSON string as text of a page; anything else is nothing.
struct Text<'a>(&'a Value);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Escaped(self.0.as_str().unwrap_or_default()).fmt(f)
    }
}

struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let escaped = self.0.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        f.write_str(&escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_call_event_and_shape() {
        let document: Value = serde_json::from_str(&crate::openapi("")).unwrap();
        let page = html(&document);
        for (path, item) in members(&document["paths"]) {
            for (_, operation) in members(item) {
                assert!(
                    page.contains(&format!("<details id=\"{}\">", Text(&operation["operationId"]))),
                    "{path}"
                );
            }
        }
        for (name, _) in members(&document["components"]["schemas"]) {
            assert!(page.contains(&format!("<details id=\"{name}\">")), "{name}");
        }
        assert!(page.contains("job.succeeded") && !page.contains("<script"));
    }

    #[test]
    fn what_is_shown_cannot_be_markup() {
        assert_eq!(Escaped("<a href=\"x\">&").to_string(), "&lt;a href=&quot;x&quot;>&amp;");
    }
}
