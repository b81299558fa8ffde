//! All numbers as JSON, for those who want to reckon with them.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

use super::Report;
use crate::decide::Share;

/// Writes them as a block that no browser runs.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    // There is nothing in it that JSON can't say.
    let json = serde_json::to_string(report).unwrap_or_default();
    // In JSON these letters are in strings only. The first would end the block as `</script>` or `<!--`.
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    writeln!(out, "<script type=\"application/json\" id=\"data\">{json}</script>")
}

/// A share with what follows from it.
pub(super) fn share<S: Serializer>(share: &Share, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        some: u64,
        all: u64,
        value: f64,
        low: f64,
        high: f64,
    }
    let (low, high) = share.interval();
    Shown { some: share.some, all: share.all, value: share.value(), low, high }.serialize(serializer)
}
