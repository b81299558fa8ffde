//! A question of a conversation as one that can be understood by itself.

use super::language::Language;
use super::token::Token;
use super::tokens::split;

/// Words that point at something said before.
const POINTING: [&str; 40] = [
    "it", "its", "it's", "this", "that", "that's", "these", "those", "they", "them", "their", "theirs", "he", "she",
    "him", "her", "his", "hers", "one", "ones", "same", "other", "others", "another", "else", "instead", "then",
    "such", "both", "either", "neither", "former", "latter", "above", "again", "more", "also", "too", "previous",
    "earlier",
];

/// Words that go on with what was said before, where a question begins with them.
const GOING_ON: [&str; 17] = [
    "and", "but", "or", "so", "because", "ok", "okay", "yes", "no", "yeah", "sure", "thanks", "well", "for", "in",
    "with", "not",
];

/// Words without which a question has no verb that is known here.
const AUXILIARIES: [&str; 31] = [
    "is", "are", "am", "was", "were", "do", "does", "did", "can", "could", "will", "would", "should", "shall", "may",
    "might", "must", "have", "has", "had", "what's", "how's", "where's", "who's", "when's", "isn't", "aren't", "don't",
    "doesn't", "can't", "won't",
];

/// Words of the shortest question that stands alone.
const LEAST: usize = 3;

/// What `prompt` asks behind the questions of `context`, oldest first: itself where it stands alone, else after the last question that
/// does and all that followed. Only English is known well enough to tell; in other languages all of the context is part of the question.
#[must_use]
pub fn with_context(prompt: &str, context: &[String]) -> String {
    if context.is_empty() || stands_alone(prompt) {
        return prompt.to_owned();
    }
    let first = context.iter().rposition(|question| stands_alone(question)).unwrap_or(0);
    let mut questions: Vec<&str> = context[first..].iter().map(String::as_str).collect();
    questions.push(prompt);
    questions.join("\n")
}

/// Whether a question says all that it asks. In doubt it doesn't.
fn stands_alone(text: &str) -> bool {
    let tokens = split(text);
    let is_any = |token: &Token<'_>, words: &[&str]| words.iter().any(|word| token.is(word));
    // “Is there a discount?” points at nothing.
    let points_there = tokens.iter().enumerate().any(|(at, token)| {
        token.is("there") && !(at > 0 && is_any(&tokens[at - 1], &["is", "are", "was", "were", "will"]))
    });
    let asks_about =
        |word| tokens.first().is_some_and(|first| first.is(word)) && tokens.get(1).is_some_and(|next| next.is("about"));
    Language::of(text, &tokens) == Language::Known("en")
        && tokens.len() >= LEAST
        && tokens.iter().any(Token::is_content)
        && tokens.iter().any(|token| is_any(token, &AUXILIARIES))
        && !tokens.iter().any(|token| is_any(token, &POINTING))
        && !points_there
        && !tokens.first().is_some_and(|first| is_any(first, &GOING_ON))
        && !asks_about("what")
        && !asks_about("how")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_say_all_that_they_ask_stand_alone() {
        for alone in [
            "How do I reset my password?",
            "What is the capital of France?",
            "What's the refund policy for gift cards?",
            "Is there a discount for students?",
            "Can I pay by bank transfer?",
        ] {
            assert!(stands_alone(alone), "{alone}");
        }
        for leaning in [
            "And on mobile?",
            "How do I reset it?",
            "What about France?",
            "How about the premium plan, is it free?",
            "Why?",
            "Is that refundable?",
            "How long does this take?",
            "The blue one",
            "For the premium plan, what is the price?",
            "What can I do there?",
            "Can you tell me more?",
            "Kannst du mir sagen, wie ich das Passwort zurücksetze?",
            "¿Cómo puedo restablecer mi contraseña?",
            "",
        ] {
            assert!(!stands_alone(leaning), "{leaning}");
        }
    }

    #[test]
    fn a_question_that_leans_on_others_is_read_behind_them() {
        let context = |questions: &[&str]| questions.iter().map(|question| (*question).to_owned()).collect::<Vec<_>>();
        let reset = "How do I reset my password?";
        let earlier = context(&["What is a passkey?", reset, "And on mobile?"]);
        assert_eq!(with_context("Can I pay by bank transfer?", &earlier), "Can I pay by bank transfer?");
        let expected = format!("{reset}\nAnd on mobile?\nHow long does it take?");
        assert_eq!(with_context("How long does it take?", &earlier), expected);
        assert_eq!(
            with_context("Und auf dem Handy?", &context(&["Wie geht das?"])),
            "Wie geht das?\nUnd auf dem Handy?"
        );
        assert_eq!(with_context("Why?", &[]), "Why?");
    }
}
