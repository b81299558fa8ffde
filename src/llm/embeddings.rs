//! OpenAI's embeddings: requests for vectors, and how vectors are told.
//!
//! A request is read so that each of its inputs can be known by itself. How the numbers are spelled, as a list of floats or
//! as base64 of 32-bit floats, is no part of what they are.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize, Serialize as DeriveSerialize};
use serde_json::{Map, Value, json};

use super::error::{Malformed, Unsupported};
use super::members::{Members, Place};
use super::raw::RawMembers;

/// Members that no model sees. `cache` is said to Refrain.
const UNSEEN: [&str; 6] = ["user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "cache"];
/// Up to here every whole number is a 32-bit float.
const EXACT: f32 = 16_777_216.0;

/// A request for vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsRequest {
    /// The model, where the request names one.
    pub model: Option<String>,
    /// What vectors are asked for.
    pub inputs: Inputs,
    /// How they are to be told.
    pub encoding: Encoding,
    /// How long they are to be, where the request says so.
    pub dimensions: Option<u64>,
    /// Members that aren't known here; each may change the vectors.
    pub others: Map<String, Value>,
}

/// What vectors are asked for. All of a request's inputs are of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inputs {
    /// Texts.
    Texts(Vec<String>),
    /// Texts as the numbers of the model's tokens.
    Tokens(Vec<Vec<u64>>),
}

/// How the numbers of a vector are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// As a list of numbers.
    #[default]
    Float,
    /// As base64 of 32-bit floats, little-endian.
    Base64,
}

impl EmbeddingsRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// Where it isn't one, or has inputs that are neither texts nor tokens.
    pub fn read(body: Value) -> Result<Self, Unsupported> {
        let mut members = Members::of(body, Place::ROOT)?;
        let model = members.text("model")?;
        let inputs = Inputs::read(members.take("input"))
            .ok_or_else(|| Place::ROOT.name("input").wrong("must be a text, tokens, or a list of either"))?;
        let encoding = match members.text("encoding_format")?.as_deref() {
            None | Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            Some(_) => return Err(Place::ROOT.name("encoding_format").wrong("must be float or base64")),
        };
        let dimensions = members.integer("dimensions")?;
        for name in UNSEEN {
            members.take(name);
        }
        let mut others = members.into_map();
        others.retain(|_, value| !value.is_null());
        Ok(Self { model, inputs, encoding, dimensions, others })
    }
}

impl Inputs {
    fn read(input: Option<Value>) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let tokens = |value: &Value| -> Option<Vec<u64>> { value.as_array()?.iter().map(Value::as_u64).collect() };
        let input = input?;
        if let Value::String(text) = input {
            return Some(Self::Texts(vec![text]));
        }
        let items = input.as_array()?;
        let texts: Option<Vec<String>> = items.iter().map(text).collect();
        let lists = || items.iter().map(tokens).collect::<Option<Vec<_>>>();
        let one = || tokens(&input).map(|one| vec![one]);
        texts.map(Self::Texts).or_else(|| one().or_else(lists).map(Self::Tokens))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Tokens(lists) => lists.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each of them is known by among others of its kind.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Texts(texts) => texts.clone(),
            Self::Tokens(lists) => lists.iter().map(|list| json!(list).to_string()).collect(),
        }
    }

    /// Those at these places.
    #[must_use]
    pub fn at(&self, places: &[usize]) -> Self {
        fn pick<T: Clone>(items: &[T], places: &[usize]) -> Vec<T> {
            places.iter().filter_map(|place| items.get(*place)).cloned().collect()
        }
        match self {
            Self::Texts(texts) => Self::Texts(pick(texts, places)),
            Self::Tokens(lists) => Self::Tokens(pick(lists, places)),
        }
    }

    /// The tokens of each, of `total` that all together have: by their lengths, as nobody tells more. The sum is right.
    #[must_use]
    pub fn shares(&self, total: u64) -> Vec<u32> {
        let lengths: Vec<u64> = match self {
            Self::Texts(texts) => texts.iter().map(|text| text.len() as u64).collect(),
            Self::Tokens(lists) => lists.iter().map(|list| list.len() as u64).collect(),
        };
        let all = u128::from(lengths.iter().sum::<u64>().max(1));
        let mut sum = 0;
        let up_to = |sum: u64| u128::from(total) * u128::from(sum) / all;
        let share = |length: u64| {
            let before = up_to(sum);
            sum += length;
            u32::try_from(up_to(sum) - before).unwrap_or(u32::MAX)
        };
        lengths.into_iter().map(share).collect()
    }

    /// The same request for these inputs only; every other member keeps its spelling. None where `body` is no object.
    #[must_use]
    pub fn in_place_of_all(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut members = RawMembers::parse(body)?;
        let input = match self {
            Self::Texts(texts) => json!(texts),
            Self::Tokens(lists) => json!(lists),
        };
        members.set("input", input.to_string());
        Some(members.write())
    }
}

