//! Whether probabilities came true.

use std::fmt::{self, Write};

use super::page::{head, nothing};
use super::plot::{Axis, Plot, SQUARE, colour, key, line, shape};
use super::scale::Scale;
use super::text::{Text, percent, share};
use super::{Bin, Policy, Report};

const TITLE: &str = "Calibration";

const HINT: &str = "Candidates that were predicted to be right with about the same probability, and how many were. On
the diagonal predictions came true; above it they were too careful, and below it too bold. Bars are 95&nbsp;% intervals.
Shares near 100&nbsp;% have more room on both axes, by the cube root of what they miss.";

/// Where the axes may begin, from the narrowest.
const BEGINNINGS: [f64; 3] = [0.9, 0.8, 0.5];

/// Writes a plot for each policy that predicts. All have the same axes.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let bins = report.policies.iter().map(bins).enumerate().filter(|(_, bins)| !bins.is_empty());
    let bins: Vec<(usize, Vec<Bin>)> = bins.collect();
    if bins.is_empty() {
        return nothing(out, TITLE, "No policy predicts how probably a candidate is right.");
    }
    head(out, TITLE, HINT)?;
    let least = bins.iter().flat_map(|(_, bins)| bins).map(|bin| bin.predicted.min(bin.right.value()));
    let least = least.fold(1.0, f64::min);
    let begin = BEGINNINGS.into_iter().find(|begin| *begin <= least).unwrap_or_default();
    out.push_str("<div class=\"panels\">\n");
    for (number, bins) in &bins {
        if let Some(policy) = report.policies.get(*number) {
            write_panel(out, begin, *number, policy, bins)?;
        }
    }
    writeln!(out, "</div>")
}

/// Those that have something in them, in the order of a line through them.
fn bins(policy: &Policy<'_>) -> Vec<Bin> {
    let mut bins = policy.calibration.clone();
    bins.retain(|bin| bin.right.all > 0 && bin.predicted.is_finite());
    bins.sort_by(|a, b| a.predicted.total_cmp(&b.predicted));
    bins
}

fn write_panel(out: &mut String, begin: f64, number: usize, policy: &Policy<'_>, bins: &[Bin]) -> fmt::Result {
    let plot = plot(begin);
    out.push_str("<figure><figcaption>");
    key(out, number)?;
    writeln!(out, r#"<span class="name">{}</span></figcaption>"#, Text(policy.name))?;
    plot.write(out, &format!("{}: predicted against seen", policy.name), |out| {
        line(out, "diagonal", [plot.place(begin, begin), plot.place(1.0, 1.0)])?;
        line(out, &format!("course {}", colour(number)), bins.iter().map(|bin| place(&plot, bin)))?;
        bins.iter().try_for_each(|bin| write_bin(out, &plot, number, bin))
    })?;
    writeln!(out, "</figure>")
}

fn plot(begin: f64) -> Plot {
    let axis = |label| Axis { scale: Scale::root_of_rest(begin), label, show: percent };
    Plot { size: SQUARE, x: axis("predicted to be right (%)"), y: axis("seen to be right (%)") }
}

fn place(plot: &Plot, bin: &Bin) -> (f64, f64) {
    plot.place(bin.predicted, bin.right.value())
}

fn write_bin(out: &mut String, plot: &Plot, number: usize, bin: &Bin) -> fmt::Result {
    let (low, high) = bin.right.interval();
    let ((x, bottom), (_, top)) = (plot.place(bin.predicted, low), plot.place(bin.predicted, high));
    let (colour, shape) = (colour(number), shape(number, place(plot, bin), 3.5));
    write!(out, r#"<path class="cross {colour}" d="M{x:.1} {bottom:.1}V{top:.1}"/>"#)?;
    let (predicted, right) = (bin.predicted * 100.0, bin.right);
    write!(out, r#"<path class="mark {colour}" d="{shape}"><title>predicted {predicted:.2} %"#)?;
    writeln!(out, "\nseen {}, {} of {}</title></path>", share(right), right.some, right.all)
}
