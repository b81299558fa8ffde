//! What families of models accept, wherever they run.
//!
//! The one place that knows models by name. A model that no row names is taken for the newest of its maker, because new
//! models come out more often than this table is read again.

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// It doesn't.
    Never,
    /// By a number of tokens.
    Budget,
    /// By an effort in words, as it sees fit.
    Effort,
}

/// Who made a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Claude.
    Anthropic,
    /// Gemini.
    Google,
    /// GPT and the o-series.
    OpenAi,
    /// Amazon's Nova.
    Amazon,
    /// Somebody else, or the name doesn't tell.
    Other,
}

/// Where a request may mark what Bedrock's own prompt cache is to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachePoints {
    /// Nowhere.
    Nowhere,
    /// In the system prompt and in messages.
    Prompt,
    /// Behind tools, too.
    Tools,
    /// And for an hour.
    Hour,
}

/// What a model accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Who made it.
    pub maker: Maker,
    /// How it is told to think.
    pub thinking: Thinking,
    /// The efforts in words that it takes, from the lowest on.
    pub efforts: &'static [&'static str],
    /// Whether it thinks where a request doesn't say.
    pub thinks_unasked: bool,
    /// The word that stops it from thinking, in its maker's API; none where nothing does, or nothing needs to.
    pub off: Option<&'static str>,
    /// Tokens to think with, at least and at most, where it is told so by a number.
    pub budget: (u64, u64),
    /// Whether it takes temperature and `top_p` at all.
    pub sampling: bool,
    /// Whether it takes both temperature and `top_p` in one request.
    pub temperature_with_top_p: bool,
    /// Whether a request may force it to call a tool.
    pub forced_tools: bool,
    /// Where it takes marks for Bedrock's prompt cache.
    pub cache_points: CachePoints,
    /// The number of letters and digits that ids of calls must have, where it takes no others.
    pub call_id: Option<usize>,
}

/// Efforts in words, from the lowest on.
pub const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// A model whose name tells nothing: whatever is said goes out as it is said.
const OTHER: Family = Family {
    maker: Maker::Other,
    thinking: Thinking::Budget,
    efforts: &EFFORTS,
    thinks_unasked: false,
    off: None,
    budget: (0, u64::MAX),
    sampling: true,
    temperature_with_top_p: true,
    forced_tools: true,
    cache_points: CachePoints::Nowhere,
    call_id: None,
};

/// Mistral's, by the words that their names begin with. Source: the error of its API for other ids of calls, "must be a-z, A-Z,
/// 0-9, with a length of 9".
const MISTRALS: [&str; 8] =
    ["mistral", "ministral", "magistral", "codestral", "devstral", "pixtral", "mixtral", "voxtral"];
const MISTRAL: Family = Family { call_id: Some(9), ..OTHER };

/// Amazon's Nova. Its tools can't be marked. Source: Bedrock's guide to prompt caching.
const NOVA: Family = Family { maker: Maker::Amazon, cache_points: CachePoints::Prompt, ..OTHER };

/// OpenAI's open models, as Bedrock serves them.
const GPT_OSS: Family =
    Family { maker: Maker::OpenAi, thinking: Thinking::Effort, efforts: &["low", "medium", "high"], ..OTHER };

/// Claude, from these versions on, newest first. Source: Anthropic's migration guides for 4.7, 5 and 5.5 (October 2026).
const CLAUDES: [((u32, u32), Family); 8] = {
    let first = Family { maker: Maker::Anthropic, thinking: Thinking::Never, efforts: &[], ..OTHER };
    let sonnet_3_7 =
        Family { thinking: Thinking::Budget, budget: (1024, u64::MAX), cache_points: CachePoints::Tools, ..first };
    let opus_4_1 = Family { temperature_with_top_p: false, ..sonnet_3_7 };
    let sonnet_4_5 = Family { cache_points: CachePoints::Hour, ..opus_4_1 };
    let opus_4_6 = Family { thinking: Thinking::Effort, efforts: &["low", "medium", "high", "max"], ..sonnet_4_5 };
    let opus_4_7 = Family { efforts: &["low", "medium", "high", "xhigh", "max"], sampling: false, ..opus_4_6 };
    let opus_5 = Family { thinks_unasked: true, off: Some("disabled"), ..opus_4_7 };
    let opus_5_5 = Family { off: None, forced_tools: false, ..opus_5 };
    [
        ((5, 1), opus_5_5),
        ((5, 0), opus_5),
        ((4, 7), opus_4_7),
        ((4, 6), opus_4_6),
        ((4, 5), sonnet_4_5),
        ((4, 1), opus_4_1),
        ((3, 7), sonnet_3_7),
        ((0, 0), first),
    ]
};