/// A reply with vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// The model, as the provider names it; empty where it doesn't.
    pub model: String,
    /// In the order of the inputs, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs together, where the provider tells.
    pub tokens: Option<u64>,
}

impl Vectors {
    /// Reads the reply to a request of `count` inputs.
    ///
    /// # Errors
    /// Where it isn't `count` vectors of one length, or has more to it than would be told again.
    pub fn read(reply: &[u8], count: usize) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Reply {
            data: Vec<Item>,
            model: Option<String>,
            usage: Option<Usage>,
            error: Option<IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct Usage {
            prompt_tokens: Option<u64>,
            total_tokens: Option<u64>,
        }
        let reply = reply.strip_prefix(b"\xef\xbb\xbf").unwrap_or(reply);
        let Reply { data, model, usage, error } =
            serde_json::from_slice(reply).map_err(|error| Malformed(error.to_string()))?;
        let wrong = |why: String| Err(Malformed(why));
        if error.is_some() {
            return wrong("it tells an error".into());
        }
        if data.len() != count || count == 0 {
            return wrong(format!("it has {} vectors for {count} inputs", data.len()));
        }
        if let Some(name) = data.iter().find_map(|item| item.unknown.as_ref()) {
            return wrong(format!("a vector has a member `{name}`"));
        }
        let dimension = data[0].components.len();
        if dimension == 0 || data.iter().any(|item| item.components.len() != dimension) {
            return wrong("its vectors are of different lengths, or empty".into());
        }
        if !data.iter().flat_map(|item| &item.components).all(|number| number.is_finite()) {
            return wrong("a vector has a number that is none".into());
        }
        let has_places = data.iter().any(|item| item.index.is_some());
        let mut placed: Vec<Option<Vec<f32>>> = vec![None; count];
        for (order, item) in data.into_iter().enumerate() {
            let place = if has_places { item.index } else { Some(order) };
            match place.and_then(|place| placed.get_mut(place)) {
                Some(free @ None) => *free = Some(item.components),
                _ => return wrong("its vectors aren't numbered one by one".into()),
            }
        }
        let tokens = usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens));
        Ok(Self { model: model.unwrap_or_default(), vectors: placed.into_iter().flatten().collect(), tokens })
    }
}

/// One vector of a reply.
struct Item {
    index: Option<usize>,
    components: Vec<f32>,
    /// A member that says something and isn't known.
    unknown: Option<String>,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a vector")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Item, A::Error> {
                let (mut index, mut components, mut unknown) = (None, None, None);
                while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "index" => index = members.next_value()?,
                        "embedding" => components = Some(members.next_value::<Components>()?.0),
                        "object" => drop(members.next_value::<IgnoredAny>()?),
                        _ if members.next_value::<Option<IgnoredAny>>()?.is_some() => unknown = Some(name.into_owned()),
                        _ => {}
                    }
                }
                let components = components.ok_or_else(|| de::Error::missing_field("embedding"))?;
                Ok(Item { index, components, unknown })
            }
        }
        deserializer.deserialize_map(ItemVisitor)
    }
}

/// The numbers of a vector, in either spelling.
struct Components(Vec<f32>);

