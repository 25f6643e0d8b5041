//! Entity tags and `If-None-Match` (RFC 9110 sections 8.8.3 and 13.1.2).

use http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};

/// An entity tag as it stands in a header, quotes included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ETag(String);

impl ETag {
    /// Same tag, same meaning.
    pub(crate) fn weak(opaque: &str) -> Self {
        Self(format!("W/\"{opaque}\""))
    }

    /// Same tag, same bytes.
    pub(crate) fn strong(opaque: &str) -> Self {
        Self(format!("\"{opaque}\""))
    }

    /// For the `ETag` header.
    pub(crate) fn header(&self) -> HeaderValue {
        // Opaque parts here are hexadecimal.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }

    fn opaque(&self) -> &str {
        self.0.strip_prefix("W/").unwrap_or(&self.0)
    }

    /// True if the client has what this tag stands for: by weak comparison, as `If-None-Match` asks, or `*`.
    pub(crate) fn is_held(&self, headers: &HeaderMap) -> bool {
        headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|list| list.trim() == "*" || tags(list).any(|tag| tag == self.opaque()))
    }
}

/// The opaque tags of a list, quotes included. A comma inside of quotes belongs to the tag.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let open = rest.find('"')?;
        let close = open + 1 + rest[open + 1..].find('"')?;
        let tag = &rest[open..=close];
        rest = &rest[close + 1..];
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_weakly_against_lists() {
        for (tag, headers, held) in [
            (ETag::weak("a"), &["W/\"a\""][..], true),
            (ETag::weak("a"), &["\"a\""], true),
            (ETag::strong("a"), &["W/\"a\""], true),
            (ETag::weak("a"), &["\"b\", W/\"a\""], true),
            (ETag::weak("a"), &["\"b\",\"c\""], false),
            (ETag::weak("a"), &["\"b\"", "\"a\""], true),
            (ETag::weak("a"), &["*"], true),
            (ETag::weak("a"), &[" * "], true),
            (ETag::weak("a"), &["\"x,y\", \"a\""], true),
            (ETag::weak("a"), &["\"x, \"a\""], false),
            (ETag::weak("a"), &["a"], false),
            (ETag::weak("a"), &["\""], false),
            (ETag::weak("a"), &[""], false),
            (ETag::weak("a"), &[], false),
        ] {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(IF_NONE_MATCH, value.parse().unwrap());
            }
            assert_eq!(tag.is_held(&map), held, "{tag:?} {headers:?}");
        }
    }
}
