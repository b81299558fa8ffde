//! Taking fields out of a JSON object, and telling everything that is wrong with them at once.

use std::collections::BTreeMap;

use super::problem::{FieldError, Problem};
use crate::prompt::Json;
use crate::store::{Attributes, Flaw, Tags};

/// An object whose known fields are taken out one by one.
pub(super) struct Reader {
    members: BTreeMap<String, Json>,
    errors: Vec<FieldError>,
}

impl Reader {
    pub(super) fn new(body: &[u8]) -> Result<Self, Problem> {
        match Json::parse(body) {
            Ok(Json::Object(members)) => Ok(Self { members, errors: Vec::new() }),
            Ok(Json::Unclear(why)) => Err(Problem::invalid(format!("the body has {why}"))),
            Ok(_) => Err(Problem::invalid("the body must be a JSON object")),
            Err(error) => Err(Problem::invalid(format!("the body is not valid JSON: {error}"))),
        }
    }

    /// Whether there is a member of this name that isn't null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| *value != Json::Null)
    }

    /// Takes the member out if it is null.
    pub(super) fn take_null(&mut self, name: &str) -> bool {
        let is_null = self.members.get(name) == Some(&Json::Null);
        if is_null {
            self.members.remove(name);
        }
        is_null
    }

    /// The member, taken out; null counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        self.members.remove(name).filter(|value| *value != Json::Null)
    }

    pub(super) fn wrong(&mut self, name: &str, rule: &'static str, message: impl Into<String>) {
        self.errors.push(FieldError { field: name.to_owned(), rule, message: message.into() });
    }

    /// A string with something in it.
    pub(super) fn required_text(&mut self, name: &str) -> String {
        match self.take(name) {
            Some(Json::String(text)) if !text.is_empty() => return text,
            Some(Json::String(_)) => self.wrong(name, "minLength", "must not be empty"),
            Some(_) => self.wrong(name, "type", "must be a string"),
            None => self.wrong(name, "required", "is missing"),
        }
        String::new()
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, name: &str, number: std::ops::RangeInclusive<usize>) -> Option<Vec<String>> {
        let value = self.take(name)?;
        let text = |item: &Json| item.as_str().map(str::to_owned);
        let texts = value.as_array().and_then(|items| items.iter().map(text).collect::<Option<Vec<String>>>());
        let texts = texts.filter(|texts| number.contains(&texts.len()));
        if texts.is_none() {
            let (least, most) = (number.start(), number.end());
            self.wrong(name, "type", format!("must be a list of {least} to {most} strings"));
        }
        texts
    }

    /// Names that entries can be deleted by.
    pub(super) fn tags(&mut self, name: &str) -> Option<Tags> {
        let texts = self.texts(name, 0..=Tags::MAX)?;
        for flaw in texts.iter().filter_map(|text| Tags::flaw(text)) {
            self.wrong(name, flaw.rule, format!("{} each", flaw.message));
        }
        Some(Tags::new(texts))
    }

    pub(super) fn number(&mut self, name: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "compared with small bounds")]
        let value = match self.take(name)? {
            Json::Integer(value) => value as f64,
            Json::Fraction(value) => value,
            _ => {
                self.wrong(name, "type", "must be a number");
                return None;
            }
        };
        if range.contains(&value) {
            return Some(value);
        }
        self.wrong(name, "range", format!("must lie between {} and {}", range.start(), range.end()));
        None
    }

    pub(super) fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let Json::Integer(_) = value else {
            self.wrong(name, "type", "must be a whole number");
            return None;
        };
        let within = value.as_u64().filter(|value| range.contains(value));
        if within.is_none() {
            self.wrong(name, "range", format!("must lie between {} and {}", range.start(), range.end()));
        }
        within
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(Json::Bool(value)) => value,
            Some(_) => {
                self.wrong(name, "type", "must be true or false");
                false
            }
        }
    }

    /// Names and values as LangCache allows them, and a few more.
    pub(super) fn attributes(&mut self, name: &str) -> Attributes {
        let members = match self.take(name) {
            None => return Attributes::default(),
            Some(Json::Object(members)) => members,
            Some(_) => {
                self.wrong(name, "type", "must be an object of strings");
                return Attributes::default();
            }
        };
        if members.len() > Attributes::MAX {
            self.wrong(name, "maxProperties", format!("must have at most {} members", Attributes::MAX));
        }
        let mut attributes = BTreeMap::new();
        for (key, value) in members {
            let path = format!("{name}.{key}");
            let Json::String(value) = value else {
                self.wrong(&path, "type", "must be a string");
                continue;
            };
            match Attributes::flaw(&key, &value) {
                Some(Flaw { rule, message }) => self.wrong(&path, rule, message),
                None => drop(attributes.insert(key, value)),
            }
        }
        Attributes::new(attributes)
    }

    /// The members that weren't taken out.
    pub(super) fn take_rest(&mut self) -> BTreeMap<String, Json> {
        std::mem::take(&mut self.members)
    }

    /// All that was wrong. Members that weren't taken out are: a misspelled field must not be silently without effect.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for name in self.take_rest().into_keys() {
            self.wrong(&name, "unknown", "is not known here");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(self.errors)) }
    }
}