impl<'de> Deserialize<'de> for Components {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ComponentsVisitor;
        impl<'de> Visitor<'de> for ComponentsVisitor {
            type Value = Components;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers, or base64")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Components, A::Error> {
                let mut components = Vec::new();
                while let Some(number) = numbers.next_element()? {
                    components.push(number);
                }
                Ok(Components(components))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Components, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                let (numbers, rest) = bytes.as_chunks();
                if !rest.is_empty() {
                    return Err(E::custom("the bytes of a vector are no 32-bit floats"));
                }
                Ok(Components(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
            }
        }
        deserializer.deserialize_any(ComponentsVisitor)
    }
}

/// Writes a reply: vectors in the order of the inputs, and the tokens of all inputs together.
///
/// # Errors
/// serde_json's.
pub fn write_reply(
    id: Option<&str>,
    model: &str,
    vectors: &[&[f32]],
    encoding: Encoding,
    tokens: u64,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(DeriveSerialize)]
    struct Reply<'r> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'r str>,
        object: &'static str,
        data: Vec<Item<'r>>,
        model: &'r str,
        usage: Usage,
    }
    #[derive(DeriveSerialize)]
    struct Item<'r> {
        object: &'static str,
        index: usize,
        embedding: Told<'r>,
    }
    #[derive(DeriveSerialize)]
    struct Usage {
        prompt_tokens: u64,
        total_tokens: u64,
    }
    let told = vectors.iter().map(|numbers| Told { numbers, encoding });
    let data = told.enumerate().map(|(index, embedding)| Item { object: "embedding", index, embedding }).collect();
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    serde_json::to_vec(&Reply { id, object: "list", data, model, usage })
}

