//! What only the models of one maker understand, which Converse hands on as `additionalModelRequestFields`.

use serde_json::{Map, Value, json};

use super::Unconvertible;

/// Who made a model, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Anthropic,
    /// Amazon's own Nova models.
    Nova,
    OpenAi,
    /// Somebody else, or it can't be seen: the ARN of an application's inference profile doesn't tell.
    Other,
}

impl Maker {
    pub(super) fn of(model: &str) -> Self {
        let mut words = model.split(['.', '/', ':']);
        while let Some(word) = words.next() {
            match word {
                "anthropic" => return Self::Anthropic,
                "openai" => return Self::OpenAi,
                "amazon" if words.next().is_some_and(|name| name.starts_with("nova")) => return Self::Nova,
                _ => {}
            }
        }
        Self::Other
    }
}

/// How much a model may be asked to think: OpenAI's word, the one that models here know, and Claude's tokens for it. The
/// highest words are one here, because not all models know more.
const EFFORTS: [(&str, &str, u64); 6] = [
    ("minimal", "low", 0),
    ("low", "low", 1024),
    ("medium", "medium", 4096),
    ("high", "high", 16384),
    ("xhigh", "high", 16384),
    ("max", "high", 16384),
];

/// What a model's maker has members of its own for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) members: Map<String, Value>,
    /// How many tokens it may think for, where a number is told.
    pub(super) budget: Option<u64>,
    /// Whether it thinks, so that it takes no `temperature` and the like.
    pub(super) thinks: bool,
}

/// The members for `top_k` and `reasoning_effort` of the request `chat`. Both only tune, so models that aren't known to
/// have them do without: most refuse members that they don't know.
pub(super) fn fields(chat: &Value, model: &str, may_think: bool) -> Result<Fields, Unconvertible> {
    let effort = match &chat["reasoning_effort"] {
        Value::Null => None,
        word if word == "none" => None,
        word => {
            let known = EFFORTS.iter().find(|(known, ..)| word == known);
            let (_, word, budget) = known.ok_or_else(|| Unconvertible::new("reasoning_effort", "it is not known"))?;
            Some((*word, *budget))
        }
    };
    let top_k = match &chat["top_k"] {
        Value::Null => None,
        number @ Value::Number(_) => Some(number.clone()),
        _ => return Err(Unconvertible::new("top_k", "it is no number")),
    };
    let mut fields = Fields::default();
    match (Maker::of(model), effort, top_k) {
        (Maker::Anthropic, effort, top_k) => {
            if let Some((word, budget)) = effort.filter(|(_, budget)| may_think && *budget > 0) {
                fields = thoughts(word, budget, model);
            }
            if !fields.thinks
                && let Some(top_k) = top_k
            {
                fields.members.insert("top_k".into(), top_k);
            }
        }
        (Maker::Nova, _, Some(top_k)) => {
            fields.members.insert("inferenceConfig".into(), json!({"topK": top_k}));
        }
        (Maker::OpenAi, Some((word, _)), _) => {
            fields.members.insert("reasoning_effort".into(), word.into());
        }
        _ => {}
    }
    Ok(fields)
}

/// Claude thinks from 3.7 on. At first it was told for how many tokens; since 4.6 it sees for itself, and the newest
/// models refuse a number.
fn thoughts(word: &str, budget: u64, model: &str) -> Fields {
    let (members, budget) = match claude_version(model) {
        Some(version) if version >= (4, 6) => {
            (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": word}}), None)
        }
        Some(version) if version >= (3, 7) => {
            (json!({"thinking": {"type": "enabled", "budget_tokens": budget}}), Some(budget))
        }
        _ => return Fields::default(),
    };
    Fields { members: members.as_object().cloned().unwrap_or_default(), budget, thinks: true }
}

/// The version in names like `claude-3-7-sonnet-20250219-v1:0` and `claude-opus-4-6-v1`. What is longer is a date.
fn claude_version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("claude-")?;
    let mut numbers = name.split('-').filter(|word| word.len() <= 2).filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    const NEW: &str = "global.anthropic.claude-opus-4-6-v1";

    fn members(chat: Value, model: &str) -> Value {
        fields(&chat, model, true).unwrap().members.into()
    }

    #[test]
    fn makers_are_told_apart() {
        for (model, maker) in [
            ("anthropic.claude-v2:1", Maker::Anthropic),
            (OLD, Maker::Anthropic),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", Maker::Anthropic),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0", Maker::Nova),
            ("openai.gpt-oss-120b-1:0", Maker::OpenAi),
            ("amazon.titan-text-express-v1", Maker::Other),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", Maker::Other),
            ("my-anthropic", Maker::Other),
            ("", Maker::Other),
        ] {
            assert_eq!(Maker::of(model), maker, "{model}");
        }
    }

    #[test]
    fn versions_of_claude() {
        for (model, version) in [
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", Some((3, 7))),
            ("anthropic.claude-opus-4-20250514-v1:0", Some((4, 0))),
            (OLD, Some((4, 5))),
            (NEW, Some((4, 6))),
            ("anthropic.claude-sonnet-5", Some((5, 0))),
            ("anthropic.claude-instant-v1", None),
            ("amazon.nova-pro-v1:0", None),
        ] {
            assert_eq!(claude_version(model), version, "{model}");
        }
    }

    #[test]
    fn top_k_goes_where_each_maker_has_it() {
        let chat = json!({"top_k": 5});
        assert_eq!(members(chat.clone(), OLD), json!({"top_k": 5}));
        assert_eq!(members(chat.clone(), "amazon.nova-lite-v1:0"), json!({"inferenceConfig": {"topK": 5}}));
        assert_eq!(members(chat.clone(), "openai.gpt-oss-20b-1:0"), json!({}));
        assert_eq!(members(chat, "meta.llama3-8b-instruct-v1:0"), json!({}));
    }

    #[test]
    fn efforts() {
        let chat = |effort: &str| json!({"reasoning_effort": effort, "top_k": 5});
        for (effort, budget) in [("low", 1024), ("medium", 4096), ("high", 16384), ("xhigh", 16384)] {
            let told = fields(&chat(effort), OLD, true).unwrap();
            assert_eq!(told.members["thinking"], json!({"type": "enabled", "budget_tokens": budget}));
            assert_eq!((told.members.len(), told.budget, told.thinks), (1, Some(budget), true));
        }
        let told = fields(&chat("max"), NEW, true).unwrap();
        assert_eq!(
            Value::from(told.members),
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}})
        );
        assert_eq!((told.budget, told.thinks), (None, true));
        assert_eq!(members(chat("minimal"), "openai.gpt-oss-20b-1:0"), json!({"reasoning_effort": "low"}));
        for (effort, model) in [
            ("none", OLD),
            ("minimal", NEW),
            ("high", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
            ("high", "anthropic.claude-v2"),
        ] {
            assert_eq!(members(chat(effort), model), json!({"top_k": 5}), "{effort} {model}");
        }
        assert_eq!(members(chat("none"), "openai.gpt-oss-20b-1:0"), json!({}));
        assert_eq!(members(chat("high"), "deepseek.r1-v1:0"), json!({}));
        assert!(!fields(&chat("high"), OLD, false).unwrap().thinks);
    }
}
