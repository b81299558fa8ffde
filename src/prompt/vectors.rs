//! What of a request for vectors is meaning, beside its inputs.

use super::chat::Partition;
use super::fingerprint::{Fingerprint, Unclear};
use crate::llm::embeddings::{EmbeddingsRequest, Encoding, Inputs};

impl Fingerprint {
    /// Of everything in a request for vectors but its inputs. The model and the dimensions always count, whatever the operator
    /// says doesn't matter: vectors of two models can't be compared.
    ///
    /// # Errors
    /// Where a member is one that providers read differently.
    pub fn of_vectors(request: &EmbeddingsRequest, model: &str, partition: &Partition<'_>) -> Result<Self, Unclear> {
        let kind = match request.inputs {
            Inputs::Texts(_) => "vectors of texts",
            Inputs::Tokens(_) => "vectors of tokens",
        };
        Self::of(kind, |hasher| {
            for part in partition.apart {
                hasher.text(part.unwrap_or_default());
            }
            hasher.text(model);
            hasher.whole(request.dimensions.map(i128::from));
            let matters = |name: &str| !partition.ignored.iter().any(|ignored| ignored == name);
            let mut others: Vec<_> = request.others.iter().filter(|(name, _)| matters(name)).collect();
            if others.is_empty() {
                hasher.tag(b'-');
                return Ok(());
            }
            // A member may say that the numbers are other ones than floats, which base64 is then of.
            hasher.tag(if request.encoding == Encoding::Base64 { b'B' } else { b'F' });
            others.sort_unstable_by_key(|(name, _)| *name);
            hasher.begin_object(others.len());
            for (name, value) in others {
                hasher.text(name);
                hasher.json(value)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn print(members: &Value, partition: &Partition<'_>) -> Fingerprint {
        let mut body = json!({"input": "a"});
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Fingerprint::of_vectors(&EmbeddingsRequest::read(body).unwrap(), "m", partition).unwrap()
    }

    #[test]
    fn what_changes_vectors_separates_them_and_what_spells_them_does_not() {
        let plain = Partition::default();
        let same = [json!({}), json!({"encoding_format": "base64"}), json!({"user": "u", "input": ["b", "c"]})];
        for members in same {
            assert_eq!(print(&members, &plain), print(&json!({}), &plain), "{members}");
        }
        let others = [
            json!({"dimensions": 2}),
            json!({"input_type": "query"}),
            json!({"input": [1]}),
            json!({"input_type": "passage"}),
        ];
        let mut all = vec![print(&json!({}), &plain)];
        all.extend(others.iter().map(|members| print(members, &plain)));
        all.push(print(&json!({"input_type": "query", "encoding_format": "base64"}), &plain));
        all.push(print(&json!({}), &Partition { apart: &[Some("namespace")], ..plain }));
        for (place, one) in all.iter().enumerate() {
            assert!(!all[place + 1..].contains(one), "{place}");
        }
    }

    #[test]
    fn the_operator_may_ignore_members_but_neither_model_nor_dimensions() {
        let ignored = ["input_type", "dimensions", "model"].map(str::to_owned);
        let ignoring = Partition { ignored: &ignored, ..Partition::default() };
        assert_eq!(print(&json!({"input_type": "query"}), &ignoring), print(&json!({}), &ignoring));
        assert_ne!(print(&json!({"dimensions": 2}), &ignoring), print(&json!({}), &ignoring));
        let request = EmbeddingsRequest::read(json!({"input": "a"})).unwrap();
        let of = |model: &str| Fingerprint::of_vectors(&request, model, &ignoring).unwrap();
        assert_ne!(of("m"), of("n"));
    }
}
