//! The page around its parts.

use std::fmt::{self, Write};

use super::text::{Text, count};
use super::{Report, calibration, cosines, data, frontier, over_time, table};

/// Colours, letters and how parts lie on screens and on paper.
const STYLE: &str = include_str!("page.css");

/// Nothing but the page's own style is loaded or run, whatever a trace's name says.
const SAFE: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Writes the page.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let Report { trace, requests, skipped, model, .. } = report;
    let (trace, model) = (Text(trace), Text(model));
    writeln!(
        out,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{SAFE}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Replay of {trace}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>Replay of <span class="name">{trace}</span></h1>
<dl>
<div><dt>Requests</dt><dd>{}</dd></div>
<div><dt>Lines passed over</dt><dd>{}</dd></div>
<div><dt>Model</dt><dd class="name">{model}</dd></div>
</dl>
</header>
<main>"#,
        count(*requests),
        count(*skipped),
    )?;
    for part in [table::write, frontier::write, over_time::write, calibration::write, cosines::write] {
        out.push_str("<section>\n");
        part(out, report)?;
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n<footer>Made by <code>refrain replay</code>. All numbers are in this file, too: ");
    out.push_str("JSON in the element <code>#data</code>.</footer>\n");
    data::write(out, report)?;
    writeln!(out, "</body>\n</html>")
}

/// Writes how a part begins that has something to show, with what helps to read it.
pub(super) fn head(out: &mut String, title: &str, hint: &str) -> fmt::Result {
    writeln!(out, "<h2>{title}</h2>\n<p class=\"hint\">{hint}</p>")
}

/// Writes a part that has nothing to show, and why.
pub(super) fn nothing(out: &mut String, title: &str, why: &str) -> fmt::Result {
    writeln!(out, "<h2>{title}</h2>\n<p class=\"nothing\">{why}</p>")
}
