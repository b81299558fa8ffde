//! What requests have used, cost and saved, by day, tenant, model and provider.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Price;
use crate::store::{State, StateError, write_state};

/// The version of what is written.
const VERSION: u8 = 1;
/// Days that are remembered.
const DAYS: u32 = 400;
/// Rows of one day; what comes beyond is counted together, because anybody can make up names of models.
const ROWS: usize = 10_000;
const OTHERS: &str = "(others)";
/// Bytes of a name of a model that are written down.
const NAME: usize = 256;
/// More tokens than any request has, which sums can bear.
const MAX: u64 = 1 << 40;
/// Tokens that a price is for.
const PER: f64 = 1e6;
const MILLIS_PER_DAY: u64 = 86_400_000;
/// Bytes that are about a token.
const BYTES_PER_TOKEN: u64 = 4;

/// What one request used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: u64,
    /// Of these, that the provider had cached.
    pub cached: u64,
    /// Of the answer.
    pub output: u64,
}

impl Tokens {
    /// Of a reply's `usage`, in any format of callers.
    #[must_use]
    pub fn of(usage: &Value) -> Option<Self> {
        let number = |name: &str| usage[name].as_u64().map(|tokens| tokens.min(MAX));
        let count = |name: &str| number(name).unwrap_or(0);
        let cached_of = |details: &Value, input: u64| details["cached_tokens"].as_u64().unwrap_or(0).min(input);
        if let Some(input) = number("prompt_tokens") {
            let cached = cached_of(&usage["prompt_tokens_details"], input);
            return Some(Self { input, cached, output: count("completion_tokens") });
        }
        let (fresh, output) = (number("input_tokens")?, count("output_tokens"));
        // OpenAI's responses count what was cached as part of the prompt, Anthropic's messages apart.
        if let Some(details) = usage.get("input_tokens_details") {
            return Some(Self { input: fresh, cached: cached_of(details, fresh), output });
        }
        let (cached, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
        Some(Self { input: fresh.saturating_add(cached).saturating_add(written), cached, output })
    }

    /// Of the last `usage` in a reply's end: a whole body's or a stream's.
    #[must_use]
    pub fn at_end_of(reply: &[u8]) -> Option<Self> {
        usages(reply).rev().take(4).find_map(|usage| Self::of(&usage))
    }

    /// Of a reply of which only the first and the last bytes are known. Anthropic's streams tell the prompt's at the
    /// beginning and the answer's at the end, and some providers tell all of them first.
    #[must_use]
    pub fn told_by(first: &[u8], last: &[u8]) -> Option<Self> {
        let told = Self::at_end_of(last).or_else(|| usages(first).take(4).find_map(|usage| Self::of(&usage)))?;
        // Of several, the last one counts all of the answer.
        let output = usages(last).rev().take(4).find_map(|usage| usage["output_tokens"].as_u64());
        Some(Self { output: output.map_or(told.output, |output| output.min(MAX).max(told.output)), ..told })
    }

    /// About how many, where nobody tells: of a prompt of so many bytes, and an answer of so many tokens.
    #[must_use]
    pub fn about(prompt: usize, output: u64) -> Self {
        Self { input: prompt as u64 / BYTES_PER_TOKEN, cached: 0, output }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// In dollars.
    #[must_use]
    pub fn cost(&self, price: &Price) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let count = |tokens: u64| tokens as f64 / PER;
        let fresh = self.input.saturating_sub(self.cached);
        count(fresh) * price.input
            + count(self.cached) * price.cached_input.unwrap_or(price.input)
            + count(self.output) * price.output
    }
}

/// Sums of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// All of them.
    pub requests: u64,
    /// Of these, answered from the cache.
    pub hits: u64,
    /// Of these, that got a provider's answer together with an equal one.
    pub joined: u64,
    /// Tokens that providers read.
    pub input_tokens: u64,
    /// Of these, that the provider had cached.
    pub cached_input_tokens: u64,
    /// Tokens that providers wrote.
    pub output_tokens: u64,
    /// Requests whose tokens no provider told, and which were estimated.
    pub unmetered: u64,
    /// Dollars that providers cost, as far as prices are set.
    pub cost: f64,
    /// Tokens that hits and joined requests would have used.
    pub saved_tokens: u64,
    /// Dollars that these would have cost.
    pub saved: f64,
}

