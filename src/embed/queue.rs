//! Texts that wait to be embedded, and which of their windows come next.
//!
//! Only order is decided here; the worker brings the texts and computes. Short texts go first, so that the many don't wait
//! for the few; but the text that came first has a window in every batch, so that it is done after as many batches as it
//! has windows, whatever else arrives.

use super::error::EmbedError;
use super::tokens::Windows;
use super::vector::TextEmbedding;

/// A digest of a text: equal texts are embedded once.
pub(super) type TextKey = [u8; 32];

/// When a text came, by count.
pub(super) type Arrival = u64;

/// Texts in the order of their arrival, each with those who wait for it (`W`).
pub(super) struct Queue<W> {
    texts: Vec<Text<W>>,
}

struct Text<W> {
    arrival: Arrival,
    key: TextKey,
    windows: Windows,
    /// One per window that is done.
    vectors: Vec<Vec<f32>>,
    waiting: W,
}

impl<W> Text<W> {
    /// The windows that are not done.
    fn remaining(&self) -> impl Iterator<Item = &[u32]> {
        self.windows.inputs().skip(self.vectors.len())
    }

    fn tokens_left(&self) -> usize {
        self.remaining().map(<[u32]>::len).sum()
    }

    /// As many of the next windows as have at most `tokens` together; takes them off `tokens`.
    fn fit(&self, tokens: &mut usize) -> usize {
        self.remaining().take_while(|window| take(tokens, window.len())).count()
    }

    fn is_done(&self) -> bool {
        self.vectors.len() == self.windows.inputs().len()
    }
}

/// A text that is done, and those who waited for it.
pub(super) struct Done<W> {
    pub(super) key: TextKey,
    pub(super) made: Result<TextEmbedding, EmbedError>,
    pub(super) waiting: W,
}

/// The next windows of some texts.
pub(super) struct Batch(Vec<Share>);

/// A text's part of a batch.
#[derive(Clone, Copy)]
struct Share {
    /// Its place in the queue.
    text: usize,
    windows: usize,
}

impl<W> Queue<W> {
    pub(super) fn new() -> Self {
        Self { texts: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Those who wait for the text of `key`, if it is here.
    pub(super) fn waiting(&mut self, key: &TextKey) -> Option<&mut W> {
        self.texts.iter_mut().find(|text| text.key == *key).map(|text| &mut text.waiting)
    }

    /// Adds a text and those who wait for it, behind those that came earlier.
    pub(super) fn insert(&mut self, arrival: Arrival, key: TextKey, windows: Windows, waiting: W) {
        let place = self.texts.partition_point(|text| text.arrival < arrival);
        self.texts.insert(place, Text { arrival, key, windows, vectors: Vec::new(), waiting });
    }

    /// Drops the texts for which nobody waits any more.
    pub(super) fn retain(&mut self, mut is_awaited: impl FnMut(&mut W) -> bool) {
        self.texts.retain_mut(|text| is_awaited(&mut text.waiting));
    }

    /// The next windows: one of the text that came first, then those of the others, the texts with the fewest tokens left
    /// first, and then more of the first; as many as have at most `tokens` tokens together, or, so that a long text in
    /// front doesn't take the place of all others, half of that beside its window. Empty only if the queue is.
    pub(super) fn batch(&self, tokens: usize) -> Batch {
        let Some(first) = self.texts.first() else { return Batch(Vec::new()) };
        let window = first.remaining().next().map_or(0, <[u32]>::len);
        let mut left = tokens.saturating_sub(window).max(tokens / 2);
        let mut others: Vec<usize> = (1..self.texts.len()).collect();
        others.sort_by_key(|&text| self.texts[text].tokens_left());
        let mut shares = vec![Share { text: 0, windows: 1 }];
        for text in others {
            let windows = self.texts[text].fit(&mut left);
            if windows == 0 {
                break;
            }
            shares.push(Share { text, windows });
        }
        let mut left = left.min(tokens.saturating_sub(window));
        shares[0].windows += first.remaining().skip(1).take_while(|window| take(&mut left, window.len())).count();
        Batch(shares)
    }

    /// Those whose texts begin with this batch.
    pub(super) fn beginning<'q>(&'q self, batch: &'q Batch) -> impl Iterator<Item = &'q W> {
        let texts = batch.0.iter().map(|share| &self.texts[share.text]);
        texts.filter(|text| text.vectors.is_empty()).map(|text| &text.waiting)
    }

    /// The batch's token ids, each text's windows one behind the other.
    pub(super) fn inputs(&self, batch: &Batch) -> Vec<&[u32]> {
        batch.0.iter().flat_map(|share| self.texts[share.text].remaining().take(share.windows)).collect()
    }

    /// Takes the batch's vectors, one per input, or why they can't be had; returns the texts that are done, or have failed.
    pub(super) fn finish(&mut self, batch: Batch, vectors: Vec<Result<Vec<f32>, EmbedError>>) -> Vec<Done<W>> {
        let mut vectors = vectors.into_iter();
        let mut ended: Vec<(usize, Option<EmbedError>)> = Vec::new();
        for Share { text, windows } in batch.0 {
            let mut failure = None;
            for vector in vectors.by_ref().take(windows) {
                match vector {
                    Ok(vector) => self.texts[text].vectors.push(vector),
                    Err(error) => failure = Some(error),
                }
            }
            if failure.is_some() || self.texts[text].is_done() {
                ended.push((text, failure));
            }
        }
        // From behind, so that the places of the rest stay what they are.
        ended.sort_unstable_by_key(|(text, _)| std::cmp::Reverse(*text));
        let mut done: Vec<_> = ended
            .into_iter()
            .map(|(place, failure)| {
                let Text { key, windows, vectors, waiting, .. } = self.texts.remove(place);
                let made = failure.map_or_else(|| windows.pool(vectors), Err);
                Done { key, made, waiting }
            })
            .collect();
        done.reverse();
        done
    }
}

/// Takes `amount` off `left`, if there is as much.
fn take(left: &mut usize, amount: usize) -> bool {
    let rest = left.checked_sub(amount);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u64) -> TextKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        key
    }

