//! A drawing of what the healthy waited for, second by second, as an SVG of plain lines and text.

use std::fmt::Write;

use crate::measure::fairness::Fairness;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const GAP: f64 = 56.0;
const LEFT: f64 = 52.0;

/// Milliseconds at the foot and the head of each panel: logarithmic.
const RANGE: (f64, f64) = (0.1, 10_000.0);

/// One panel a run, one under the other.
pub(crate) fn fairness(runs: &[Fairness]) -> String {
    let height = runs.len() as f64 * (HEIGHT + GAP) + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        WIDTH + LEFT + 90.0
    );
    for (row, run) in runs.iter().enumerate() {
        panel(&mut svg, run, row as f64 * (HEIGHT + GAP) + 28.0);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, run: &Fairness, top: f64) {
    let (quiet, troubled) = (&run.quiet.seconds, &run.troubled.seconds);
    let count = (quiet.len() + troubled.len()).max(2);
    let x = |n: usize| LEFT + WIDTH * n as f64 / (count - 1) as f64;
    let y = |ms: f64| {
        let share = (ms.clamp(RANGE.0, RANGE.1) / RANGE.0).log10() / (RANGE.1 / RANGE.0).log10();
        top + HEIGHT * (1.0 - share)
    };
    let begins = x(quiet.len());
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"bold\">{}</text>\n\
         <rect x=\"{begins:.1}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"#fbeeea\"/>",
        top - 8.0,
        run.trouble.name(),
        LEFT + WIDTH - begins,
    );
    for ms in [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"{1:.0}\" y=\"{2:.1}\" text-anchor=\"end\">{ms} ms</text>",
            y(ms),
            LEFT - 6.0,
            y(ms) + 4.0,
        );
    }
    for (which, name, color) in [(0, "p50", "#7a8ca8"), (1, "p99", "#1f4e9c")] {
        let points = quiet.iter().chain(troubled).enumerate();
        let points = points.map(|(n, second)| format!("{:.1},{:.1}", x(n), y(second[which])));
        let points = points.collect::<Vec<_>>().join(" ");
        let last = quiet.iter().chain(troubled).next_back().map_or(RANGE.0, |second| second[which]);
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" fill=\"{color}\">{name}</text>",
            LEFT + WIDTH + 6.0,
            y(last) + 4.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{0:.0}\">seconds; shaded: {1}. From the 202 to the receipt.</text>",
        top + HEIGHT + 16.0,
        run.trouble.name(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::fairness::{Half, Trouble},
        service::Engine,
    };

    #[test]
    fn draws_a_line_for_each_quantile() {
        let half = |ms: f64| Half {
            delivered_per_second: 1.0,
            wait_ms: [ms, ms],
            resident_mib: 1.0,
            missing: 0,
            seconds: vec![[ms, ms * 10.0]; 3],
        };
        let (quiet, troubled) = (half(1.0), half(0.0));
        let (trouble, engine) = (Trouble::One, Engine::Sqlite);
        let run = Fairness { trouble, engine, quiet, troubled, amount: 1, longest_attempt_ms: None };
        let svg = fairness(&[run.clone(), run]);
        assert_eq!(
            (svg.matches("<polyline").count(), svg.matches("one receiver hangs</text>").count()),
            (4, 2)
        );
        assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"));
    }
}