/// What the model of this name accepts, wherever it runs: names of Bedrock's and Vertex's, and ARNs, are understood too.
#[must_use]
pub fn family(model: &str) -> Family {
    match model.split_once("claude") {
        Some((_, name)) => claude(name),
        None if model.contains("amazon.nova") => NOVA,
        None if model.contains("gemini-") => gemini(model),
        None => openai(model),
    }
}

/// Claude, by what follows `claude` in its name.
fn claude(name: &str) -> Family {
    // Such as `claude-v2:1` and `claude-instant-v1`.
    let is_first = ["-v", "-instant"].iter().any(|old| name.starts_with(old));
    let version = if is_first { (0, 0) } else { version(name).unwrap_or((u32::MAX, 0)) };
    let mut family = CLAUDES.iter().find(|(since, _)| version >= *since).map_or(OTHER, |(_, family)| *family);
    match name {
        _ if name.contains("3-5-haiku") => family.cache_points = CachePoints::Tools,
        _ if name.contains("opus") && version == (4, 5) => family.efforts = &["low", "medium", "high"],
        _ if name.contains("fable") || name.contains("mythos") => family.off = None,
        _ if name.contains("sonnet") && version >= (5, 1) => family.off = Some("between_tools"),
        _ => {}
    }
    family
}

/// Gemini, by its name. Source: the guides on thinking of the Gemini API and of Vertex AI (October 2026).
fn gemini(model: &str) -> Family {
    let name = model.split_once("gemini-").map_or(model, |(_, name)| name);
    let version = version(name).unwrap_or((u32::MAX, 0));
    let (is_flash, is_lite) = (name.contains("flash"), name.contains("lite"));
    let newest = Family { maker: Maker::Google, thinks_unasked: true, ..OTHER };
    let by_level = |efforts| Family { thinking: Thinking::Effort, efforts, ..newest };
    match version {
        (0..=1, _) | (2, 0..=4) => Family { thinking: Thinking::Never, efforts: &[], thinks_unasked: false, ..newest },
        (2, _) if is_lite => Family { off: Some("0"), budget: (512, 24_576), thinks_unasked: false, ..newest },
        (2, _) if is_flash => Family { off: Some("0"), budget: (0, 24_576), ..newest },
        (2, _) => Family { budget: (128, 32_768), ..newest },
        (3, 0) if !is_flash => by_level(&["low", "high"]),
        _ if is_flash && (is_lite || version < (3, 7)) => by_level(&["minimal", "low", "medium", "high"]),
        _ => by_level(&["low", "medium", "high"]),
    }
}

/// GPT and the o-series, by their names. Source: OpenAI's reference of `reasoning_effort` and its guides on GPT-5 to 5.2.
fn openai(model: &str) -> Family {
    let name = model.rsplit('/').next().unwrap_or_default();
    // Bedrock's names have their maker in front, and a region before it.
    let name = name.rsplit_once("openai.").map_or(name, |(_, name)| name);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let talks = Family { maker: Maker::OpenAi, thinking: Thinking::Never, efforts: &[], ..OTHER };
    let thinks =
        |efforts| Family { thinking: Thinking::Effort, efforts, sampling: false, thinks_unasked: true, ..talks };
    let off = |family| Family { off: Some("none"), thinks_unasked: false, ..family };
    let Some(generation) = name.strip_prefix("gpt-") else {
        return match name.strip_prefix('o') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => thinks(&["low", "medium", "high"]),
            _ if name.starts_with("chatgpt-") => talks,
            _ => {
                let name = name.trim_start_matches("open-").to_ascii_lowercase();
                if MISTRALS.iter().any(|known| name.starts_with(known)) { MISTRAL } else { OTHER }
            }
        };
    };
    match version(generation).unwrap_or((u32::MAX, 0)) {
        _ if generation.starts_with("oss") => GPT_OSS,
        // Such as `4o` and `35-turbo`.
        _ if generation.starts_with(['3', '4']) || generation.contains("chat") => talks,
        (5, 0) => thinks(&["minimal", "low", "medium", "high"]),
        (5, 1) if !generation.contains("max") => off(thinks(&["none", "low", "medium", "high"])),
        _ => off(thinks(&["none", "low", "medium", "high", "xhigh"])),
    }
}

