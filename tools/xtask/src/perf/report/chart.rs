//! The chart: CPU seconds per GB of every server in the scenarios with one stream.
//!
//! Drawn by hand in plain SVG, with colours for light and dark pages: no script, no font, nothing
//! fetched. A bar is the median, the line across its end goes from the least to the most. Each scenario
//! has a scale of its own: one viewer costs more per byte than a thousand by an order of magnitude,
//! and on one scale nothing else could be seen.

use crate::perf::record::Outcome;
use crate::perf::record::Results;
use crate::perf::scenario::Contender;
use crate::perf::scenario::Place;
use crate::perf::scenario::Program;
use crate::perf::stats::Spread;
use crate::perf::verdict;
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 54.0;
const BAR: f64 = 14.0;
const STEP: f64 = 22.0;
const TITLE: f64 = 30.0;
const BOTTOM: f64 = 12.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}\
.h{font-weight:600;font-size:14px}.g{font-weight:600}.s{fill:#57606a}\
.w{stroke:#24292f;stroke-width:1.5}\
.r{fill:#0969da}.f{fill:#8c959f}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}\
.w{stroke:#e6edf3}.r{fill:#4493f8}.f{fill:#656c76}}";

struct Bar<'a> {
    contender: &'a Contender,
    spread: Spread,
}

/// `None` when there is nothing to draw.
pub(super) fn svg(results: &Results) -> Option<String> {
    let plain = results.scenarios.iter().filter(|outcome| outcome.scenario.is_plain());
    let groups: Vec<(&Outcome, Vec<Bar>)> = plain
        .map(|outcome| (outcome, bars(outcome)))
        .filter(|(_, bars)| bars.iter().any(|bar| bar.spread.max > 0.0))
        .collect();
    if groups.is_empty() {
        return None;
    }
    let rows: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let body = groups.len() as f64 * TITLE + rows as f64 * STEP;
    let height = TOP + body + BOTTOM;
    let (host, date) = (escaped(&results.host.name), &results.date);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"CPU seconds per GB\">\n<style>{STYLE}</style>\n\
         <text class=\"h\" x=\"12\" y=\"24\">CPU seconds per GB, {host} {date}</text>\n\
         <text class=\"s\" x=\"12\" y=\"42\">Less is better. Each scenario has its own scale: \
         compare bars within one, numbers across.</text>\n",
    );
    let mut y = TOP;
    for (outcome, bars) in &groups {
        let title = title(outcome);
        let baseline = y + 20.0;
        let _ = writeln!(svg, "<text class=\"g\" x=\"12\" y=\"{baseline}\">{title}</text>");
        y += TITLE;
        let most = bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
        for bar in bars {
            draw(&mut svg, bar, most, y);
            y += STEP;
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn bars<'a>(outcome: &'a Outcome) -> Vec<Bar<'a>> {
    let contenders = outcome.scenario.contenders.iter();
    let bar = |contender: &'a Contender| {
        let spread = verdict::spread(outcome, &contender.name, "cpu_s_per_gb")?;
        Some(Bar { contender, spread })
    };
    contenders.filter_map(bar).collect()
}

fn title(outcome: &Outcome) -> String {
    let title = escaped(&outcome.scenario.title);
    let place = match outcome.scenario.place {
        Place::Loopback => "",
        Place::Rig => ", rig",
    };
    let bound = outcome.scenario.own_bound_ms();
    let bound = bound.map_or_else(String::new, |bound| format!(", p99 ≤ {bound:.0} ms"));
    format!("{title}{place}{bound}")
}

fn x_of(value: f64, most: f64) -> f64 {
    (LEFT + value / most * (WIDTH - LEFT - RIGHT)).round()
}

fn draw(svg: &mut String, bar: &Bar, most: f64, y: f64) {
    let class = match bar.contender.program {
        Program::Ringcast => "r",
        Program::Floor => "f",
    };
    let Spread { min, median, max } = bar.spread;
    let width = x_of(median, most) - LEFT;
    let (baseline, middle) = (y + 11.0, y + BAR / 2.0);
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\"/>\
         <path class=\"w\" d=\"M{} {middle}H{}\"/>\
         <text x=\"{}\" y=\"{baseline}\">{median:.3}</text>",
        LEFT - 8.0,
        escaped(&bar.contender.name),
        x_of(min, most),
        x_of(max, most),
        x_of(max, most) + 8.0,
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