/// What is behind each `usage` in some bytes, where it is all there.
fn usages(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Value> {
    const NAME: &[u8] = b"\"usage\"";
    let places = (0..bytes.len().saturating_sub(NAME.len())).filter(|at| bytes[*at..].starts_with(NAME));
    places.filter_map(|at| {
        let rest = bytes[at + NAME.len()..].trim_ascii_start().strip_prefix(b":")?;
        serde_json::Deserializer::from_slice(rest).into_iter::<Value>().next()?.ok()
    })
}

impl Sums {
    /// Adds another one's.
    pub fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.requests, other.requests);
        add(&mut self.hits, other.hits);
        add(&mut self.joined, other.joined);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.cached_input_tokens, other.cached_input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.unmetered, other.unmetered);
        add(&mut self.saved_tokens, other.saved_tokens);
        self.cost += other.cost;
        self.saved += other.saved;
    }

    /// Of a request that a provider answered, using so much, or about so much where it didn't tell.
    #[must_use]
    pub fn forwarded(used: Tokens, is_told: bool, price: Option<&Price>) -> Self {
        Self {
            requests: 1,
            input_tokens: used.input,
            cached_input_tokens: used.cached,
            output_tokens: used.output,
            unmetered: u64::from(!is_told),
            cost: price.map_or(0.0, |price| used.cost(price)),
            ..Self::default()
        }
    }

    /// Of a request that cost nothing, and would have used so much.
    #[must_use]
    pub fn spared(tokens: Option<Tokens>, price: Option<&Price>, joined: bool) -> Self {
        let spared = tokens.unwrap_or_default();
        Self {
            requests: 1,
            hits: u64::from(!joined),
            joined: u64::from(joined),
            saved_tokens: spared.all(),
            saved: price.map_or(0.0, |price| spared.cost(price)),
            ..Self::default()
        }
    }
}

/// Days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Day(u32);

impl Day {
    /// Of a time in milliseconds since 1970.
    #[must_use]
    pub fn of_millis(millis: u64) -> Self {
        Self(u32::try_from(millis / MILLIS_PER_DAY).unwrap_or(u32::MAX))
    }

    /// `2026-11-26`, of any day of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()?;
        let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Self::of_millis(u64::try_from(since.as_millis()).ok()?))
    }

    /// The first of its month.
    fn month(self) -> String {
        self.to_string().get(..7).unwrap_or_default().to_owned()
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::from(self.0) * MILLIS_PER_DAY);
        let text = humantime::format_rfc3339_seconds(at).to_string();
        f.write_str(text.get(..10).unwrap_or_default())
    }
}

/// Whose requests, for what, answered by whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// The tenant.
    pub tenant: String,
    /// What they asked for.
    pub model: String,
    /// The provider that answered, or `cache`.
    pub provider: String,
}

/// All that was used.
#[derive(Debug, Default)]
pub struct Usage {
    book: Mutex<Book>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    days: BTreeMap<Day, BTreeMap<Account, Sums>>,
    /// Dollars by tenant, and by key, in the month that is named.
    month: String,
    spent: BTreeMap<String, f64>,
    /// The day of the last charge, whose month `month` is.
    #[serde(skip)]
    charged_on: Option<Day>,
    #[serde(skip)]
    unsaved: bool,
}

impl Book {
    fn charge(&mut self, day: Day, who: &str, dollars: f64) {
        self.unsaved = true;
        if self.charged_on.replace(day) != Some(day) {
            let month = day.month();
            if self.month != month {
                self.month = month;
                self.spent.clear();
            }
        }
        match self.spent.get_mut(who) {
            Some(spent) => *spent += dollars,
            None => drop(self.spent.insert(who.to_owned(), dollars)),
        }
    }
}

