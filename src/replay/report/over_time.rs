//! Wrong answers over time. Policies of one budget are shown together.

use std::fmt::{self, Write};

use super::page::{head, nothing};
use super::plot::{Axis, PANEL, Plot, colour, key, line, line_key, shape};
use super::scale::Scale;
use super::text::{Text, count, number, percent, share, short_count};
use super::{Checkpoint, Policy, Report};
use crate::decide::Share;

const TITLE: &str = "Wrong answers over time";

const HINT: &str = "All wrong answers until then ÷ all requests until then.";

/// Points of a line at most: more can't be told apart.
const MAX_POINTS: usize = 150;

/// Writes a plot for each budget.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let lines: Vec<Line<'_>> = report.policies.iter().enumerate().filter_map(Line::of).collect();
    if lines.is_empty() {
        return nothing(out, TITLE, "The trace is too short: no policy reached a checkpoint.");
    }
    head(out, TITLE, HINT)?;
    out.push_str("<div class=\"panels\">\n");
    for budget in budgets(&lines) {
        let lines: Vec<&Line<'_>> = lines.iter().filter(|line| line.policy.share_budget() == budget).collect();
        write_panel(out, budget, &lines)?;
    }
    writeln!(out, "</div>")
}

/// A policy's course.
struct Line<'r> {
    number: usize,
    policy: &'r Policy<'r>,
    points: Vec<Checkpoint>,
}

impl<'r> Line<'r> {
    fn of((number, policy): (usize, &'r Policy<'r>)) -> Option<Self> {
        let points: Vec<Checkpoint> = policy.checkpoints.iter().copied().filter(|point| point.requests > 0).collect();
        let every = points.len().div_ceil(MAX_POINTS).max(1);
        // The last one stays: it is the result.
        let phase = points.len().saturating_sub(1) % every;
        let points: Vec<Checkpoint> = points.into_iter().skip(phase).step_by(every).collect();
        (!points.is_empty()).then_some(Self { number, policy, points })
    }
}

fn wrong(point: &Checkpoint) -> Share {
    Share::new(point.wrong, point.requests)
}

/// From the smallest, and none at the end.
fn budgets(lines: &[Line<'_>]) -> Vec<Option<f64>> {
    let mut budgets: Vec<Option<f64>> = lines.iter().map(|line| line.policy.share_budget()).collect();
    budgets.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
    budgets.dedup();
    budgets
}

fn write_panel(out: &mut String, budget: Option<f64>, lines: &[&Line<'_>]) -> fmt::Result {
    let title = budget.map_or("No budget".into(), |budget| format!("Budget {}\u{a0}%", percent(budget)));
    let plot = plot(budget, lines);
    writeln!(out, "<figure><figcaption>{title}</figcaption>")?;
    plot.write(out, &format!("{title}: wrong answers ÷ requests over time"), |out| {
        if let Some(budget) = budget {
            let (left, right, _, _) = plot.edges();
            line(out, "budget", [left, right].map(|x| (x, plot.place(0.0, budget).1)))?;
        }
        lines.iter().try_for_each(|line| write_line(out, &plot, line))
    })?;
    write_legend(out, budget.is_some(), lines)?;
    writeln!(out, "</figure>")
}

fn plot(budget: Option<f64>, lines: &[&Line<'_>]) -> Plot {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most_wrong = points().map(|point| wrong(point).value()).fold(budget.unwrap_or_default(), f64::max);
    let last = lines.iter().map(|line| line.policy.requests).chain(points().map(|point| point.requests)).max();
    Plot {
        size: PANEL,
        x: Axis {
            scale: Scale::even(0.0, number(last.unwrap_or_default())),
            label: "requests so far",
            show: short_count,
        },
        y: Axis {
            scale: Scale::even(0.0, (most_wrong * 1.1).clamp(1e-4, 1.0)),
            label: "wrong answers ÷ requests so far (%)",
            show: percent,
        },
    }
}

fn write_line(out: &mut String, plot: &Plot, course: &Line<'_>) -> fmt::Result {
    let Line { number: policy_number, policy, points } = course;
    let (colour, name) = (colour(*policy_number), Text(policy.name));
    let place = |point: &Checkpoint| plot.place(number(point.requests), wrong(point).value());
    line(out, &format!("course {colour}"), points.iter().map(place))?;
    for point in points {
        let ((x, y), requests, hits) = (place(point), count(point.requests), Share::new(point.hits, point.requests));
        write!(out, r#"<circle class="spot" cx="{x:.1}" cy="{y:.1}" r="5"><title>{name}, {requests} requests"#)?;
        write!(out, "\nwrong {}\nhits {}</title></circle>", share(wrong(point)), share(hits))?;
    }
    if let Some(last) = points.last() {
        let shape = shape(*policy_number, place(last), 4.0);
        writeln!(out, r#"<path class="mark {colour}" d="{shape}"/>"#)?;
    }
    for alarm in &policy.alarms {
        let ((x, _), (_, _, top, _), requests) = (plot.place(number(*alarm), 0.0), plot.edges(), count(*alarm));
        write!(out, r#"<path class="alarm mark {colour}" d="M{x:.1} {top}v14v-7l7 -3.5l-7 -3.5z">"#)?;
        writeln!(out, "<title>{name}: alarm at request {requests}</title></path>")?;
    }
    Ok(())
}

fn write_legend(out: &mut String, has_budget: bool, lines: &[&Line<'_>]) -> fmt::Result {
    out.push_str("<ul class=\"legend\">\n");
    for line in lines {
        out.push_str("<li>");
        key(out, line.number)?;
        writeln!(out, r#"<span class="name">{}</span></li>"#, Text(line.policy.name))?;
    }
    if has_budget {
        out.push_str("<li>");
        line_key(out, "budget")?;
        out.push_str("budget</li>\n");
    }
    if lines.iter().any(|line| !line.policy.alarms.is_empty()) {
        out.push_str(r#"<li><svg class="key" viewBox="-6 -8 16 16" aria-hidden="true">"#);
        out.push_str("<path class=\"alarm mark\" d=\"M0 -7v14v-7l7 -3.5l-7 -3.5z\"/></svg>alarm</li>\n");
    }
    writeln!(out, "</ul>")
}