    fn windows(lengths: &[usize]) -> Windows {
        Windows::of(lengths.iter().map(|&length| vec![7; length]).collect())
    }

    fn run(queue: &mut Queue<Vec<u64>>, tokens: usize) -> Vec<u64> {
        let batch = queue.batch(tokens);
        let vectors = queue.inputs(&batch).iter().map(|_| Ok(vec![1.0, 0.0])).collect();
        queue.finish(batch, vectors).into_iter().flat_map(|done| done.waiting).collect()
    }

    proptest! {
        /// Every text is done, once, after no more batches than the texts that came before it have windows together with
        /// its own, in whatever order they were tokenized; and no batch is larger than it may be.
        #[test]
        fn everybody_is_served_in_time(
            texts in prop::collection::vec(prop::collection::vec(1usize..300, 1..5), 1..40),
            tokens in 1usize..600,
        ) {
            let mut queue = Queue::new();
            let mut order: Vec<usize> = (0..texts.len()).collect();
            order.sort_by_key(|n| (n * 7) % 5);
            for n in order {
                queue.insert(n as u64, key(n as u64), windows(&texts[n]), vec![n as u64]);
            }
            let mut served = vec![None; texts.len()];
            for round in 1.. {
                let inputs = queue.batch(tokens);
                let sizes: Vec<usize> = queue.inputs(&inputs).iter().map(|input| input.len()).collect();
                let all: usize = sizes.iter().sum();
                prop_assert!(all <= tokens || sizes.len() == 1 || all - sizes[0] <= tokens / 2, "{sizes:?}");
                for text in run(&mut queue, tokens) {
                    prop_assert!(served[text as usize].replace(round).is_none());
                }
                if queue.is_empty() {
                    break;
                }
            }
            let mut bound = 0;
            for (served, lengths) in served.iter().zip(&texts) {
                bound += lengths.len();
                prop_assert!(served.is_some_and(|round| round <= bound), "{served:?} > {bound}");
            }
        }
    }

    #[test]
    fn short_texts_overtake_long_ones_but_the_first_always_advances() {
        let mut queue = Queue::new();
        queue.insert(0, key(0), windows(&[256, 256, 256]), vec![0]);
        queue.insert(1, key(1), windows(&[256, 256]), vec![1]);
        queue.insert(2, key(2), windows(&[10]), vec![2]);
        queue.insert(3, key(3), windows(&[20]), vec![3]);
        assert_eq!(run(&mut queue, 256), [2, 3]);
        queue.insert(4, key(4), windows(&[30]), vec![4]);
        assert_eq!(run(&mut queue, 256), [4]);
        assert_eq!(run(&mut queue, 256), [0]);
        assert_eq!(run(&mut queue, 256), [0; 0]);
        assert_eq!(run(&mut queue, 256), [1]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_text_is_left_with_the_last_who_waits_for_it() {
        let mut queue = Queue::new();
        assert!(queue.waiting(&key(1)).is_none());
        queue.insert(1, key(1), windows(&[5]), vec![1]);
        queue.waiting(&key(1)).unwrap().push(2);
        assert!(queue.waiting(&key(2)).is_none());
        queue.insert(2, key(2), windows(&[5]), vec![3]);
        queue.retain(|waiting| {
            waiting.retain(|caller| *caller == 2);
            !waiting.is_empty()
        });
        assert!(queue.waiting(&key(2)).is_none());
        assert_eq!(run(&mut queue, 100), [2]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_failure_is_told_to_all_who_wait_for_that_text_and_to_nobody_else() {
        let mut queue = Queue::new();
        queue.insert(0, key(0), windows(&[256, 256]), vec![0, 10]);
        queue.insert(1, key(1), windows(&[20]), vec![1]);
        queue.insert(2, key(2), windows(&[200]), vec![2]);
        let batch = queue.batch(256);
        let failure = EmbedError::Failed("on purpose".into());
        let ended = queue.finish(batch, vec![Err(failure.clone()), Ok(vec![1.0])]);
        assert_eq!(ended[0].made, Err(failure));
        assert_eq!((&*ended[0].waiting, &*ended[1].waiting), (&[0, 10][..], &[1][..]));
        assert!(ended[1].made.is_ok());
        assert_eq!(run(&mut queue, 256), [2]);
    }

    #[test]
    fn a_long_text_takes_the_room_that_others_leave() {
        let mut queue = Queue::new();
        queue.insert(0, key(0), windows(&[256, 256, 256, 100]), vec![0]);
        queue.insert(1, key(1), windows(&[256, 44]), vec![1]);
        assert_eq!(run(&mut queue, 1024), [1]);
        assert_eq!(run(&mut queue, 1024), [0]);
        assert!(queue.is_empty());
    }
}
