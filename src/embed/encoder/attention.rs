//! Self-attention of one head over one text.

use super::kernels::{COLUMNS, Isa};

/// Queries that are answered together.
const QUERIES: usize = 8;

/// Working memory, kept from call to call.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keys, transposed: one row per dimension, as long as the text, rounded up.
    keys: Vec<f32>,
    /// Scores of [`QUERIES`] queries.
    scores: Vec<f32>,
}

/// `softmax(query · keyᵀ) · value`, all of shape (tokens, `width`), `width` a multiple of [`COLUMNS`]. The query comes
/// scaled by 1 ÷ √width.
#[inline(always)]
pub(super) fn attend<I: Isa>(
    isa: I,
    width: usize,
    (query, key, value): (&[f32], &[f32], &[f32]),
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let tokens = query.len() / width;
    let padded = tokens.next_multiple_of(COLUMNS);
    if scratch.keys.len() < width * padded {
        scratch.keys.resize(width * padded, 0.0);
        scratch.scores.resize(QUERIES * padded, 0.0);
    }
    let keys = &mut scratch.keys[..width * padded];
    transpose(key, width, keys, padded);
    let scores = &mut scratch.scores[..QUERIES * padded];
    for (query, out) in query.chunks(QUERIES * width).zip(out.chunks_mut(QUERIES * width)) {
        let rows = query.len() / width;
        for column in (0..padded).step_by(COLUMNS) {
            isa.product(rows, width, (query, width), (&keys[column..], padded), (&mut scores[column..], padded));
        }
        let mut weights = [0.0f32; QUERIES];
        for (scores, weight) in scores.chunks_exact_mut(padded).zip(&mut weights).take(rows) {
            *weight = 1.0 / isa.softmax(&mut scores[..tokens]);
        }
        for column in (0..width).step_by(COLUMNS) {
            isa.product(rows, tokens, (scores, padded), (&value[column..], width), (&mut out[column..], width));
        }
        for (out, weight) in out.chunks_exact_mut(width).zip(weights) {
            out.iter_mut().for_each(|x| *x *= weight);
        }
    }
}

/// `rows` of `width` numbers to `width` rows of `padded`; what is behind the last row stays as it was, finite.
#[inline(always)]
fn transpose(rows: &[f32], width: usize, out: &mut [f32], padded: usize) {
    for (token, row) in rows.chunks_exact(width).enumerate() {
        for (x, out) in row.iter().zip(out.chunks_exact_mut(padded)) {
            out[token] = *x;
        }
    }
}
