//! Which language a prompt is in, as far as its letters and its commonest words tell.

use super::token::{Kind, Token};

/// What a prompt is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// One of those whose commonest words are known.
    Known(&'static str),
    /// Mostly in letters of this kind.
    Script(Script),
    /// Latin letters, and too few common words to tell.
    Latin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Devanagari,
    Thai,
    /// Chinese, Japanese, Korean.
    EastAsian,
    Other,
}

/// Words that are common in one language and no words, or rare, in the others.
const COMMON: [(&str, &[&str]); 7] = [
    (
        "en",
        &[
            "the", "is", "are", "what", "how", "my", "to", "of", "and", "do", "does", "can", "i", "it", "you", "with",
            "for", "this", "that", "in", "when", "where", "why", "who", "which", "not", "be", "have", "has", "an",
            "on", "me", "tell", "did",
        ],
    ),
    (
        "de",
        &[
            "der", "die", "das", "und", "ist", "ich", "wie", "nicht", "ein", "eine", "mein", "meine", "zu", "mit",
            "wo", "kann", "auf", "für", "sind", "den", "dem", "wenn", "wir", "sie", "es", "von", "warum", "wer", "bin",
            "komme", "dahin",
        ],
    ),
    (
        "fr",
        &[
            "le", "la", "les", "des", "est", "je", "un", "une", "et", "quelle", "quel", "comment", "mon", "ma", "pour",
            "dans", "que", "qui", "pas", "du", "au", "ce", "c'est", "quoi", "pourquoi", "vous", "nous", "avec",
        ],
    ),
    (
        "es",
        &[
            "el", "la", "los", "las", "es", "un", "una", "y", "cómo", "qué", "mi", "para", "en", "que", "no", "de",
            "por", "con", "cuál", "dónde", "puedo", "del", "se", "lo",
        ],
    ),
    (
        "it",
        &[
            "il", "lo", "gli", "è", "un", "una", "e", "come", "che", "mio", "mia", "per", "di", "non", "con", "dove",
            "perché", "sono", "della", "nel", "quale", "posso",
        ],
    ),
    (
        "pt",
        &[
            "o", "os", "as", "é", "um", "uma", "e", "como", "que", "meu", "minha", "para", "não", "com", "onde", "por",
            "do", "da", "em", "posso", "qual", "você",
        ],
    ),
    (
        "nl",
        &[
            "de", "het", "een", "en", "is", "ik", "hoe", "niet", "mijn", "van", "met", "waar", "kan", "voor", "wat",
            "zijn", "op", "te", "dat", "waarom", "wie",
        ],
    ),
];

/// Common words that a guess needs, and by how many it must lead.
const LEAST: usize = 2;
const LEAD: usize = 1;

/// Each common word with the place of its language.
pub(super) fn common_words() -> impl Iterator<Item = (&'static str, usize)> {
    COMMON.iter().enumerate().flat_map(|(place, (_, words))| words.iter().map(move |word| (*word, place)))
}

impl Language {
    pub(super) fn of(text: &str, tokens: &[Token<'_>]) -> Self {
        if let Some(script) = script(text) {
            return Self::Script(script);
        }
        let mut counts = [0usize; COMMON.len()];
        for token in tokens.iter().filter(|token| token.kind == Kind::Word && !token.senses.languages.is_empty()) {
            let count = |(place, count): (usize, &mut usize)| *count += usize::from(token.senses.languages.has(place));
            counts.iter_mut().enumerate().for_each(count);
        }
        let by_count = |language: &usize| counts[*language];
        let best = (0..COMMON.len()).max_by_key(by_count).unwrap_or_default();
        let second = (0..COMMON.len()).filter(|language| *language != best).map(|language| counts[language]).max();
        let leads = counts[best] >= second.unwrap_or_default() + LEAD;
        if counts[best] >= LEAST && leads { Self::Known(COMMON[best].0) } else { Self::Latin }
    }

    /// Whether what is known about English words applies.
    pub(super) fn may_be_english(self) -> bool {
        matches!(self, Self::Known("en") | Self::Latin)
    }

    /// Whether two prompts surely are in different languages.
    pub(super) fn differs(self, other: Self) -> bool {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => a != b,
            (Self::Script(a), Self::Script(b)) => a != b,
            (Self::Script(_), _) | (_, Self::Script(_)) => true,
            _ => false,
        }
    }
}

/// The script of most letters, if that isn't Latin.
fn script(text: &str) -> Option<Script> {
    if text.is_ascii() {
        return None;
    }
    let mut latin = 0usize;
    let mut others: Vec<(Script, usize)> = Vec::new();
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        match of_letter(c) {
            None => latin += 1,
            Some(script) => match others.iter_mut().find(|(known, _)| *known == script) {
                Some((_, count)) => *count += 1,
                None => others.push((script, 1)),
            },
        }
    }
    let (script, count) = others.into_iter().max_by_key(|(_, count)| *count)?;
    // One sign of these says as much as several letters.
    let weight = if script == Script::EastAsian { 3 } else { 1 };
    (count * weight > latin).then_some(script)
}

/// None for Latin.
fn of_letter(c: char) -> Option<Script> {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{aa}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => None,
        '\u{370}'..='\u{3ff}' => Some(Script::Greek),
        '\u{400}'..='\u{52f}' => Some(Script::Cyrillic),
        '\u{590}'..='\u{5ff}' => Some(Script::Hebrew),
        '\u{600}'..='\u{6ff}' => Some(Script::Arabic),
        '\u{900}'..='\u{97f}' => Some(Script::Devanagari),
        '\u{e00}'..='\u{e7f}' => Some(Script::Thai),
        '\u{1100}'..='\u{11ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' => {
            Some(Script::EastAsian)
        }
        _ => Some(Script::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn languages_are_told_by_letters_and_common_words() {
        let of = |text: &str| Language::of(text, &split(text));
        for (text, language) in [
            ("What is the capital of France?", "en"),
            ("Was ist die Hauptstadt von Frankreich?", "de"),
            ("Quelle est la capitale de la France ?", "fr"),
            ("¿Cómo puedo cambiar mi contraseña?", "es"),
            ("Qual é a capital da França e por que?", "pt"),
        ] {
            assert_eq!(of(text), Language::Known(language), "{text}");
        }
        assert_eq!(of("Как сбросить пароль?"), Language::Script(Script::Cyrillic));
        assert_eq!(of("iPhoneの使い方"), Language::Script(Script::EastAsian));
        assert_eq!(of("reset password"), Language::Latin);
        assert!(!of("reset password").differs(of("Wie ist das Passwort und wo?")));
    }
}
