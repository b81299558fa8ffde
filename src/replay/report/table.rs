//! All policies in numbers.

use std::fmt::{self, Write};

use super::page::nothing;
use super::plot::key;
use super::text::{Text, count, interval, percent, value};
use super::{Policy, Report};
use crate::decide::Share;

const TITLE: &str = "Policies";

const HEAD: &str = r#"<div class="wide" tabindex="0" role="region" aria-label="Policies">
<table>
<thead>
<tr><th scope="col" rowspan="2">policy</th><th scope="colgroup" colspan="3">requests</th>
<th scope="col" rowspan="2">hits ÷ requests</th><th scope="colgroup" colspan="2">wrong ÷ requests</th>
<th scope="col" rowspan="2">wrong ÷ hits</th><th scope="col" rowspan="2">audits</th>
<th scope="col" rowspan="2">alarms</th><th scope="colgroup" colspan="2">second half</th></tr>
<tr><th scope="col">all</th><th scope="col">exact hits</th><th scope="col">semantic hits</th><th scope="col">seen</th>
<th scope="col">budget</th><th scope="col">hits</th><th scope="col">wrong</th></tr>
</thead>
<tbody>
"#;

const NOTES: &str = r#"<p class="hint">Under the shares: 95&nbsp;% intervals (Wilson). A budget is <em>held</em> or
<em>broken</em> where all of the interval is on one side of it, and <em>probably</em> so where only the share is.
Audits are requests that could have been hits and went to the provider, to learn from them. The second half, when the
cache is warm, is counted against its own requests.</p>
"#;

/// Writes it.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    if report.policies.is_empty() {
        return nothing(out, TITLE, "No policy was tried.");
    }
    writeln!(out, "<h2>{TITLE}</h2>")?;
    out.push_str(HEAD);
    for (number, policy) in report.policies.iter().enumerate() {
        write_policy(out, number, policy)?;
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out.push_str(NOTES);
    Ok(())
}

fn write_policy(out: &mut String, number: usize, policy: &Policy<'_>) -> fmt::Result {
    out.push_str(r#"<tr><th scope="row"><div class="policy">"#);
    key(out, number)?;
    write!(out, r#"<span class="name">{}</span></div></th>"#, Text(policy.name))?;
    for all in [policy.requests, policy.exact, policy.hits.some.saturating_sub(policy.exact)] {
        write_count(out, all)?;
    }
    write_share(out, policy.hits)?;
    write_share(out, policy.wrong_of_requests)?;
    write_budget(out, policy)?;
    write_share(out, policy.wrong_of_hits)?;
    write_count(out, policy.audits)?;
    write_count(out, policy.alarms.len() as u64)?;
    write_share(out, policy.second_half_hits)?;
    write_share(out, policy.second_half_wrong)?;
    out.push_str("</tr>\n");
    Ok(())
}

fn write_count(out: &mut String, all: u64) -> fmt::Result {
    let class = if all == 0 { r#" class="none""# } else { "" };
    write!(out, "<td{class}>{}</td>", count(all))
}

fn write_share(out: &mut String, share: Share) -> fmt::Result {
    if share.all == 0 {
        return write!(out, r#"<td class="none">–</td>"#);
    }
    write!(out, "<td>{}<small>{}</small></td>", value(share), interval(share))
}

fn write_budget(out: &mut String, policy: &Policy<'_>) -> fmt::Result {
    let Some(budget) = policy.share_budget() else {
        return write!(out, r#"<td class="none">–</td>"#);
    };
    let (class, words) = kept(budget, policy.wrong_of_requests);
    write!(out, r#"<td>{}&nbsp;%<small class="{class}">{words}</small></td>"#, percent(budget))
}

/// Whether no more than `budget` was wrong, for the eye and in words.
fn kept(budget: f64, wrong: Share) -> (&'static str, &'static str) {
    if wrong.all == 0 {
        return ("none", "unknown");
    }
    let (low, high) = wrong.interval();
    match wrong.value() <= budget {
        true if high <= budget => ("good", "✓ held"),
        true => ("good", "✓ probably held"),
        false if low > budget => ("bad", "✗ broken"),
        false => ("bad", "✗ probably broken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_held_for_sure_or_probably() {
        let kept = |wrong| kept(0.01, Share::new(wrong, 10_000)).1;
        assert_eq!(
            [50, 95, 100, 105, 150].map(kept),
            ["✓ held", "✓ probably held", "✓ probably held", "✗ probably broken", "✗ broken"]
        );
        assert_eq!(super::kept(0.01, Share::default()).1, "unknown");
    }
}
