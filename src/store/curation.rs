//! Curated entries: answers that somebody wrote for many chats, such as an FAQ's.

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::key::{EntryId, ScopeKey, TextHash, derive};
use crate::index::Tag;

/// Which chats a curated entry answers. What is unset admits any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Curation {
    /// Those that ask one of these models, by the names that chats use.
    pub models: Vec<String>,
    /// Those with exactly this system prompt.
    pub system: Option<String>,
    /// Those of this namespace.
    pub namespace: Option<String>,
}

/// What a chat says that curated entries may depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatContext {
    /// The model that is asked, by the name that the chat uses.
    pub model: Option<String>,
    /// The system prompt, if there is one.
    pub system: Option<String>,
    /// The namespace, if there is one.
    pub namespace: Option<String>,
}

impl Curation {
    /// An entry may name so many models.
    pub const MAX_MODELS: usize = 32;

    /// The fingerprint of all curated entries: those of one cache are one scope.
    #[must_use]
    pub fn fingerprint() -> [u8; 32] {
        derive("refrain curated", &[])
    }

    /// Whether the entry answers every chat.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the entry answers chats like this one.
    #[must_use]
    pub fn admits(&self, chat: &ChatContext) -> bool {
        let agrees = |mine: &Option<String>, theirs: &Option<String>| mine.is_none() || mine == theirs;
        let model = self.models.is_empty() || chat.model.as_ref().is_some_and(|model| self.models.contains(model));
        model && agrees(&self.system, &chat.system) && agrees(&self.namespace, &chat.namespace)
    }

    /// How much the entry asks of a chat. Of two with the same text, the more specific one answers.
    #[must_use]
    pub fn specificity(&self) -> usize {
        usize::from(!self.models.is_empty()) + self.restrictions()
    }

    fn restrictions(&self) -> usize {
        usize::from(self.system.is_some()) + usize::from(self.namespace.is_some())
    }

    /// What its vector carries in the index: a chat finds it by any of [`ChatContext::tags`].
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        let tag = |model| tag(model, self.system.as_deref(), self.namespace.as_deref());
        if self.models.is_empty() {
            return vec![tag(None)];
        }
        self.models.iter().map(|model| tag(Some(model))).collect()
    }

    /// The id of the entry with this text and these attributes that answers these chats.
    #[must_use]
    pub fn entry_id(&self, scope: ScopeKey, text: TextHash, attributes: &Attributes) -> EntryId {
        let mut models: Vec<&str> = self.models.iter().map(String::as_str).collect();
        models.sort_unstable();
        models.dedup();
        let restrictions = [self.system.as_deref(), self.namespace.as_deref()].map(optional);
        let plain = EntryId::new(scope, text, attributes);
        let mut parts: Vec<&[u8]> = vec![&plain.0, &restrictions[0], &restrictions[1]];
        parts.extend(models.into_iter().map(str::as_bytes));
        EntryId(derive("refrain curated entry", &parts))
    }
}

impl ChatContext {
    /// The tags of all entries that admit this chat.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        fn choices(value: Option<&String>) -> impl Iterator<Item = Option<&str>> {
            [None].into_iter().chain(value.map(|value| Some(value.as_str())))
        }
        let mut tags = Vec::new();
        for model in choices(self.model.as_ref()) {
            for system in choices(self.system.as_ref()) {
                tags.extend(choices(self.namespace.as_ref()).map(|namespace| tag(model, system, namespace)));
            }
        }
        tags
    }
}

impl From<ChatContext> for Curation {
    /// For chats like this one only.
    fn from(ChatContext { model, system, namespace }: ChatContext) -> Self {
        Self { models: model.into_iter().collect(), system, namespace }
    }
}

fn tag(model: Option<&str>, system: Option<&str>, namespace: Option<&str>) -> Tag {
    let parts = [model, system, namespace].map(optional);
    Tag::from_le_bytes(derive("refrain curated tag", &[&parts[0], &parts[1], &parts[2]]))
}

/// No value, told from an empty one.
fn optional(value: Option<&str>) -> Vec<u8> {
    value.map_or_else(|| vec![0], |value| [&[1], value.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curation(models: &[&str], system: Option<&str>, namespace: Option<&str>) -> Curation {
        Curation {
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            system: system.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        }
    }

    fn chat(model: Option<&str>, system: Option<&str>, namespace: Option<&str>) -> ChatContext {
        let owned = |value: Option<&str>| value.map(str::to_owned);
        ChatContext { model: owned(model), system: owned(system), namespace: owned(namespace) }
    }

    #[test]
    fn the_index_finds_exactly_what_admits_a_chat() {
        let values = [None, Some(""), Some("a"), Some("b")];
        let lists: [&[&str]; 4] = [&[], &["a"], &["b"], &["a", "b"]];
        for (models, system) in lists.into_iter().flat_map(|models| values.map(|system| (models, system))) {
            for namespace in values {
                let curation = curation(models, system, namespace);
                for (model, system) in values.into_iter().flat_map(|model| values.map(|system| (model, system))) {
                    for namespace in values {
                        let chat = chat(model, system, namespace);
                        let found = chat.tags().iter().any(|tag| curation.tags().contains(tag));
                        assert_eq!(found, curation.admits(&chat), "{curation:?} {chat:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn unset_admits_any_and_set_only_its_own() {
        let asks = chat(Some("m"), Some("Be kind."), None);
        assert!(Curation::default().is_for_all() && Curation::default().admits(&asks));
        assert!(curation(&["x", "m"], None, None).admits(&asks) && !curation(&["x"], None, None).admits(&asks));
        assert!(curation(&[], Some("Be kind."), None).admits(&asks));
        assert!(!curation(&[], Some("Be rude."), None).admits(&asks) && !curation(&[], None, Some("n")).admits(&asks));
        assert!(!curation(&["m"], None, None).admits(&ChatContext::default()));
    }

    #[test]
    fn the_chats_that_it_answers_tell_an_entry_from_others_of_its_text() {
        let scope = ScopeKey::new(super::super::CacheKey::new("t", "c"), &Curation::fingerprint());
        let id = |models: &[&str], system, namespace| {
            curation(models, system, namespace).entry_id(scope, TextHash::of("x"), &Attributes::default())
        };
        assert_eq!(id(&["a", "b"], None, None), id(&["b", "a"], None, None));
        let all = [
            id(&[], None, None),
            id(&["a"], None, None),
            id(&["a", "b"], None, None),
            id(&[], Some("a"), None),
            id(&[], None, Some("a")),
            id(&[], Some(""), None),
        ];
        let distinct: std::collections::HashSet<EntryId> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
