//! `ringback endpoint create` and `update`: the options bear the names of the fields.

use clap::Args;
use domain::duration::Span;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{One, table};
use crate::commands::{
    argument,
    client::{Call, Connection},
    failure::Failure,
    output::{self, Document, Output},
};

/// What an endpoint is registered with.
#[derive(Args)]
pub(crate) struct Create {
    /// Where its webhooks go.
    #[arg(value_name = "URL")]
    target: String,
    #[command(flatten)]
    settings: Settings,
    /// The secret that signs, or @FILE; one is made if not given.
    #[arg(long, hide_env_values = true, value_name = "whsec_…|@FILE")]
    secret: Option<String>,
    /// How it is signed, for good: hmac or ed25519; hmac if not given.
    #[arg(long)]
    signature: Option<String>,
    /// Print the endpoint's id alone.
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

/// What to change.
#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    one: One,
    /// Where its webhooks go from now on.
    #[arg(value_name = "URL")]
    target: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Make this field what it is by default; may be given again.
    #[arg(long, value_name = "FIELD", value_parser = Settings::FIELDS)]
    reset: Vec<String>,
}

/// What its owner may set at any time.
#[derive(Args, Serialize)]
struct Settings {
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// The event types that it hears of, with commas: job.failed,batch.completed; '*' for all, '' for none.
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',')]
    events: Option<Vec<String>>,
    /// Only events of these tasks, with commas.
    #[arg(long, value_name = "TASK,…", value_delimiter = ',')]
    tasks: Option<Vec<String>>,
    /// Sent with every request: an object, better in a file, since other users of this machine see the command line.
    #[arg(long, value_name = "JSON|@FILE")]
    headers: Option<String>,
    /// When to try again: {"schedule": ["5s", "5m"], "jitter": 0.2}, or the other form.
    #[arg(long, value_name = "JSON|@FILE")]
    retry: Option<String>,
    /// How long one attempt may take.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// No faster than this, such as 100/1s.
    #[arg(long, value_name = "RATE")]
    rate_limit: Option<String>,
    /// At most so many requests at once.
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u32>,
    /// One at a time, by their numbers.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ordered: Option<bool>,
}

impl Settings {
    const FIELDS: [&str; 9] = [
        "description",
        "events",
        "tasks",
        "headers",
        "retry",
        "timeout",
        "rate_limit",
        "max_in_flight",
        "ordered",
    ];

    /// What was given, as the fields of a body.
    fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let strange = |error: serde_json::Error| Failure::usage(error.to_string());
        let Value::Object(mut fields) = serde_json::to_value(self).map_err(strange)? else {
            return Ok(Map::new());
        };
        fields.retain(|_, value| !value.is_null());
        for list in fields.values_mut().filter_map(Value::as_array_mut) {
            // '' is a list of nothing.
            list.retain(|item| item != "");
        }
        for (name, option) in [("headers", "--headers"), ("retry", "--retry")] {
            if let Some(Value::String(text)) = fields.get(name) {
                let json = argument::json(option, text)?;
                fields.insert(name.into(), serde_json::from_str(json.get()).map_err(strange)?);
            }
        }
        Ok(fields)
    }
}

impl Create {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let call = Call::post("/v1/endpoints").json(Value::Object(self.fields()?).to_string());
        let answer = self.connection.client()?.call(&call).await?;
        if self.quiet {
            return output::line(&Document::read(answer.text()?)?.cell("id"));
        }
        self.output.object(answer.text()?, table)?;
        output::progress("`ringback endpoint secret` shows the secret again.");
        Ok(())
    }

    fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let mut fields = self.settings.fields()?;
        fields.insert("url".into(), self.target.as_str().into());
        if let Some(secret) = &self.secret {
            let secret = argument::bytes("--secret", secret)?;
            fields.insert("secret".into(), String::from_utf8_lossy(&secret).trim().into());
        }
        fields.extend(self.signature.as_deref().map(|signature| ("signature".into(), signature.into())));
        Ok(fields)
    }
}

impl Update {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        self.one.change(&Value::Object(self.fields()?)).await
    }

    /// A merge patch (RFC 7396): `null` is the default.
    fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let mut fields = self.settings.fields()?;
        fields.extend(self.target.as_deref().map(|url| ("url".into(), url.into())));
        for field in &self.reset {
            if fields.insert(field.clone(), Value::Null).is_some_and(|given| !given.is_null()) {
                return Err(Failure::usage(format!("{field} is given and reset: say one of them")));
            }
        }
        if fields.is_empty() {
            return Err(Failure::usage("nothing to change. Give a URL, an option, or --reset FIELD"));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Creates {
        #[command(flatten)]
        create: Create,
    }

    #[derive(Parser)]
    struct Updates {
        #[command(flatten)]
        update: Update,
    }

    fn words<'a>(line: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        std::iter::once("x").chain(line.iter().copied())
    }

    fn create(line: &[&str]) -> Option<String> {
        let fields = Creates::try_parse_from(words(line)).ok()?.create.fields().ok()?;
        Some(Value::Object(fields).to_string())
    }

    fn update(line: &[&str]) -> Option<String> {
        let fields = Updates::try_parse_from(words(line)).ok()?.update.fields().ok()?;
        Some(Value::Object(fields).to_string())
    }

    #[test]
    fn options_are_the_fields() {
        for (line, expected) in [
            (&["https://a.example/"][..], r#"{"url":"https://a.example/"}"#),
            (
                &["u", "--events", "job.failed,job.canceled", "--tasks", "report"],
                r#"{"events":["job.failed","job.canceled"],"tasks":["report"],"url":"u"}"#,
            ),
            (&["u", "--events", "*"], r#"{"events":["*"],"url":"u"}"#),
            (&["u", "--events", ""], r#"{"events":[],"url":"u"}"#),
            (
                &["u", "--headers", r#"{"x-team":"a"}"#, "--retry", r#"{"schedule":["5s"]}"#],
                r#"{"headers":{"x-team":"a"},"retry":{"schedule":["5s"]},"url":"u"}"#,
            ),
            (
                &["u", "--timeout", "90s", "--rate-limit", "100/1s", "--max-in-flight", "4", "--ordered"],
                r#"{"max_in_flight":4,"ordered":true,"rate_limit":"100/1s","timeout":"90s","url":"u"}"#,
            ),
            (
                &["u", "--secret", "whsec_AAAA", "--signature", "ed25519"],
                r#"{"secret":"whsec_AAAA","signature":"ed25519","url":"u"}"#,
            ),
        ] {
            let sorted = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let made = create(line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!(sorted(&made), sorted(expected), "{line:?}");
        }
        for line in
            [&[][..], &["u", "--retry", "often"], &["u", "--ordered=maybe"], &["u", "-q", "-o", "json"]]
        {
            assert_eq!(create(line), None, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_given_stays() {
        for (line, expected) in [
            (&["ep_1", "https://b.example/"][..], Some(r#"{"url":"https://b.example/"}"#)),
            (&["ep_1", "--ordered=false"], Some(r#"{"ordered":false}"#)),
            (&["ep_1", "--reset", "timeout", "--reset", "timeout"], Some(r#"{"timeout":null}"#)),
            (&["ep_1", "--timeout", "5s", "--reset", "timeout"], None),
            (&["ep_1", "--reset", "url"], None),
            (&["ep_1"], None),
        ] {
            assert_eq!(update(line).as_deref(), expected, "{line:?}");
        }
    }
}
