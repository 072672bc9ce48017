//! Plots as SVG.

use std::fmt::{self, Write};

use limiter_core::Timestamp;

use super::{
    html::{Escaped, grouped},
    timeline::{Timeline, round_width},
    utc::{self, DAY, MINUTE, SECOND},
};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
/// Where the plot's own area begins and ends.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 44.0;

/// Stacked columns over time.
pub(crate) struct OverTime<'a> {
    pub(crate) title: &'a str,
    pub(crate) timeline: Timeline,
    /// From the bottom up.
    pub(crate) series: Vec<Series>,
    /// The highest column there is room for.
    pub(crate) most: u64,
}

pub(crate) struct Series {
    /// Its name, and the class that gives it a colour.
    pub(crate) name: &'static str,
    pub(crate) counts: Vec<u64>,
}

impl fmt::Display for OverTime<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = Escaped(self.title);
        f.write_str("<p class=\"legend\">")?;
        for Series { name, .. } in &self.series {
            write!(f, "<span><i class=\"{name}\"></i>{name}</span>")?;
        }
        write!(f, "</p>\n<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n")?;
        self.y_axis(f)?;
        self.x_axis(f)?;
        (0..self.timeline.cells).try_for_each(|cell| self.column(f, cell))?;
        f.write_str("</svg>\n")
    }
}

impl OverTime<'_> {
    fn y_axis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x, step) = (LEFT - 8.0, self.y_step());
        for count in (0..=self.y_end()).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let y = self.y(count);
            writeln!(f, "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>")?;
            let count = grouped(count);
            writeln!(f, "<text x=\"{x}\" y=\"{y:.1}\" dy=\"4\" text-anchor=\"end\">{count}</text>")?;
        }
        let (middle, width) = ((TOP + BOTTOM) / 2.0, utc::width(self.timeline.width));
        let place = format!("x=\"14\" y=\"{middle}\" transform=\"rotate(-90 14 {middle})\" text-anchor=\"middle\"");
        writeln!(f, "<text {place}>requests per {width}</text>")
    }

    fn x_axis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timeline { start, width, .. } = self.timeline;
        let step = round_width(self.timeline.end() - start, 8).max(width);
        let y = BOTTOM + 18.0;
        for at in (start.next_multiple_of(step)..self.timeline.end()).step_by(usize::try_from(step).unwrap_or(1)) {
            let (x, label) = (self.x(at), tick(at, step));
            writeln!(f, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{BOTTOM}\" y2=\"{}\"/>", BOTTOM + 5.0)?;
            writeln!(f, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>")?;
        }
        let (middle, y) = ((LEFT + RIGHT) / 2.0, HEIGHT - 6.0);
        let (first, last) = (utc::date(start), utc::date(self.timeline.end() - 1));
        let days = if first == last { first } else { format!("{first} to {last}") };
        writeln!(f, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">time (UTC), {days}</text>")
    }

    fn column(&self, f: &mut fmt::Formatter<'_>, cell: usize) -> fmt::Result {
        let counts = || self.series.iter().map(|series| (series.name, series.counts[cell]));
        if counts().all(|(_, count)| count == 0) {
            return Ok(());
        }
        let start = self.timeline.start + self.timeline.width * cell as u64;
        let (x, next) = (self.x(start), self.x(start + self.timeline.width));
        let width = (next - x - if next - x > 4.0 { 1.0 } else { 0.0 }).max(0.5);
        let when = utc::stamp(Timestamp::from_micros(start));
        let texts: Vec<_> = counts().map(|(name, count)| format!("{} {name}", grouped(count))).collect();
        write!(f, "<g><title>{when}: {}</title>", texts.join(", "))?;
        let mut below = 0;
        for (name, count) in counts().filter(|(_, count)| *count > 0) {
            let (y, bottom) = (self.y(below + count), self.y(below));
            let height = bottom - y;
            write!(
                f,
                "<rect class=\"{name}\" x=\"{x:.1}\" y=\"{y:.2}\" width=\"{width:.1}\" height=\"{height:.2}\"/>"
            )?;
            below += count;
        }
        f.write_str("</g>\n")
    }

    /// The step between the marks: 1, 2 or 5 times a power of ten, and at most five of them.
    fn y_step(&self) -> u64 {
        let powers = (0..19).map(|power| 10_u64.pow(power));
        let mut steps = powers.flat_map(|power| [1, 2, 5].map(|digit| power.saturating_mul(digit)));
        steps.find(|step| self.most.div_ceil(*step) <= 5).unwrap_or(u64::MAX)
    }

    fn y_end(&self) -> u64 {
        self.most.max(1).div_ceil(self.y_step()) * self.y_step()
    }

    fn y(&self, count: u64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * count as f64 / self.y_end() as f64
    }

    fn x(&self, at: u64) -> f64 {
        let Timeline { start, width, cells } = self.timeline;
        LEFT + (RIGHT - LEFT) * (at - start) as f64 / (width as f64 * cells as f64)
    }
}

/// The label of a mark at `at`, as fine as the steps between marks.
fn tick(at: u64, step: u64) -> String {
    match step {
        _ if step >= 300 * DAY => utc::date(at),
        _ if step >= DAY || at.is_multiple_of(DAY) => utc::day(at),
        _ if step >= MINUTE => utc::time(at)[..5].to_owned(),
        _ if step >= SECOND => utc::time(at),
        _ => format!("{}.{:03}", utc::time(at), at % SECOND / 1000),
    }
}

/// A bar of two parts, out of `most`.
pub(crate) fn bar(admitted: u64, denied: u64, most: u64) -> String {
    let of_most = |count: u64| if most == 0 { 0.0 } else { count as f64 * 100.0 / most as f64 };
    let (first, second) = (of_most(admitted), of_most(denied));
    let mut svg = String::from("<svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    for (class, x, width) in [("admitted", 0.0, first), ("denied", first, second)] {
        let _ = write!(svg, "<rect class=\"{class}\" x=\"{x:.2}\" width=\"{width:.2}\" height=\"10\"/>");
    }
    svg + "</svg>"
}
