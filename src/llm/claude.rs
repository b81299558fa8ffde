//! What Anthropic's API and Amazon's have in common: Claude, which both were made for.

use serde_json::{Value, json};

use super::FormatId;
use super::chat::{Chat, Reasoning, ReasoningMode, Seal, SealKind};
use super::error::Unsupported;
use super::models::{self, EFFORTS, Family};

/// What the user says where the assistant spoke first.
pub(super) const OPENING: &str = "(The assistant begins.)";
/// What a JSON mode asks for; there is none without a schema.
pub(super) const JSON_ONLY: &str =
    "Answer with one valid JSON object and nothing else: no words around it, no code fence.";

/// Thoughts that Claude sealed, as the block that it takes back.
pub(super) fn thinking_block(text: &str, seal: &Seal) -> Value {
    match seal.kind {
        SealKind::Signature => json!({"type": "thinking", "thinking": text, "signature": seal.value}),
        SealKind::Encrypted => json!({"type": "redacted_thinking", "data": seal.value}),
    }
}

/// What a request says about thinking.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    /// The member `thinking`, or null.
    pub(super) member: Value,
    /// `output_config.effort`.
    pub(super) effort: Option<String>,
    /// Tokens that thoughts take, about.
    pub(super) budget: u64,
}

impl Thinking {
    /// For `chat`. `may_think` is whether the conversation allows a budget, `is_forced` whether a tool must be called.
    pub(super) fn of(chat: &Chat, family: &Family, may_think: bool, is_forced: bool) -> Result<Self, Unsupported> {
        let is_own = chat.format == FormatId::Anthropic;
        let Reasoning { effort, budget, mode, .. } = &chat.reasoning;
        let word = effort.as_deref();
        // A way of thinking that only Anthropic knows.
        if let Some(own) = chat.extra.member(FormatId::Anthropic, "thinking").filter(|own| own["type"].is_string()) {
            let budget = own["budget_tokens"].as_u64().unwrap_or(0);
            return Ok(Self { member: own.clone(), effort: effort.clone(), budget });
        }
        let mut is_wanted = match (mode, word, budget) {
            (Some(mode), ..) => Some(*mode != ReasoningMode::Disabled),
            // Anthropic's own effort counts for the answer as well, and asks for no thoughts.
            (None, Some(_), _) if is_own => None,
            (None, Some("none" | "minimal"), _) | (None, None, Some(0)) => Some(false),
            (None, Some(word), _) if !EFFORTS.contains(&word) => {
                return Err(Unsupported::new(
                    "reasoning_effort",
                    format_args!("must be one of {}", EFFORTS.join(", ")),
                ));
            }
            (None, None, None) => None,
            _ => Some(true),
        };
        // No Claude thinks where it has to call a tool, and the call matters more.
        if is_forced && (is_wanted == Some(true) || family.thinks_unasked) {
            is_wanted = Some(false);
        }
        let mut thinking = Self::default();
        match (is_wanted, family.thinking) {
            (Some(true), models::Thinking::Budget) if may_think => {
                thinking.budget = budget.unwrap_or_else(|| budget_of(word)).clamp(family.budget.0, family.budget.1);
                thinking.member = json!({"type": "enabled", "budget_tokens": thinking.budget});
            }
            (Some(true), models::Thinking::Effort) => {
                thinking.effort = chat.effort().and_then(|word| family.effort(word)).map(str::to_owned);
                thinking.member = json!({"type": "adaptive"});
            }
            (Some(false), _) => match (family.off, family.efforts.first()) {
                (Some(off), _) => thinking.member = json!({"type": off}),
                (None, Some(lowest)) if family.thinks_unasked => thinking.effort = Some((*lowest).to_owned()),
                _ if is_own && mode.is_some() => thinking.member = json!({"type": "disabled"}),
                _ => {}
            },
            _ => {}
        }
        if is_own && thinking.effort.is_none() {
            let known = word.filter(|word| EFFORTS.contains(word));
            thinking.effort = known.map_or(word, |word| family.effort(word)).map(str::to_owned);
        }
        if thinking.member["type"] == "adaptive" || family.thinks_unasked && thinking.member.is_null() {
            thinking.budget = budget_of(thinking.effort.as_deref());
        }
        // The newest models show no thoughts unless they are asked to, the older ones show them anyway.
        let display = match chat.reasoning.summary.as_deref() {
            Some(word) if is_own || word == "omitted" => Some(word),
            Some(_) if family.thinking == models::Thinking::Effort => Some("summarized"),
            _ => None,
        };
        if let Some(display) = display.filter(|_| thinking.is_on()) {
            thinking.member["display"] = display.into();
        }
        Ok(thinking)
    }

    /// Whether the model is told to think, so that it takes no temperature and the like.
    pub(super) fn is_on(&self) -> bool {
        self.member["type"] == "enabled" || self.member["type"] == "adaptive"
    }
}

/// Tokens for thoughts of this effort. Models think hard unless told otherwise.
fn budget_of(effort: Option<&str>) -> u64 {
    models::budget_of_effort(effort.unwrap_or("high")).unwrap_or(0)
}
