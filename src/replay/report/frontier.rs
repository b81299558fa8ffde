//! Hits against wrong answers: what a policy gives and costs, and what static thresholds would have given for that.

use std::fmt::{self, Write};

use super::page::{head, nothing};
use super::plot::{Axis, LARGE, Plot, colour, key, line, line_key, shape};
use super::scale::Scale;
use super::text::{Text, cosine, interval, percent, share, value};
use super::{Point, Policy, Report};
use crate::decide::Share;

const TITLE: &str = "Hits against wrong answers";

const HINT: &str = "Higher is better, and so is further to the left. Crosses are 95&nbsp;% intervals.";

const LINE_HINT: &str =
    "Higher is better, and so is further to the left. Crosses are 95&nbsp;% intervals. A policy above
the line has more hits than the static threshold with as many wrong answers, and that is one that only hindsight could
have chosen.";

/// Radius of a policy's mark.
const DOT: f64 = 4.0;

/// Room for a threshold's label.
const LABEL: (f64, f64) = (32.0, 14.0);

/// Room for a budget's label to the side.
const BUDGET_LABEL: f64 = 26.0;

/// Writes the plot, and the thresholds in numbers.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let policies: Vec<_> = report.policies.iter().enumerate().filter(|(_, policy)| policy.hits.all > 0).collect();
    let steps = steps(report);
    if policies.is_empty() && steps.is_empty() {
        return nothing(out, TITLE, "No policy was asked anything.");
    }
    head(out, TITLE, if steps.is_empty() { HINT } else { LINE_HINT })?;
    let budgets = budgets(&policies);
    let plot = plot(&policies, &steps, &budgets);
    out.push_str("<div class=\"beside\">\n");
    plot.write(out, "Hits ÷ requests against wrong answers ÷ requests", |out| {
        write_budgets(out, &plot, &budgets)?;
        write_steps(out, &plot, &steps)?;
        policies.iter().try_for_each(|(number, policy)| write_cross(out, &plot, *number, policy))?;
        // Over all the crosses, so that each can be pointed at.
        policies.iter().try_for_each(|(number, policy)| write_dot(out, &plot, *number, policy))
    })?;
    write_legend(out, &policies, !steps.is_empty(), !budgets.is_empty())?;
    out.push_str("</div>\n");
    write_numbers(out, &steps)
}

/// Static thresholds in the order of a line through them.
fn steps(report: &Report<'_>) -> Vec<Point> {
    let mut steps = report.frontier.clone();
    steps.retain(|point| point.min_cosine.is_finite() && point.hits.all > 0);
    steps.sort_by(|a, b| a.min_cosine.total_cmp(&b.min_cosine));
    steps
}