/// A vector as it is told.
struct Told<'v> {
    numbers: &'v [f32],
    encoding: Encoding,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Vectors of bytes or bits are whole numbers, and stay so.
        let is_whole = |number: &f32| number.fract() == 0.0 && number.abs() < EXACT;
        match self.encoding {
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                serializer.serialize_str(&STANDARD.encode(bytes))
            }
            #[expect(clippy::cast_possible_truncation, reason = "whole, and small enough")]
            Encoding::Float if self.numbers.iter().all(is_whole) => {
                serializer.collect_seq(self.numbers.iter().map(|number| *number as i32))
            }
            Encoding::Float => serializer.collect_seq(self.numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: Value) -> EmbeddingsRequest {
        EmbeddingsRequest::read(body).unwrap()
    }

    fn inputs(input: Value) -> Option<Inputs> {
        EmbeddingsRequest::read(json!({"model": "m", "input": input})).ok().map(|request| request.inputs)
    }

    fn reply(data: Value) -> Vec<u8> {
        json!({"object": "list", "data": data, "model": "m-1", "usage": {"prompt_tokens": 5, "total_tokens": 5}})
            .to_string()
            .into_bytes()
    }

    fn item(index: usize, embedding: Value) -> Value {
        json!({"object": "embedding", "index": index, "embedding": embedding})
    }

    #[test]
    fn a_request_is_read_without_what_no_model_sees() {
        let request =
            read(json!({"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 3.0, "user": "u",
            "cache": {"ttl": 1}, "input_type": "query", "truncate": null}));
        assert_eq!((request.encoding, request.dimensions), (Encoding::Base64, Some(3)));
        assert_eq!(Value::from(request.others), json!({"input_type": "query"}));
        for wrong in [json!({"input": 5}), json!({"input": "a", "encoding_format": "int8"}), json!([]), json!({})] {
            assert!(EmbeddingsRequest::read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn inputs_are_texts_or_tokens() {
        let texts = |texts: &[&str]| Some(Inputs::Texts(texts.iter().map(|text| (*text).to_owned()).collect()));
        assert_eq!(inputs(json!("a")), texts(&["a"]));
        assert_eq!(inputs(json!(["a", "a"])), texts(&["a", "a"]));
        assert_eq!(inputs(json!([])), texts(&[]));
        assert_eq!(inputs(json!([1, 2])), Some(Inputs::Tokens(vec![vec![1, 2]])));
        assert_eq!(inputs(json!([[1], [2, 3]])), Some(Inputs::Tokens(vec![vec![1], vec![2, 3]])));
        for other in
            [json!(null), json!(["a", [1]]), json!([1, "a"]), json!([{"text": "a"}]), json!([-1]), json!([[1.5]])]
        {
            assert_eq!(inputs(other.clone()), None, "{other}");
        }
        assert_eq!(inputs(json!([[1], [2, 3]])).unwrap().names(), ["[1]", "[2,3]"]);
    }

    #[test]
    fn a_part_of_a_request_keeps_all_else() {
        let body = br#"{"input": ["a", "b", "c"], "model": "m", "x": 1.00}"#;
        let all = inputs(json!(["a", "b", "c"])).unwrap();
        let part = all.at(&[2, 0]).in_place_of_all(body).unwrap();
        assert_eq!(String::from_utf8(part).unwrap(), r#"{"input":["c","a"],"model":"m","x":1.00}"#);
        let tokens = inputs(json!([[1], [2]])).unwrap();
        assert_eq!(tokens.at(&[1]).in_place_of_all(b"{\"input\":[]}").unwrap(), b"{\"input\":[[2]]}");
        assert_eq!(all.in_place_of_all(b"[]"), None);
    }

    #[test]
    fn vectors_are_read_in_either_spelling_and_any_order() {
        let base64 = STANDARD.encode([1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        let expected = Vectors { model: "m-1".into(), vectors: vec![vec![1.5, -2.0], vec![0.1, 0.0]], tokens: Some(5) };
        for data in [
            json!([item(0, json!([1.5, -2])), item(1, json!([0.1, 0]))]),
            json!([item(1, json!([0.1, 0])), item(0, base64.clone().into())]),
            json!([{"embedding": base64, "object": null, "text": null}, {"embedding": [0.1, 0]}]),
        ] {
            assert_eq!(Vectors::read(&reply(data), 2).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_a_vector_for_each_input_is_no_reply() {
        for data in [
            json!([item(0, json!([1]))]),
            json!([item(0, json!([1])), item(1, json!([1])), item(2, json!([1]))]),
            json!([item(0, json!([1])), item(0, json!([1]))]),
            json!([item(0, json!([1])), item(2, json!([1]))]),
            json!([item(0, json!([1])), {"embedding": [1]}]),
            json!([item(0, json!([1])), item(1, json!([1, 2]))]),
            json!([item(0, json!([])), item(1, json!([]))]),
            json!([item(0, json!([1])), item(1, json!("AAA="))]),
            json!([item(0, json!([1])), item(1, STANDARD.encode(f32::NAN.to_le_bytes()).into())]),
            json!([item(0, json!([1])), item(1, json!({"x": 1}))]),
            json!([{"index": 0, "embedding": [1], "sparse": {"1": 2}}, item(1, json!([1]))]),
            json!([item(0, json!([1])), {"index": 1}]),
        ] {
            assert!(Vectors::read(&reply(data.clone()), 2).is_err(), "{data}");
        }
        for body in ["", "[]", "{\"data\": [], \"error\": {\"message\": \"no\"}}", "{\"data\": null}"] {
            assert!(Vectors::read(body.as_bytes(), 0).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            vectors in (1_usize..5).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(-2.0_f32..2.0, d), 1..5)),
            is_base64 in any::<bool>(),
        ) {
            let encoding = if is_base64 { Encoding::Base64 } else { Encoding::Float };
            let slices: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
            let written = write_reply(None, "m", &slices, encoding, 9).unwrap();
            let read = Vectors::read(&written, vectors.len()).unwrap();
            prop_assert_eq!(read, Vectors { model: "m".into(), vectors, tokens: Some(9) });
        }

        #[test]
        fn shares_come_to_the_whole(texts in prop::collection::vec("[a-z]{0,9}", 1..20), total in 0_u64..10_000) {
            let has_letters = texts.iter().any(|text| !text.is_empty());
            let shares = Inputs::Texts(texts).shares(total);
            prop_assert_eq!(shares.iter().map(|share| u64::from(*share)).sum::<u64>(), if has_letters { total } else { 0 });
        }
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let written = write_reply(Some("e"), "m", &[&[5.0, -3.0], &[0.5, 1.0]], Encoding::Float, 2).unwrap();
        let expected = r#"{"id":"e","object":"list","data":[{"object":"embedding","index":0,"embedding":[5,-3]},{"object":"embedding","index":1,"embedding":[0.5,1.0]}],"model":"m","usage":{"prompt_tokens":2,"total_tokens":2}}"#;
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}
