//! How well a cosine alone tells right candidates from wrong ones.

use std::fmt::{self, Write};

use super::page::{head, nothing};
use super::plot::{Axis, PANEL, Plot, key};
use super::scale::Scale;
use super::text::{Text, cosine, count, number, short_count, trimmed};
use super::{CosineBin, Policy, Report};

const TITLE: &str = "Cosines of the best candidates";

const HINT: &str =
    "Requests by the cosine of the nearest entry that the policy's cache had for them: right answers above the
axis, wrong ones below. Where both are, no threshold tells them apart.";

const LEGEND: &str = r#"<ul class="legend">
<li><svg class="key" viewBox="-8 -8 16 16" aria-hidden="true"><path class="right" d="M-6 -6H6V6H-6Z"/></svg>right</li>
<li><svg class="key" viewBox="-8 -8 16 16" aria-hidden="true"><path class="wrong" d="M-6 -6H6V6H-6Z"/></svg>wrong</li>
</ul>
"#;

/// Writes a histogram for each policy. All have the same axes.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let bins = report.policies.iter().map(bins).enumerate().filter(|(_, bins)| !bins.is_empty());
    let bins: Vec<(usize, Vec<CosineBin>)> = bins.collect();
    if bins.is_empty() {
        return nothing(out, TITLE, "No policy has met a candidate.");
    }
    head(out, TITLE, HINT)?;
    out.push_str(LEGEND);
    let plot = plot(bins.iter().flat_map(|(_, bins)| bins));
    out.push_str("<div class=\"panels\">\n");
    for (number, bins) in &bins {
        if let Some(policy) = report.policies.get(*number) {
            write_panel(out, &plot, *number, policy, bins)?;
        }
    }
    writeln!(out, "</div>")
}

/// Those that have something in them.
fn bins(policy: &Policy<'_>) -> Vec<CosineBin> {
    let mut bins = policy.cosines.clone();
    bins.retain(|bin| bin.from.is_finite() && bin.to.is_finite() && (bin.right > 0 || bin.wrong > 0));
    bins
}

fn plot<'b>(bins: impl Iterator<Item = &'b CosineBin>) -> Plot {
    let (mut from, mut to, mut right, mut wrong) = (1.0f64, -1.0f64, 0.0f64, 0.0f64);
    for bin in bins {
        (from, to) = (from.min(bin.from.into()), to.max(bin.to.into()));
        (right, wrong) = (right.max(number(bin.right)), wrong.max(number(bin.wrong)));
    }
    Plot {
        size: PANEL,
        x: Axis { scale: Scale::even(from, to), label: "cosine of the best candidate", show: trimmed },
        y: Axis { scale: Scale::even(-wrong * 1.05, right * 1.05), label: "requests", show: |y| short_count(y.abs()) },
    }
}

fn write_panel(out: &mut String, plot: &Plot, number: usize, policy: &Policy<'_>, bins: &[CosineBin]) -> fmt::Result {
    out.push_str("<figure><figcaption>");
    key(out, number)?;
    writeln!(out, r#"<span class="name">{}</span></figcaption>"#, Text(policy.name))?;
    plot.write(out, &format!("{}: cosines of right and wrong candidates", policy.name), |out| {
        bins.iter().try_for_each(|bin| write_bin(out, plot, bin))?;
        let ((left, right, _, _), (_, zero)) = (plot.edges(), plot.place(0.0, 0.0));
        writeln!(out, r#"<path class="frame" d="M{left} {zero:.1}H{right}"/>"#)
    })?;
    writeln!(out, "</figure>")
}

fn write_bin(out: &mut String, plot: &Plot, bin: &CosineBin) -> fmt::Result {
    let ((left, top), (right, bottom)) =
        (plot.place(bin.from.into(), number(bin.right)), plot.place(bin.to.into(), -number(bin.wrong)));
    let (_, zero) = plot.place(0.0, 0.0);
    // A seam between bars.
    let (from, to) = (left + 0.4, (right - 0.4).max(left + 0.5));
    write!(out, r#"<g><title>cosine {}–{}"#, cosine(bin.from), cosine(bin.to))?;
    write!(out, "\n{} right, {} wrong</title>", count(bin.right), count(bin.wrong))?;
    write!(out, r#"<path class="right" d="M{from:.1} {zero:.1}V{top:.1}H{to:.1}V{zero:.1}Z"/>"#)?;
    writeln!(out, r#"<path class="wrong" d="M{from:.1} {zero:.1}V{bottom:.1}H{to:.1}V{zero:.1}Z"/></g>"#)
}