/// Different ones, from the smallest.
fn budgets(policies: &[(usize, &Policy<'_>)]) -> Vec<f64> {
    let mut budgets: Vec<f64> = policies.iter().filter_map(|(_, policy)| policy.share_budget()).collect();
    budgets.sort_by(f64::total_cmp);
    budgets.dedup();
    budgets
}

fn plot(policies: &[(usize, &Policy<'_>)], steps: &[Point], budgets: &[f64]) -> Plot {
    let wrong = policies.iter().map(|(_, policy)| policy.wrong_of_requests.interval().1);
    let wrong = wrong.chain(steps.iter().map(|step| step.wrong_of_requests.value())).chain(budgets.iter().copied());
    let hits = policies.iter().map(|(_, policy)| policy.hits.interval());
    let hits: Vec<_> = hits.chain(steps.iter().map(|step| (step.hits.value(), step.hits.value()))).collect();
    let low = hits.iter().map(|(low, _)| *low).fold(1.0, f64::min);
    let high = hits.iter().map(|(_, high)| *high).fold(0.0, f64::max);
    Plot {
        size: LARGE,
        x: Axis {
            scale: Scale::root((wrong.fold(0.0, f64::max) * 1.12).min(1.0)),
            label: "wrong answers ÷ requests (%, root scale)",
            show: percent,
        },
        y: Axis { scale: Scale::around(low, high), label: "hits ÷ requests (%)", show: percent },
    }
}

fn write_budgets(out: &mut String, plot: &Plot, budgets: &[f64]) -> fmt::Result {
    let (_, _, top, bottom) = plot.edges();
    let mut last = f64::NEG_INFINITY;
    for budget in budgets {
        let (x, _) = plot.place(*budget, 0.0);
        let percent = percent(*budget);
        write!(out, r#"<path class="budget" d="M{x:.1} {top}V{bottom}"><title>budget {percent} %</title></path>"#)?;
        if x - last >= BUDGET_LABEL {
            writeln!(out, r#"<text class="budget" x="{x:.1}" y="{:.1}">{percent}</text>"#, top - 4.0)?;
            last = x;
        }
    }
    Ok(())
}

fn write_steps(out: &mut String, plot: &Plot, steps: &[Point]) -> fmt::Result {
    let place = |step: &Point| plot.place(step.wrong_of_requests.value(), step.hits.value());
    line(out, "frontier", steps.iter().map(place))?;
    let (right, (_, _, _, bottom)) = (plot.size.width, plot.edges());
    let mut labels: Vec<(f64, f64)> = Vec::new();
    for step in steps {
        let (x, y) = place(step);
        let threshold = cosine(step.min_cosine);
        write!(out, r#"<circle class="step" cx="{x:.1}" cy="{y:.1}" r="2.5"><title>static threshold {threshold}"#)?;
        write_shares(out, step.hits, step.wrong_of_requests, step.wrong_of_hits)?;
        writeln!(out, "</title></circle>")?;
        // To the lower right, where nothing is but policies worse than the line.
        let (label_x, label_y) = ((x + 5.0).min(right - LABEL.0), (y + LABEL.1 - 2.0).min(bottom - 3.0));
        let is_near = |(x, y): &(f64, f64)| (x - label_x).abs() < LABEL.0 && (y - label_y).abs() < LABEL.1;
        if !labels.iter().any(is_near) {
            writeln!(out, r#"<text class="step" x="{label_x:.1}" y="{label_y:.1}">{threshold}</text>"#)?;
            labels.push((label_x, label_y));
        }
    }
    Ok(())
}

fn write_cross(out: &mut String, plot: &Plot, number: usize, policy: &Policy<'_>) -> fmt::Result {
    let (wrong, hits) = (policy.wrong_of_requests.interval(), policy.hits.interval());
    let (x, y) = plot.place(policy.wrong_of_requests.value(), policy.hits.value());
    let ((left, bottom), (right, top)) = (plot.place(wrong.0, hits.0), plot.place(wrong.1, hits.1));
    let colour = colour(number);
    let lines = format!("M{left:.1} {y:.1}H{right:.1}M{x:.1} {bottom:.1}V{top:.1}");
    writeln!(out, r#"<path class="cross {colour}" d="{lines}"/>"#)
}

fn write_dot(out: &mut String, plot: &Plot, number: usize, policy: &Policy<'_>) -> fmt::Result {
    let place = plot.place(policy.wrong_of_requests.value(), policy.hits.value());
    let (colour, shape) = (colour(number), shape(number, place, DOT));
    write!(out, r#"<path class="dot mark {colour}" d="{shape}"><title>{}"#, Text(policy.name))?;
    write_shares(out, policy.hits, policy.wrong_of_requests, policy.wrong_of_hits)?;
    writeln!(out, "</title></path>")
}

fn write_shares(out: &mut String, hits: Share, of_requests: Share, of_hits: Share) -> fmt::Result {
    let (hits, of_requests, of_hits) = (share(hits), share(of_requests), share(of_hits));
    write!(out, "\nhits ÷ requests {hits}\nwrong ÷ requests {of_requests}\nwrong ÷ hits {of_hits}")
}

fn write_legend(out: &mut String, policies: &[(usize, &Policy<'_>)], steps: bool, budgets: bool) -> fmt::Result {
    out.push_str("<ul class=\"legend\">\n");
    for (number, policy) in policies {
        out.push_str("<li>");
        key(out, *number)?;
        writeln!(out, r#"<span class="name">{}</span></li>"#, Text(policy.name))?;
    }
    for (class, words, is_there) in
        [("frontier", "static thresholds, by cosine", steps), ("budget", "error budgets (%)", budgets)]
    {
        if is_there {
            out.push_str("<li>");
            line_key(out, class)?;
            writeln!(out, "{words}</li>")?;
        }
    }
    writeln!(out, "</ul>")
}

/// Labels leave some out, and fingers can't point.
fn write_numbers(out: &mut String, steps: &[Point]) -> fmt::Result {
    if steps.is_empty() {
        return Ok(());
    }
    out.push_str("<details><summary>Static thresholds in numbers</summary>\n<div class=\"wide\"><table>\n<thead><tr>");
    for head in ["cosine", "hits ÷ requests", "wrong ÷ requests", "wrong ÷ hits"] {
        write!(out, r#"<th scope="col">{head}</th>"#)?;
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for step in steps {
        write!(out, r#"<tr><th scope="row">{}</th>"#, cosine(step.min_cosine))?;
        for share in [step.hits, step.wrong_of_requests, step.wrong_of_hits] {
            write!(out, "<td>{}<small>{}</small></td>", value(share), interval(share))?;
        }
        out.push_str("</tr>\n");
    }
    writeln!(out, "</tbody>\n</table></div></details>")
}
