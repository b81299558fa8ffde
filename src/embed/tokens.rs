//! Text → windows of token ids.

use std::path::Path;

use tokenizers::Tokenizer;

use super::error::{EmbedError, ModelError};
use super::identity::ModelDigest;
use super::manifest::Manifest;
use super::vector::{Embedding, TextEmbedding};

/// Tokens that neighbouring windows share, so that no phrase is cut in every window; a quarter of a window at most.
const OVERLAP: usize = 32;
/// A text of more bytes per token than this holds long words that no vocabulary has, or mostly blanks; it is refused before
/// it is tokenized, because tokenizing megabytes only to count them would hold up everybody else's batch.
const MAX_BYTES_PER_TOKEN: usize = 32;

/// Bytes of the longest text that is tokenized where `max_tokens` are allowed.
pub(super) fn max_bytes(max_tokens: usize) -> usize {
    max_tokens.saturating_mul(MAX_BYTES_PER_TOKEN)
}

/// A model's tokenizer and window.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    /// The special tokens around every window, as the tokenizer's own template puts them.
    before: Vec<u32>,
    after: Vec<u32>,
    /// What the tokenizer puts for a word that its vocabulary lacks.
    unknown: Option<u32>,
    window: usize,
    model: ModelDigest,
}

impl Tokens {
    /// The tokenizer in `bytes`, which were read from `path`.
    pub(super) fn parse(
        path: &Path,
        bytes: &[u8],
        manifest: &Manifest,
        model: ModelDigest,
    ) -> Result<Self, ModelError> {
        let malformed = |why: String| ModelError::Malformed { path: path.to_owned(), why };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
        // Shipped tokenizers often pad every text to a fixed length and truncate; windows and batches are our business.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| malformed(error.to_string()))?;
        let probe = tokenizer.encode_fast("a", true).map_err(|error| malformed(error.to_string()))?;
        let plain = tokenizer.encode_fast("a", false).map_err(|error| malformed(error.to_string()))?;
        let at = probe
            .get_ids()
            .windows(plain.len().max(1))
            .position(|ids| ids == plain.get_ids())
            .ok_or_else(|| malformed("its template does not keep the text's own tokens together".into()))?;
        let before = probe.get_ids()[..at].to_vec();
        let after = probe.get_ids()[at + plain.len()..].to_vec();
        if manifest.window <= before.len() + after.len() {
            return Err(malformed(format!("a window of {} tokens leaves no room for text", manifest.window)));
        }
        let unknown = ["[UNK]", "<unk>"].iter().find_map(|token| tokenizer.token_to_id(token));
        Ok(Self { tokenizer, before, after, unknown, window: manifest.window, model })
    }

    /// What is wrong if the model knows only `vocabulary` tokens.
    pub(super) fn beyond(&self, vocabulary: usize) -> Option<String> {
        let largest = self.tokenizer.get_vocab(true).into_values().max()?;
        (largest as usize >= vocabulary)
            .then(|| format!("vocab_size is {vocabulary}, but the tokenizer has a token with the number {largest}"))
    }

    /// # Errors
    /// [`EmbedError::TooLong`] for a text of more than `max_tokens` tokens, [`EmbedError::Unfit`] for one that the
    /// tokenizer refuses.
    pub(super) fn windows(&self, text: &str, max_tokens: usize) -> Result<Windows, EmbedError> {
        if text.len() > max_bytes(max_tokens) {
            return Err(EmbedError::TooLong(max_tokens));
        }
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| EmbedError::Unfit(error.to_string()))?;
        let ids = encoding.get_ids();
        if ids.len() > max_tokens {
            return Err(EmbedError::TooLong(max_tokens));
        }
        let capacity = self.window - self.before.len() - self.after.len();
        let dressed = |ids: &[u32]| [&self.before, ids, &self.after].concat();
        let spans = spans(ids.len(), capacity);
        if ids.is_empty() && self.before.is_empty() && self.after.is_empty() {
            return Err(EmbedError::Unfit("it has no tokens".into()));
        }
        Ok(Windows {
            inputs: spans.iter().map(|span| dressed(&ids[span.clone()])).collect(),
            weights: spans.iter().map(|span| span.len().max(1)).collect(),
            tokens: ids.len(),
            lossy: spans.len() > 1 || ids.iter().any(|id| Some(*id) == self.unknown),
            model: self.model.clone(),
        })
    }
}

/// Tokens that windows of `capacity` tokens share with the one before.
fn overlap(capacity: usize) -> usize {
    OVERLAP.min(capacity / 4)
}

/// Windows over `tokens` tokens: each `capacity` long and overlapping the one before by [`overlap`]; the last one ends
/// with the text and so may overlap more. One window where everything fits.
fn spans(tokens: usize, capacity: usize) -> Vec<std::ops::Range<usize>> {
    if tokens <= capacity {
        return std::iter::once(0..tokens).collect();
    }
    let mut spans: Vec<_> = (0..)
        .map(|n| n * (capacity - overlap(capacity)))
        .take_while(|start| start + capacity < tokens)
        .map(|start| start..start + capacity)
        .collect();
    spans.push(tokens - capacity..tokens);
    spans
}

/// One text, ready for the model: cut into windows where it is longer than the model takes.
pub struct Windows {
    inputs: Vec<Vec<u32>>,
    /// Tokens of each window.
    weights: Vec<usize>,
    /// Of the whole text.
    tokens: usize,
    lossy: bool,
    model: ModelDigest,
}

impl Windows {
    /// A text of these windows.
    #[cfg(test)]
    pub(super) fn of(inputs: Vec<Vec<u32>>) -> Self {
        let weights: Vec<usize> = inputs.iter().map(Vec::len).collect();
        let model = ModelDigest::new("test");
        Self { tokens: weights.iter().sum(), lossy: inputs.len() > 1, weights, inputs, model }
    }

    /// Its windows' token ids.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.inputs.iter().map(Vec::as_slice)
    }

    /// The text's vector from the model's, one per window: their mean, each weighing as much as it has tokens.
    ///
    /// # Errors
    /// [`EmbedError::Unfit`] where one has no direction.
    pub fn pool(self, vectors: Vec<Vec<f32>>) -> Result<TextEmbedding, EmbedError> {
        let none = || EmbedError::Unfit("its vector is zero or not finite".into());
        let mut sum = vec![0.0f32; vectors.first().ok_or_else(none)?.len()];
        for (tokens, vector) in self.weights.into_iter().zip(vectors) {
            #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^24")]
            let weight = tokens as f32;
            for (total, x) in sum.iter_mut().zip(Embedding::normalised(vector).ok_or_else(none)?.as_slice()) {
                *total += weight * x;
            }
        }
        let vector = Embedding::normalised(sum).ok_or_else(none)?;
        Ok(TextEmbedding { vector, lossy: self.lossy, tokens: self.tokens, model: self.model })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_cover_every_token_and_none_is_too_long(tokens in 0usize..5000, capacity in 1usize..600) {
            let spans = spans(tokens, capacity);
            prop_assert_eq!(spans[0].start, 0);
            prop_assert_eq!(spans[spans.len() - 1].end, tokens);
            for pair in spans.windows(2) {
                prop_assert!(pair[1].start > pair[0].start);
                prop_assert!(pair[1].start + overlap(capacity) <= pair[0].end);
            }
            prop_assert!(spans.iter().all(|span| span.len() <= capacity));
        }
    }
}