/// The version in names like `-3-7-sonnet-20250219-v1:0`, `-opus-4-6-v1` and `-sonnet-4.5`. What is longer is a date, and
/// what follows `v` is a version of something else.
fn version(name: &str) -> Option<(u32, u32)> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let number = |word: &str| word.parse().ok().filter(|_| word.len() <= 2);
    let mut numbers = words.map(number).skip_while(Option::is_none);
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

impl Family {
    /// Temperature and `top_p` for a model whose scale ends at 1. Where it refuses the two together, the one that differs from
    /// 1 stays, and temperature where both do.
    #[must_use]
    pub fn temperature_and_top_p(&self, temperature: Option<f64>, top_p: Option<f64>) -> (Option<f64>, Option<f64>) {
        match (temperature.map(|temperature| temperature.min(1.0)), top_p) {
            _ if !self.sampling => (None, None),
            both if self.temperature_with_top_p => both,
            (Some(temperature), Some(top_p)) if temperature >= 1.0 => (None, Some(top_p)),
            (Some(temperature), _) => (Some(temperature), None),
            (None, top_p) => (None, top_p),
        }
    }

    /// The effort that it takes and that comes closest to `wanted` without going beyond, where it takes any.
    #[must_use]
    pub fn effort(&self, wanted: &str) -> Option<&'static str> {
        let rank = |word: &str| EFFORTS.iter().position(|known| *known == word);
        let wanted = rank(wanted)?;
        let below = self.efforts.iter().rfind(|word| rank(word).is_some_and(|rank| rank <= wanted));
        below.or(self.efforts.first()).copied()
    }
}

/// Tokens to think with, for an effort in words. None where it means not to think; the highest share one, because some
/// models write 32,000 tokens at most, thoughts included.
#[must_use]
pub fn budget_of_effort(effort: &str) -> Option<u64> {
    match effort {
        "low" => Some(1024),
        "medium" => Some(4096),
        "high" | "xhigh" | "max" => Some(16384),
        _ => None,
    }
}

