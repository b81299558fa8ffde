//! Words of which one undoes what the other does.

use std::sync::LazyLock;

use super::hash::{ByHash, Hash};
use super::token::{Token, stem};

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

/// The opposites of each word, by their stems' hashes.
static OPPOSITES: LazyLock<ByHash<Vec<u64>>> = LazyLock::new(|| {
    let mut opposites: ByHash<Vec<u64>> = ByHash::default();
    for (x, y) in PAIRS.map(|(x, y)| (Hash::of(stem(x)), Hash::of(stem(y)))) {
        opposites.entry(x).or_default().push(y);
        opposites.entry(y).or_default().push(x);
    }
    opposites
});

/// Words of a prompt and what would be their opposites: hashes of stems, one of each in turn.
pub(super) fn opposites(tokens: &[Token<'_>]) -> Vec<u64> {
    let mut found = Vec::new();
    for token in tokens {
        let known = OPPOSITES.get(&token.hash).into_iter().flatten().copied();
        let opposites = known.chain(turned(token.stem()));
        found.extend(opposites.flat_map(|opposite| [token.hash, opposite]));
    }
    found
}

/// What a word with a prefix that turns it round is without the prefix.
fn turned(word: &str) -> impl Iterator<Item = u64> {
    let plain = |prefix: &&str| word.strip_prefix(*prefix).filter(|plain| plain.len() >= LEAST);
    PREFIXES.iter().filter_map(plain).map(Hash::of)
}

/// Whether one of two prompts, which have these `opposites`, has a word and the other its opposite, and neither has both. Stems are in
/// their order.
pub(super) fn differ(opposites: [&[u64]; 2], stems: [&[u64]; 2]) -> bool {
    let has = |stems: &[u64], stem: u64| stems.binary_search(&stem).is_ok();
    let differ = |opposites: &[u64], mine: &[u64], theirs: &[u64]| {
        let (pairs, _) = opposites.as_chunks();
        pairs.iter().any(|[word, opposite]| !has(theirs, *word) && has(theirs, *opposite) && !has(mine, *opposite))
    };
    differ(opposites[0], stems[0], stems[1]) || differ(opposites[1], stems[1], stems[0])
}

#[cfg(test)]
mod tests {
    use super::super::sorted;
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn opposites_are_seen_in_all_forms() {
        let differ = |a: &str, b: &str| {
            let both = [split(a), split(b)];
            let opposites = both.each_ref().map(|tokens| opposites(tokens));
            let stems = both.each_ref().map(|tokens| sorted(tokens.iter().map(|token| token.hash)));
            differ(opposites.each_ref().map(Vec::as_slice), stems.each_ref().map(Vec::as_slice))
        };
        assert!(differ("enabling it", "it is disabled") && differ("turn it on", "turn it off"));
        assert!(differ("lock the door", "unlock the door") && differ("I subscribed", "I unsubscribed"));
        assert!(differ("the biggest city", "the smallest city"));
        assert!(!differ("buy or sell", "sell or buy") && !differ("open it", "start it"));
        assert!(!differ("what is in it", "what is it"));
    }
}