impl Usage {
    /// Adds a request.
    pub fn add(&self, day: Day, account: Account, sums: &Sums) {
        let book = &mut *self.book.lock();
        book.charge(day, &account.tenant, sums.cost);
        let rows = book.days.entry(day).or_default();
        let mut account = account;
        account.model.truncate(account.model.floor_char_boundary(NAME));
        let account = match rows.len() >= ROWS && !rows.contains_key(&account) {
            true => Account { model: OTHERS.into(), ..account },
            false => account,
        };
        rows.entry(account).or_default().add(sums);
        while book.days.first_key_value().is_some_and(|(first, _)| first.0 + DAYS < day.0) {
            book.days.pop_first();
        }
    }

    /// Adds what a tenant's request cost to the account of the key that it came with.
    pub fn charge(&self, day: Day, key: &str, dollars: f64) {
        self.book.lock().charge(day, key, dollars);
    }

    /// Dollars that a tenant or a key has cost in the month of `day`.
    #[must_use]
    pub fn spent(&self, who: &str, day: Day) -> f64 {
        let book = self.book.lock();
        if book.month == day.month() { book.spent.get(who).copied().unwrap_or(0.0) } else { 0.0 }
    }

    /// What was used from one day to another, both included, by `tenant`.
    #[must_use]
    pub fn rows(&self, from: Day, to: Day, tenant: &str) -> Vec<(Day, Account, Sums)> {
        if from > to {
            return Vec::new();
        }
        let book = self.book.lock();
        let days = book.days.range(from..=to);
        let rows = days.flat_map(|(day, rows)| rows.iter().map(|(account, sums)| (*day, account, sums)));
        rows.filter(|(_, account, _)| account.tenant == tenant)
            .map(|(day, account, sums)| (day, account.clone(), *sums))
            .collect()
    }

    /// Under which name it is kept.
    pub const STATE: &str = "usage";

    /// Whether what was saved can be read.
    ///
    /// # Errors
    /// Why not.
    pub fn check(bytes: &[u8]) -> Result<(), StateError> {
        State::read(bytes, VERSION)?.value::<Book>().map(drop)
    }

    /// What is to be saved, if anything changed.
    #[must_use]
    pub fn take_unsaved(&self) -> Option<Vec<u8>> {
        let book = &mut *self.book.lock();
        std::mem::take(&mut book.unsaved).then(|| write_state(VERSION, book)).flatten()
    }

    /// It wasn't saved after all.
    pub fn save_again(&self) {
        self.book.lock().unsaved = true;
    }

    /// Goes on with what was saved.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn restore(&self, bytes: &[u8]) -> Result<(), StateError> {
        *self.book.lock() = State::read(bytes, VERSION)?.value()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PRICE: Price = Price { input: 2.0, output: 10.0, cached_input: Some(0.5) };

