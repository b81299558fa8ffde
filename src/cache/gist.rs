//! What is kept of answers so that they needn't be read.

use crate::decide::{AnswerClass, is_literal};
use crate::store::{Answer, AnswerGist};

/// What an answer says, whether in text or in calls of tools.
pub(super) fn answer_text(answer: &Answer) -> &str {
    match &answer.completion {
        Some(completion) if answer.text.is_empty() => completion,
        _ => &answer.text,
    }
}

/// The gist of an answer.
#[must_use]
pub fn gist_of(answer: &Answer) -> AnswerGist {
    AnswerGist {
        says: says(answer),
        is_literal: is_literal(answer_text(answer)),
        has_text: has_text(answer),
        has_usage: has_usage(answer),
    }
}

fn says(answer: &Answer) -> u64 {
    match &answer.vector {
        None => AnswerClass::of(answer_text(answer)).0,
        Some(vector) => {
            let mut hasher = blake3::Hasher::new();
            for number in &vector.components {
                hasher.update(&number.to_le_bytes());
            }
            hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        }
    }
}

fn has_text(answer: &Answer) -> bool {
    !answer.text.is_empty()
}

fn has_usage(answer: &Answer) -> bool {
    #[derive(serde::Deserialize)]
    struct Reply {
        usage: Option<serde::de::IgnoredAny>,
    }
    let reply = answer.completion.as_deref().and_then(|reply| serde_json::from_str::<Reply>(reply).ok());
    reply.is_some_and(|reply| reply.usage.is_some())
}

/// What an answer must come with, so that whoever asks can be given it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnswerNeed {
    /// Any answer will do.
    #[default]
    Nothing,
    /// Plain text.
    Text,
    /// How much was used to make it.
    Usage,
}

impl AnswerNeed {
    /// Whether an answer has it.
    #[must_use]
    pub fn is_met_by(self, answer: &Answer) -> bool {
        match self {
            Self::Nothing => true,
            Self::Text => has_text(answer),
            Self::Usage => has_usage(answer),
        }
    }

    /// The same, by the answer's gist.
    #[must_use]
    pub fn is_met_by_gist(self, gist: &AnswerGist) -> bool {
        match self {
            Self::Nothing => true,
            Self::Text => gist.has_text,
            Self::Usage => gist.has_usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ProviderVector;

    #[test]
    fn a_gist_tells_what_its_answer_would() {
        let vector = |number| ProviderVector { components: vec![number, 1.0], ..ProviderVector::default() };
        let plain = Answer { text: "Blue.".into(), ..Answer::default() };
        let answers = [
            Answer::default(),
            plain.clone(),
            Answer { completion: Some(r#"{"usage": {"total_tokens": 3}}"#.into()), ..plain.clone() },
            Answer { completion: Some(r#"{"usage": null}"#.into()), ..plain.clone() },
            Answer {
                completion: Some(r#"{"choices": [{"message": {"tool_calls": []}}]}"#.into()),
                ..Answer::default()
            },
            Answer { vector: Some(vector(0.5)), ..Answer::default() },
            Answer { vector: Some(vector(0.25)), ..Answer::default() },
        ];
        for answer in &answers {
            for need in [AnswerNeed::Nothing, AnswerNeed::Text, AnswerNeed::Usage] {
                assert_eq!(need.is_met_by_gist(&gist_of(answer)), need.is_met_by(answer), "{need:?} {answer:?}");
            }
        }
        let says: Vec<u64> = answers.iter().map(|answer| gist_of(answer).says).collect();
        assert!(says[1] == says[2] && says[2] == says[3], "what it says is its text, whatever it comes with");
        assert!(says[0] != says[1] && says[4] != says[0] && says[5] != says[6]);
        assert_eq!([1, 2, 3].map(|n| gist_of(&answers[n]).has_usage), [false, true, false]);
    }
}
