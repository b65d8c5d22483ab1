//! Charts as SVG that is stretched to the width of the page: words and numbers stand beside it as text, so that they can be
//! read on a phone, and what a mark means is its title.

use std::fmt::Write as _;

use super::page::escaped;

/// A chart is so many units wide.
const WIDE: f64 = 1000.0;
/// No mark is narrower.
const LEAST: f64 = 1.5;

/// A scale from times to places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: u64,
    to: u64,
}

impl Axis {
    /// From the first time to the last.
    pub fn over(times: impl Iterator<Item = u64> + Clone) -> Axis {
        let (from, to) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        Axis { from, to: to.max(from.saturating_add(1)) }
    }

    pub fn ends(&self) -> [u64; 2] {
        [self.from, self.to]
    }

    fn place(&self, time: u64) -> f64 {
        let time = time.clamp(self.from, self.to);
        (time - self.from) as f64 / (self.to - self.from) as f64 * WIDE
    }
}

/// A mark from one time to another.
pub(super) struct Mark {
    pub from: u64,
    pub to: u64,
    /// What it is, which says how it looks.
    pub class: &'static str,
    /// Where it stands, from above, and how high it is.
    pub row: (u32, u32),
    pub title: String,
}

/// Marks on a line of time.
pub(super) fn marks(axis: Axis, height: u32, marks: impl Iterator<Item = Mark>) -> String {
    let mut svg = open(height);
    for Mark { from, to, class, row: (top, high), title } in marks {
        let (from, to) = (axis.place(from), axis.place(to));
        let wide = (to - from).max(LEAST);
        let from = from.min(WIDE - wide);
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top}\" width=\"{wide:.1}\" height=\"{high}\"><title>{}</title></rect>",
            escaped(&title)
        );
    }
    svg + "</svg>"
}

/// Bars side by side, each of parts on top of each other; `titles` tell what each is.
pub(super) fn bars<const N: usize>(bars: &[[u64; N]], titles: &[String]) -> String {
    const HIGH: f64 = 120.0;
    let most = bars.iter().map(|parts| parts.iter().copied().fold(0, u64::saturating_add)).max().unwrap_or(0).max(1);
    let step = WIDE / bars.len().max(1) as f64;
    let mut svg = open(HIGH as u32);
    for (number, (parts, title)) in bars.iter().zip(titles).enumerate() {
        let (x, mut y) = (number as f64 * step, HIGH);
        let _ = write!(svg, "<g><title>{}</title>", escaped(title));
        for (kind, part) in parts.iter().enumerate().filter(|(_, part)| **part > 0) {
            let high = *part as f64 / most as f64 * HIGH;
            y -= high;
            let wide = step * 0.85;
            let _ = write!(
                svg,
                "<rect class=\"k{kind}\" x=\"{x:.1}\" y=\"{y:.2}\" width=\"{wide:.1}\" height=\"{high:.2}\"/>"
            );
        }
        svg.push_str("</g>");
    }
    svg + "</svg>"
}

/// A line through values over time, from 0 up; broken where a value is not known.
pub(super) fn line(axis: Axis, points: impl Iterator<Item = (u64, Option<u64>)> + Clone) -> String {
    const HIGH: f64 = 60.0;
    let most = points.clone().filter_map(|(_, value)| value).max().unwrap_or(0).max(1);
    let mut path = String::new();
    let mut is_begun = false;
    for (time, value) in points {
        let Some(value) = value else {
            is_begun = false;
            continue;
        };
        let (x, y) = (axis.place(time), HIGH - value as f64 / most as f64 * (HIGH - 4.0) - 1.0);
        // A single point is a short line.
        let step = if is_begun { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h1") };
        path.push_str(&step);
        is_begun = true;
    }
    format!("{}<path class=\"grow\" d=\"{path}\"/></svg>", open(HIGH as u32))
}

fn open(height: u32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {WIDE} {height}\" height=\"{height}\" \
         preserveAspectRatio=\"none\">"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_on_the_line_and_can_be_seen() {
        let axis = Axis::over([1000, 2000].into_iter());
        let mark = |from, to| Mark { from, to, class: "kept", row: (0, 9), title: "<1>".into() };
        let svg = marks(axis, 9, [mark(1000, 1000), mark(2000, 2000), mark(0, 9000)].into_iter());
        for part in
            ["x=\"0.0\" y=\"0\" width=\"1.5\"", "x=\"998.5\" y=\"0\" width=\"1.5\"", "width=\"1000.0\"", "&lt;1&gt;"]
        {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }

    #[test]
    fn bars_are_as_high_as_their_sum_and_nothing_divides_by_nothing() {
        let svg = bars(&[[1, 3], [2, 0]], &["a".into(), "b".into()]);
        assert!(svg.contains("class=\"k1\" x=\"0.0\" y=\"0.00\" width=\"425.0\" height=\"90.00\""), "{svg}");
        assert!(!bars::<2>(&[], &[]).contains("NaN") && !bars(&[[0, 0]], &["".into()]).contains("NaN"));
        let none = line(Axis::over([].into_iter()), [(5, None), (9, Some(0))].into_iter());
        assert!(!none.contains("NaN") && none.contains("d=\"M1000.0 59.0h1\""), "{none}");
        assert!(!bars(&[[u64::MAX, u64::MAX]], &["".into()]).contains("inf"));
    }
}