    #[test]
    fn usage_is_read_in_all_shapes_and_at_the_end_of_streams() {
        let openai =
            json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}});
        let tokens = Tokens { input: 10, cached: 4, output: 5 };
        assert_eq!(Tokens::of(&openai), Some(tokens));
        let anthropic = json!({"input_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1, "output_tokens": 5});
        assert_eq!(Tokens::of(&anthropic), Some(tokens));
        let responses = json!({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5});
        assert_eq!(Tokens::of(&responses), Some(tokens));
        assert_eq!(Tokens::of(&json!(null)), None);
        let whole = json!({"choices": [{"message": {"content": "say \"usage\": 5"}}], "usage": openai}).to_string();
        assert_eq!(Tokens::at_end_of(whole.as_bytes()), Some(tokens));
        let stream = format!("data: {{\"usage\":{openai}}}\n\ndata: {{\"usage\":null}}\n\ndata: [DONE]\n\n");
        assert_eq!(Tokens::at_end_of(stream.as_bytes()), Some(tokens));
        for none in ["", "\"usage\"", "\"usage\":", "{\"usage\": null}", "{\"usage\": {\"x\": 1}}"] {
            assert_eq!(Tokens::at_end_of(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn usage_is_put_together_from_a_replys_beginning_and_end() {
        let begun = br#"data: {"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1}}}"#;
        let ended = br#"data: {"type":"message_delta","usage":{"output_tokens":15}}"#;
        let all = Some(Tokens { input: 25, cached: 0, output: 15 });
        assert_eq!(Tokens::told_by(begun, ended), all);
        let short = [&begun[..], b"\n\n", ended].concat();
        assert_eq!(Tokens::told_by(&short, &short), all);
        let whole = br#"{"usage": {"prompt_tokens": 25, "completion_tokens": 15}, "choices": [{"message""#;
        assert_eq!(Tokens::told_by(whole, b"and so on\"}}]}"), all);
        assert_eq!(Tokens::told_by(b"{}", b"{}"), None);
        let much = json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX});
        let mut sums = Sums::forwarded(Tokens::of(&much).unwrap(), true, None);
        (0..3).for_each(|_| sums.add(&Sums { output_tokens: u64::MAX, ..sums }));
        assert_eq!(sums.output_tokens, u64::MAX);
    }

    #[test]
    fn cached_tokens_have_their_own_price() {
        let tokens = Tokens { input: 1_000_000, cached: 500_000, output: 100_000 };
        assert!((tokens.cost(&PRICE) - (1.0 + 0.25 + 1.0)).abs() < 1e-9);
        assert!((tokens.cost(&Price { cached_input: None, ..PRICE }) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_used_adds_up_by_day_and_month_and_outlives_a_restart() {
        let usage = Usage::default();
        let account = |tenant: &str| Account { tenant: tenant.into(), model: "m".into(), provider: "p".into() };
        let used = Sums::forwarded(Tokens { input: 500_000, cached: 0, output: 0 }, true, Some(&PRICE));
        let [last, first] = ["2026-10-31", "2026-11-01"].map(|day| Day::parse(day).unwrap());
        usage.add(last, account("a"), &used);
        assert_eq!((usage.spent("a", last), usage.spent("a", first)), (1.0, 0.0));
        usage.add(first, account("a"), &used);
        usage.add(first, account("a"), &Sums::spared(Some(Tokens { input: 7, cached: 0, output: 3 }), None, false));
        usage.add(first, account("b"), &used);
        usage.charge(first, "key", 0.25);
        let again = Usage::default();
        again.restore(&usage.take_unsaved().unwrap()).unwrap();
        assert!(usage.take_unsaved().is_none());
        let rows = again.rows(last, first, "a");
        assert_eq!(rows.iter().map(|(day, ..)| day.to_string()).collect::<Vec<_>>(), ["2026-10-31", "2026-11-01"]);
        assert_eq!((rows[1].2.requests, rows[1].2.hits, rows[1].2.saved_tokens), (2, 1, 10));
        assert_eq!((again.spent("a", first), again.spent("b", first), again.spent("key", first)), (1.0, 1.0, 0.25));
        assert!(again.rows(first, last, "a").is_empty());
    }

    #[test]
    fn made_up_models_do_not_fill_the_book() {
        let (usage, day) = (Usage::default(), Day(20_000));
        for n in 0..ROWS + 100 {
            let account = Account { tenant: "a".into(), model: format!("m{n}"), provider: "p".into() };
            usage.add(day, account, &Sums { requests: 1, ..Sums::default() });
        }
        let rows = usage.rows(day, day, "a");
        assert_eq!(rows.len(), ROWS + 1);
        assert_eq!(rows.iter().map(|(_, _, sums)| sums.requests).sum::<u64>(), ROWS as u64 + 100);
    }
}
