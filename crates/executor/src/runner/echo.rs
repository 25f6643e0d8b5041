//! `echo`: returns the input as it was written.

use std::sync::Arc;

use super::{JSON, Ran};

pub(crate) fn run(input: &Arc<str>) -> Ran {
    Ran::Done { content_type: JSON.into(), bytes: Arc::from(input.clone()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn number_tokens_stay() {
        assert_eq!(
            super::run(&r#"{"price": 1.10}"#.into()).line(),
            r#"done application/json {"price": 1.10}"#
        );
    }
}
