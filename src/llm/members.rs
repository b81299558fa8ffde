//! Taking a JSON object apart, member by member.

use std::fmt;

use serde_json::{Map, Value};

use super::FormatId;
use super::chat::Extra;
use super::error::Unsupported;

/// Where in a request a value stands. Written out only where something is wrong with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'p> {
    Root,
    Name(&'p str),
    Index(usize),
}

impl<'p> Place<'p> {
    /// The request itself.
    pub(super) const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    /// The member `name` of what is here.
    #[must_use]
    pub(super) fn name(&'p self, name: &'p str) -> Place<'p> {
        Place { parent: Some(self), step: Step::Name(name) }
    }

    /// The item `index` of what is here.
    #[must_use]
    pub(super) fn index(&'p self, index: usize) -> Place<'p> {
        Place { parent: Some(self), step: Step::Index(index) }
    }

    /// Something is wrong here.
    #[must_use]
    pub(super) fn wrong(&self, why: impl fmt::Display) -> Unsupported {
        Unsupported::new(self, why)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Name(name) if self.parent.is_none_or(|parent| matches!(parent.step, Step::Root)) => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The members of an object. Readers take out what they understand; what is left at the end only their format knows.
/// A member that is `null` says nothing.
#[derive(Debug)]
pub(super) struct Members<'p> {
    members: Map<String, Value>,
    place: Place<'p>,
}

impl<'p> Members<'p> {
    /// The members of `value`, which stands at `place`.
    ///
    /// # Errors
    /// Where it is no object.
    pub(super) fn of(value: Value, place: Place<'p>) -> Result<Self, Unsupported> {
        match value {
            Value::Object(members) => Ok(Self { members, place }),
            _ => Err(place.wrong("must be an object")),
        }
    }

    /// Where the object stands.
    #[must_use]
    pub(super) fn place(&self) -> Place<'p> {
        self.place
    }

    /// Looks at a member without taking it.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Takes a member out if it is `value`: it says then what not saying it says.
    pub(super) fn drop_if(&mut self, name: &str, value: impl Into<Value>) {
        if self.members.get(name).is_some_and(|is| same(is, &value.into())) {
            self.members.shift_remove(name);
        }
    }

    /// The same of each that is in `defaults`.
    pub(super) fn drop_all_of(&mut self, defaults: &Map<String, Value>) {
        self.members.retain(|name, value| !defaults.get(name).is_some_and(|default| same(value, default)));
    }

    /// Puts a member back, for the [`rest`](Self::rest).
    pub(super) fn put_back(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
    }

    /// A text.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Unsupported> {
        self.taken(name, "a text", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// Where it isn't, or is something else.
    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Unsupported> {
        self.text(name)?.ok_or_else(|| self.place.name(name).wrong("is missing"))
    }

    /// A number.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Unsupported> {
        self.taken(name, "a number", |value| value.as_f64())
    }

    /// A whole number that isn't negative, however it is spelled.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<u64>, Unsupported> {
        self.taken(name, "a whole number", |value| value.as_u64().or_else(|| whole(value.as_f64()?)))
    }

    /// True or false.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Unsupported> {
        self.taken(name, "true or false", |value| value.as_bool())
    }

    /// A list; none is an empty one.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, Unsupported> {
        let list = self.taken(name, "a list", |value| match value {
            Value::Array(items) => Some(items),
            _ => None,
        });
        Ok(list?.unwrap_or_default())
    }

    /// What is left.
    #[must_use]
    pub(super) fn rest(self, format: FormatId) -> Extra {
        Extra::new(format, self.members)
    }

    /// What is left, as it is.
    #[must_use]
    pub(super) fn into_map(self) -> Map<String, Value> {
        self.members
    }

    fn taken<T>(
        &mut self,
        name: &str,
        what: &str,
        of: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(None) };
        of(value).map(Some).ok_or_else(|| self.place.name(name).wrong(format_args!("must be {what}")))
    }
}

/// Equal by value: 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// A number without a fraction.
fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and small enough")]
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_read_as_in_the_request() {
        let messages = Place::ROOT.name("messages");
        let message = messages.index(2);
        let content = message.name("content");
        assert_eq!(content.index(0).name("text").to_string(), "messages[2].content[0].text");
        assert_eq!(Place::ROOT.name("model").wrong("is missing").to_string(), "`model` is missing");
    }

    #[test]
    fn what_is_taken_is_gone_and_the_rest_stays() {
        let value =
            json!({"a": "x", "b": 2.0, "c": null, "d": [1], "e": true, "f": 1.5, "top_p": 1.0, "own": {"k": 1}});
        let mut members = Members::of(value, Place::ROOT).unwrap();
        assert_eq!(members.text("a").unwrap().as_deref(), Some("x"));
        assert_eq!(members.integer("b").unwrap(), Some(2));
        assert_eq!(members.text("c").unwrap(), None);
        assert_eq!(members.list("d").unwrap(), [json!(1)]);
        assert_eq!(members.flag("e").unwrap(), Some(true));
        assert!(members.integer("f").is_err());
        members.drop_if("top_p", 1);
        let extra = members.rest(FormatId::Anthropic);
        assert_eq!(extra.get().unwrap().1, json!({"own": {"k": 1}}).as_object().unwrap());
    }
}
