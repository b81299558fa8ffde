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
    pub(super) fn name(&'p self, name: &'p str) -> Place<'p> {
        Place { parent: Some(self), step: Step::Name(name) }
    }

    /// The item `index` of what is here.
    pub(super) fn index(&'p self, index: usize) -> Place<'p> {
        Place { parent: Some(self), step: Step::Index(index) }
    }

    /// Something is wrong here.
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
/// A member that is `null` says nothing, and one that is something else than what it is asked for as is wrong.
#[derive(Debug)]
pub(super) struct Members<'p> {
    /// In their order. Objects have few members and readers ask for many: comparing names is faster than hashing them.
    members: Vec<(String, Value)>,
    place: Place<'p>,
}

impl<'p> Members<'p> {
    /// The members of `value`, which stands at `place`.
    pub(super) fn of(value: Value, place: Place<'p>) -> Result<Self, Unsupported> {
        match value {
            Value::Object(members) => Ok(Self { members: members.into_iter().collect(), place }),
            _ => Err(place.wrong("must be an object")),
        }
    }

    /// Where the object stands.
    pub(super) fn place(&self) -> Place<'p> {
        self.place
    }

    /// Looks at a member without taking it.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).filter(|value| !value.is_null())
    }

    /// Takes a member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.remove(at).1).filter(|value| !value.is_null())
    }

    /// Takes a member out if it is `value`: it says then what not saying it says.
    pub(super) fn drop_if(&mut self, name: &str, value: impl Into<Value>) {
        if self.find(name).is_some_and(|is| same(is, &value.into())) {
            self.take(name);
        }
    }

    /// The same of each that is in `defaults`.
    pub(super) fn drop_all_of(&mut self, defaults: &Map<String, Value>) {
        self.members.retain(|(name, value)| !defaults.get(name).is_some_and(|default| same(value, default)));
    }

    /// Takes out those of `names` that are there.
    pub(super) fn take_all<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Map<String, Value> {
        names.into_iter().filter_map(|name| Some((name.to_owned(), self.take(name)?))).collect()
    }

    /// Puts a member back, for the [`rest`](Self::rest).
    pub(super) fn put_back(&mut self, name: &str, value: Value) {
        match self.members.iter_mut().find(|(member, _)| member == name) {
            Some((_, before)) => *before = value,
            None => self.members.push((name.to_owned(), value)),
        }
    }

    /// Puts back what is left of the object `name`.
    pub(super) fn put_back_rest(&mut self, name: &str, rest: Map<String, Value>) {
        let rest = object(rest.into());
        if !rest.is_empty() {
            self.put_back(name, rest.into());
        }
    }

    /// Reads the object `name`, where there is one. What is not understood in it stays there.
    pub(super) fn within<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Members<'_>) -> Result<T, Unsupported>,
    ) -> Result<Option<T>, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let mut inner = Members::of(value, self.place.name(name))?;
        let found = read(&mut inner)?;
        inner.members.retain(|(_, value)| !value.is_null());
        if !inner.members.is_empty() {
            let rest = inner.into_map();
            self.put_back(name, rest.into());
        }
        Ok(Some(found))
    }

    /// The same of an object that must be there.
    pub(super) fn within_required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Members<'_>) -> Result<T, Unsupported>,
    ) -> Result<T, Unsupported> {
        self.within(name, read)?.ok_or_else(|| self.place.name(name).wrong("is missing"))
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Unsupported> {
        self.taken(name, "a text", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Unsupported> {
        self.text(name)?.ok_or_else(|| self.place.name(name).wrong("is missing"))
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Unsupported> {
        self.taken(name, "a number", |value| value.as_f64())
    }

    /// A whole number that isn't negative, however it is spelled.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<u64>, Unsupported> {
        self.taken(name, "a whole number", |value| value.as_u64().or_else(|| whole(value.as_f64()?)))
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Unsupported> {
        self.taken(name, "true or false", |value| value.as_bool())
    }

    /// A list; none is an empty one.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Value>, Unsupported> {
        let list = self.taken(name, "a list", |value| match value {
            Value::Array(items) => Some(items),
            _ => None,
        });
        Ok(list?.unwrap_or_default())
    }

    /// What `read` makes of each item of a list; none is an empty one.
    pub(super) fn each<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(Value, Place<'_>) -> Result<T, Unsupported>,
    ) -> Result<Vec<T>, Unsupported> {
        let (items, place) = (self.list(name)?, self.place.name(name));
        items.into_iter().enumerate().map(|(index, item)| read(item, place.index(index))).collect()
    }

    /// A list of texts; none is an empty one.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Unsupported> {
        let texts = self.list(name)?.into_iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<_>>();
        texts.ok_or_else(|| self.place.name(name).wrong("must be a list of texts"))
    }

    /// A call's arguments, as JSON: some write them as it and not as a text.
    pub(super) fn arguments(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|arguments| match arguments {
            Value::String(text) => text,
            arguments => arguments.to_string(),
        })
    }

    /// What is left.
    pub(super) fn rest(self, format: FormatId) -> Extra {
        if self.members.is_empty() { Extra::default() } else { Extra::new(format, self.into_map()) }
    }

    /// What is left, as it is.
    pub(super) fn into_map(self) -> Map<String, Value> {
        self.members.into_iter().collect()
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
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

/// The members of an object; none where `value` isn't one.
pub(super) fn map(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
}

/// Those that say something.
pub(super) fn object(value: Value) -> Map<String, Value> {
    let mut members = map(value);
    members.retain(|_, value| !value.is_null());
    members
}

/// A text, a list or an object, where there is anything in it.
pub(super) fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// Whether a member says nothing.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(Value::is_null),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Adds `more` to `members`, and in its place what both have. Objects are merged, unless the new one has a `type` and so is
/// whole.
pub(super) fn merge(members: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        match (members.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(more)) if !more.contains_key("type") => merge(inner, more),
            _ => drop(members.insert(name.clone(), value.clone())),
        }
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
