//! Query parameters: each known, each once.

use std::{borrow::Cow, str::FromStr};

use http::Uri;
use url::form_urlencoded;

use crate::{
    cursor::{self, Mark},
    prefer::Wait,
    problem::{Faults, Problem},
};

/// The most that a list shows at once, and what it shows when nothing is said.
const MOST: u32 = 100;
const DEFAULT: u32 = 50;

/// The parameters of one request, and what is wrong with them.
pub(crate) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    faults: Faults,
}

impl<'a> Query<'a> {
    /// Reads the query of `uri`, whose parameters are among `known`.
    pub(crate) fn read(uri: &'a Uri, known: &[&str]) -> Self {
        let mut query = Self { pairs: Vec::new(), faults: Faults::default() };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                query.faults.add_parameter(&name, "unknown query parameter");
            } else if query.pairs.iter().any(|(before, _)| *before == name) {
                query.faults.add_parameter(&name, "given more than once");
            } else {
                query.pairs.push((name, value));
            }
        }
        query
    }

    /// For calls that have none.
    pub(crate) fn none(uri: &Uri) -> Result<(), Problem> {
        if uri.query().is_none() { Ok(()) } else { Query::read(uri, &[]).finish() }
    }

    /// A parameter as it is.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }

    /// A parameter, read by `read`; `must` says what it has to be.
    pub(crate) fn with<T>(
        &mut self,
        name: &str,
        must: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let read = self.text(name).map(read)?;
        if read.is_none() {
            self.faults.add_parameter(name, must);
        }
        read
    }

    /// A parameter of a type that says itself what its text has to be.
    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, name: &str) -> Option<T> {
        match self.text(name)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.to_string();
                self.faults.add_parameter(name, error);
                None
            }
        }
    }

    /// A parameter that can be read and names nothing.
    pub(crate) fn fault(&mut self, name: &str, detail: &str) {
        self.faults.add_parameter(name, detail);
    }

    /// `limit`.
    pub(crate) fn limit(&mut self) -> u32 {
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        self.with("limit", "a whole number, 1 to 100", read).unwrap_or(DEFAULT)
    }

    /// `cursor`.
    pub(crate) fn cursor<M: Mark>(&mut self) -> Option<M> {
        self.with("cursor", "not a next_cursor of this list", cursor::read)
    }

    /// `wait`.
    pub(crate) fn wait(&mut self) -> Option<Wait> {
        self.with("wait", "a whole number of seconds", Wait::parse).flatten()
    }

    /// Everything that was wrong.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        self.faults.finish()
    }
}
