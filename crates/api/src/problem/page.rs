//! The page behind a problem's `type`.

use std::fmt::Write;

use super::table::Kind;

/// A small HTML page. Everything in it is ours: nothing of the request is shown.
pub(crate) fn html(kind: &Kind) -> String {
    let mut page = String::with_capacity(2048);
    let status = kind.status.map_or_else(|| "error of a job".to_owned(), |status| format!("HTTP {status}"));
    let (slug, title) = (kind.slug, escape(kind.title));
    let (text, remedy) = (escape(kind.text), escape(kind.remedy));
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em;\
         color:CanvasText;background:Canvas;color-scheme:light dark}}code{{font-size:.9em}}</style>\n\
         <h1>{title}</h1>\n<p><code>{slug}</code> · {status}</p>\n<h2>What happened</h2>\n<p>{text}</p>\n\
         <h2>What to do</h2>\n<p>{remedy}</p>\n</html>\n"
    );
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::{super::table, *};

    #[test]
    fn says_what_it_is() {
        for kind in table::ANSWERS.iter().chain(table::OF_JOBS) {
            let page = html(kind);
            assert!(page.contains(&format!("<h1>{}</h1>", escape(kind.title))), "{page}");
            assert!(page.contains(kind.slug));
            assert!(page.contains(&escape(kind.text)) && page.contains(&escape(kind.remedy)), "{page}");
        }
    }
}
