//! Words of which one undoes what the other does.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::tokens::{Token, stem};

/// Pairs, each word in its plain form.
const PAIRS: [(&str, &str); 134] = [
    ("enable", "disable"),
    ("buy", "sell"),
    ("increase", "decrease"),
    ("increase", "reduce"),
    ("raise", "lower"),
    ("open", "close"),
    ("start", "stop"),
    ("start", "end"),
    ("begin", "end"),
    ("add", "remove"),
    ("add", "delete"),
    ("add", "subtract"),
    ("create", "delete"),
    ("insert", "delete"),
    ("allow", "deny"),
    ("allow", "forbid"),
    ("allow", "block"),
    ("allow", "prevent"),
    ("accept", "reject"),
    ("accept", "decline"),
    ("approve", "reject"),
    ("push", "pull"),
    ("upload", "download"),
    ("import", "export"),
    ("send", "receive"),
    ("deposit", "withdraw"),
    ("borrow", "lend"),
    ("win", "lose"),
    ("gain", "lose"),
    ("gain", "loss"),
    ("profit", "loss"),
    ("advantage", "disadvantage"),
    ("benefit", "risk"),
    ("benefit", "drawback"),
    ("pro", "con"),
    ("agree", "disagree"),
    ("for", "against"),
    ("login", "logout"),
    ("show", "hide"),
    ("encrypt", "decrypt"),
    ("encode", "decode"),
    ("compress", "decompress"),
    ("connect", "disconnect"),
    ("activate", "deactivate"),
    ("mount", "unmount"),
    ("expand", "collapse"),
    ("attach", "detach"),
    ("maximum", "minimum"),
    ("max", "min"),
    ("maximize", "minimize"),
    ("best", "worst"),
    ("good", "bad"),
    ("more", "less"),
    ("high", "low"),
    ("higher", "lower"),
    ("highest", "lowest"),
    ("large", "small"),
    ("largest", "smallest"),
    ("big", "small"),
    ("biggest", "smallest"),
    ("long", "short"),
    ("longest", "shortest"),
    ("fast", "slow"),
    ("fastest", "slowest"),
    ("hot", "cold"),
    ("early", "late"),
    ("old", "new"),
    ("oldest", "newest"),
    ("cheap", "expensive"),
    ("cheapest", "dearest"),
    ("easy", "hard"),
    ("safe", "dangerous"),
    ("legal", "illegal"),
    ("left", "right"),
    ("up", "down"),
    ("on", "off"),
    ("in", "out"),
    ("inbound", "outbound"),
    ("hide", "unhide"),
    ("won", "lost"),
    ("rise", "fall"),
    ("grow", "shrink"),
    ("cheapest", "priciest"),
    ("cheaper", "pricier"),
    ("cheap", "pricey"),
    ("firm", "soft"),
    ("firmer", "softer"),
    ("hard", "soft"),
    ("dry", "wet"),
    ("thick", "thin"),
    ("thicken", "thin"),
    ("landlord", "tenant"),
    ("employer", "employee"),
    ("buyer", "seller"),
    ("cause", "effect"),
    ("stash", "pop"),
    ("bottom", "top"),
    ("front", "back"),
    ("inner", "outer"),
    ("internal", "external"),
    ("public", "private"),
    ("read", "write"),
    ("input", "output"),
    ("strong", "weak"),
    ("strongest", "weakest"),
    ("heavy", "light"),
    ("heaviest", "lightest"),
    ("rich", "poor"),
    ("wide", "narrow"),
    ("deep", "shallow"),
    ("arrive", "depart"),
    ("arrival", "departure"),
    ("above", "below"),
    ("freeze", "thaw"),
    ("freeze", "melt"),
    ("lengthen", "shorten"),
    ("widen", "narrow"),
    ("lock", "unlock"),
    ("follow", "unfollow"),
    ("mute", "unmute"),
    ("zip", "unzip"),
    ("wake", "sleep"),
    ("success", "failure"),
    ("succeed", "fail"),
    ("true", "false"),
    ("positive", "negative"),
    ("always", "never"),
    ("full", "empty"),
    ("charge", "discharge"),
    ("plug", "unplug"),
    ("save", "spend"),
    ("promote", "demote"),
    ("upgrade", "downgrade"),
    ("within", "beyond"),
];
/// What turns a word into its opposite.
const PREFIXES: [&str; 6] = ["un", "dis", "de", "non", "in", "im"];
/// Letters of the shortest word that a prefix is taken to turn round.
const LEAST: usize = 4;

/// The opposites of each word, by stem.
static OPPOSITES: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let mut opposites: HashMap<&str, Vec<&str>> = HashMap::new();
    for (x, y) in PAIRS {
        opposites.entry(stem(x)).or_default().push(stem(y));
        opposites.entry(stem(y)).or_default().push(stem(x));
    }
    opposites
});

/// Whether one of two prompts has a word and the other its opposite, and neither has both.
pub(super) fn differ(a: &[Token], b: &[Token]) -> bool {
    let (mine, theirs) = (only(a, b), only(b, a));
    mine.iter().any(|x| {
        let known = OPPOSITES.get(x).map_or(&[][..], Vec::as_slice);
        theirs.iter().any(|y| known.contains(y) || is_turned(x, y) || is_turned(y, x))
    })
}

/// The stems of `a` that `b` lacks.
fn only<'t>(a: &'t [Token], b: &[Token]) -> Vec<&'t str> {
    a.iter().map(Token::stem).filter(|stem| !b.iter().any(|other| other.stem() == *stem)).collect()
}

/// Whether `word` is `plain` with a prefix that turns it round.
fn is_turned(word: &str, plain: &str) -> bool {
    plain.len() >= LEAST && word.strip_suffix(plain).is_some_and(|prefix| PREFIXES.contains(&prefix))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn opposites_are_seen_in_all_forms() {
        let differ = |a: &str, b: &str| differ(&split(a), &split(b));
        assert!(differ("enabling it", "it is disabled") && differ("turn it on", "turn it off"));
        assert!(differ("lock the door", "unlock the door") && differ("I subscribed", "I unsubscribed"));
        assert!(differ("the biggest city", "the smallest city"));
        assert!(!differ("buy or sell", "sell or buy") && !differ("open it", "start it"));
        assert!(!differ("what is in it", "what is it"));
    }
}