/// An effort in words, for tokens to think with out of `limit`: thirds, because a model that may think for most of its
/// answer is to think hard.
#[must_use]
pub fn effort_of_budget(budget: u64, limit: Option<u64>) -> &'static str {
    match budget.saturating_mul(3) / limit.unwrap_or(u64::MAX).max(1) {
        0 => "low",
        1 => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claudes_are_known_by_their_version_wherever_they_run() {
        for (name, expected) in [
            ("claude-3-haiku-20240307", (3, 0)),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", (3, 5)),
            ("claude-3-7-sonnet-latest", (3, 7)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-opus-4-1@20250805", (4, 1)),
            ("claude-sonnet-4-5", (4, 5)),
            ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", (4, 5)),
            ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-6-v1", (4, 6)),
            ("anthropic/claude-4.7-opus", (4, 7)),
            ("anthropic.claude-opus-5-v1:0", (5, 0)),
            ("claude-sonnet-5-5", (5, 5)),
        ] {
            let name = name.split_once("claude").unwrap().1;
            assert_eq!(version(name), Some(expected), "{name}");
        }
        assert_eq!(version("-mythos-preview"), None);
    }

    #[test]
    fn what_claudes_accept() {
        let thinking = |name: &str| family(name).thinking;
        assert_eq!(thinking("claude-3-5-haiku-latest"), Thinking::Never);
        assert_eq!(thinking("claude-haiku-4-5"), Thinking::Budget);
        assert_eq!(thinking("claude-sonnet-4-6"), Thinking::Effort);
        for (name, sampling, both, forced, off) in [
            ("claude-opus-4-20250514", true, true, true, None),
            ("claude-opus-4-1", true, false, true, None),
            ("claude-opus-4-6", true, false, true, None),
            ("claude-opus-4-8", false, false, true, None),
            ("claude-sonnet-5", false, false, true, Some("disabled")),
            ("claude-fable-5", false, false, true, None),
            ("claude-opus-5-5", false, false, false, None),
            ("claude-sonnet-5-5", false, false, false, Some("between_tools")),
            ("claude-of-next-year", false, false, false, None),
            ("llama-4", true, true, true, None),
        ] {
            let family = family(name);
            let accepts = (family.sampling, family.temperature_with_top_p, family.forced_tools, family.off);
            assert_eq!(accepts, (sampling, both, forced, off), "{name}");
        }
    }

    #[test]
    fn efforts_come_as_close_as_the_model_allows() {
        for (name, wanted, effort) in [
            ("claude-opus-4-6", "xhigh", Some("high")),
            ("claude-opus-4-6", "max", Some("max")),
            ("claude-opus-4-7", "xhigh", Some("xhigh")),
            ("claude-opus-4-7", "minimal", Some("low")),
            ("claude-opus-4-7", "vast", None),
            ("claude-3-haiku", "low", None),
        ] {
            assert_eq!(family(name).effort(wanted), effort, "{name} {wanted}");
        }
    }

    #[test]
    fn geminis_are_told_to_think_by_generation() {
        let told = |name: &str| (family(name).thinking, family(name).budget, family(name).effort("none"));
        assert_eq!(told("gemini-2.0-flash-001"), (Thinking::Never, OTHER.budget, None));
        assert_eq!(told("models/gemini-1.5-pro-latest").0, Thinking::Never);
        assert_eq!(told("gemini-2.5-pro"), (Thinking::Budget, (128, 32_768), Some("none")));
        assert_eq!(told("gemini-2.5-flash-preview-09-2025").1, (0, 24_576));
        assert_eq!(told("gemini-2.5-flash-lite").1, (512, 24_576));
        for (name, lowest) in [
            ("gemini-3-pro-preview", "low"),
            ("google/gemini-3-flash-preview", "minimal"),
            ("gemini-3.1-pro-preview", "low"),
            ("gemini-3.5-flash-lite", "minimal"),
            ("gemini-3.7-flash", "low"),
            ("gemini-12-pro", "low"),
            ("gemini-flash-latest", "low"),
        ] {
            assert_eq!(told(name), (Thinking::Effort, OTHER.budget, Some(lowest)), "{name}");
        }
        assert_eq!(family("gemini-3-pro-preview").effort("medium"), Some("low"));
        assert_eq!(family("gemma-3-27b-it").maker, Maker::Other);
    }

    #[test]
    fn what_openais_models_accept() {
        for (name, thinking, sampling, highest, lowest) in [
            ("gpt-4o-mini", Thinking::Never, true, None, None),
            ("gpt-4.1", Thinking::Never, true, None, None),
            ("gpt-35-turbo", Thinking::Never, true, None, None),
            ("ft:gpt-4o:acme::x", Thinking::Never, true, None, None),
            ("chatgpt-4o-latest", Thinking::Never, true, None, None),
            ("gpt-5-chat-latest", Thinking::Never, true, None, None),
            ("o4-mini-2025-04-16", Thinking::Effort, false, Some("high"), Some("low")),
            ("openai/gpt-5-mini", Thinking::Effort, false, Some("high"), Some("minimal")),
            ("gpt-5.1", Thinking::Effort, false, Some("high"), Some("none")),
            ("gpt-5.1-codex-max", Thinking::Effort, false, Some("xhigh"), Some("none")),
            ("gpt-5.2-2025-12-11", Thinking::Effort, false, Some("xhigh"), Some("none")),
            ("gpt-oss-120b", Thinking::Effort, true, Some("high"), Some("low")),
            ("us.openai.gpt-oss-20b-1:0", Thinking::Effort, true, Some("high"), Some("low")),
            ("us.openai.gpt-5.2-v1:0", Thinking::Effort, false, Some("xhigh"), Some("none")),
            ("openai.gpt-5-mini", Thinking::Effort, false, Some("high"), Some("minimal")),
            ("openrouter/openai/gpt-5.1", Thinking::Effort, false, Some("high"), Some("none")),
            (
                "arn:aws:bedrock:us-east-1::inference-profile/us.openai.gpt-5.1-v1:0",
                Thinking::Effort,
                false,
                Some("high"),
                Some("none"),
            ),
        ] {
            let family = family(name);
            assert_eq!(family.maker, Maker::OpenAi, "{name}");
            assert_eq!((family.thinking, family.sampling), (thinking, sampling), "{name}");
            assert_eq!((family.effort("max"), family.effort("none")), (highest, lowest), "{name}");
        }
        assert_eq!(family("olmo-3").maker, Maker::Other);
        for (name, call_id) in [
            ("mistralai/mistral-large", Some(9)),
            ("open-mixtral-8x7b", Some(9)),
            ("mistralai/Ministral-8B-Instruct", Some(9)),
            ("o3", None),
        ] {
            assert_eq!(family(name).call_id, call_id, "{name}");
        }
    }
}
