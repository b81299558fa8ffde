//! A pass through the encoder: the program that every thread of a [`Team`](super::team::Team) runs.
//!
//! Tokens of all texts of a pass lie one behind the other, without padding. Between phases numbers live in two places:
//! *blocks* hold some tokens' whole rows, *strips* hold some columns of all tokens. Products read blocks and write
//! strips, whatever needs whole rows reads strips and writes blocks; each lock is taken once per phase, so that it costs
//! nothing and the compiler proves that nobody writes what another reads.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use parking_lot::{RwLock, RwLockReadGuard};

use super::attention::{self, attend};
use super::kernels::{Isa, PANEL, Rows};
use super::linear::Linear;
use super::math::Extent;
use super::phases::{Broken, Phases};
use super::weights::{Layer, Norm, Weights};

/// Blocks, and strips, at most: enough tiles for as many threads, so more threads than that are of no use.
pub(in super::super) const PARTS: usize = 16;
/// Rows of a block at least, and a multiple of which it has: as many as a product takes at once.
const BLOCK_ROWS: usize = 8;

/// What a pass works on.
#[derive(Default)]
pub(super) struct Pass {
    /// The texts' tokens, one behind the other.
    tokens: Vec<u32>,
    /// Where each text lies in `tokens`.
    texts: Vec<Range<usize>>,
    rows_per_block: usize,
    /// The number of its first phase.
    first_phase: u32,
}

impl Pass {
    pub(super) fn set<'t>(&mut self, texts: impl Iterator<Item = &'t [u32]>, first_phase: u32) {
        self.tokens.clear();
        self.texts.clear();
        for text in texts {
            let from = self.tokens.len();
            self.tokens.extend_from_slice(text);
            self.texts.push(from..self.tokens.len());
        }
        self.rows_per_block = self.tokens.len().div_ceil(PARTS).next_multiple_of(BLOCK_ROWS);
        self.first_phase = first_phase;
    }

    pub(super) fn texts(&self) -> &[Range<usize>] {
        &self.texts
    }

    fn blocks(&self) -> usize {
        self.tokens.len().div_ceil(self.rows_per_block)
    }

    fn rows(&self, block: usize) -> Range<usize> {
        let from = block * self.rows_per_block;
        from..(from + self.rows_per_block).min(self.tokens.len())
    }
}

/// Some tokens' rows.
#[derive(Default)]
struct Block {
    /// (rows, hidden)
    hidden: Vec<f32>,
    /// The next product's inputs, quantised.
    codes: Vec<u8>,
    scale: Vec<f32>,
    low: Vec<f32>,
}

/// Some columns of all tokens.
#[derive(Default)]
struct Strip {
    width: usize,
    /// (tokens, width)
    numbers: Vec<f32>,
}

impl Strip {
    fn set(&mut self, tokens: usize, width: usize) -> &mut [f32] {
        self.width = width;
        if self.numbers.len() < tokens * width {
            self.numbers.resize(tokens * width, 0.0);
        }
        &mut self.numbers[..tokens * width]
    }

    #[inline(always)]
    fn row(&self, token: usize) -> &[f32] {
        &self.numbers[token * self.width..][..self.width]
    }
}

/// Numbers between phases, shared by all threads.
#[derive(Default)]
pub(super) struct Board {
    blocks: [RwLock<Block>; PARTS],
    strips: [RwLock<Strip>; PARTS],
}

type Guards<'b, T> = [Option<RwLockReadGuard<'b, T>>; PARTS];

impl Board {
    fn read<T>(parts: &[RwLock<T>; PARTS], count: usize) -> Guards<'_, T> {
        std::array::from_fn(|part| (part < count).then(|| parts[part].read()))
    }

    /// Calls `with` with every token's final row of `pass`, in order.
    pub(super) fn rows(&self, pass: &Pass, hidden: usize, mut with: impl FnMut(&[f32])) {
        for (block, rows) in (0..pass.blocks()).map(|block| (block, pass.rows(block))) {
            self.blocks[block].read().hidden.chunks_exact(hidden).take(rows.len()).for_each(&mut with);
        }
    }
}

/// One thread's working memory.
#[derive(Default)]
pub(super) struct Scratch {
    row: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attention: attention::Scratch,
}

/// One thread's part in a pass.
struct Member<'a, I> {
    isa: I,
    weights: &'a Weights,
    board: &'a Board,
    pass: &'a Pass,
    phases: &'a Phases,
    phase: u32,
}

/// Takes part in `pass` until it is over.
pub(super) fn run<I: Isa>(
    isa: I,
    weights: &Weights,
    board: &Board,
    pass: &Pass,
    phases: &Phases,
    scratch: &mut Scratch,
) -> Result<(), Broken> {
    let mut member = Member { isa, weights, board, pass, phases, phase: pass.first_phase };
    let first = weights.layers.first().map(|layer| &*layer.smoothing);
    member.embed(first, scratch)?;
    for (number, layer) in weights.layers.iter().enumerate() {
        let next = weights.layers.get(number + 1).map(|layer| &*layer.smoothing);
        member.attention(layer, scratch)?;
        member.quantise_strips(weights.shape.hidden)?;
        member.product(&layer.output, false)?;
        member.add_and_norm(&layer.attention_norm, Some(&layer.feed_smoothing), scratch)?;
        member.product(&layer.up, true)?;
        member.quantise_strips(weights.shape.intermediate)?;
        member.product(&layer.down, false)?;
        member.add_and_norm(&layer.output_norm, next, scratch)?;
    }
    Ok(())
}

impl<I: Isa> Member<'_, I> {
    fn phase(&mut self, tiles: usize, work: impl FnMut(usize)) -> Result<(), Broken> {
        let phase = self.phase;
        self.phase = phase.wrapping_add(1);
        self.phases.run(phase, tiles, work)
    }

    /// Every token's word and place, normalised and quantised for the first product.
    fn embed(&mut self, smoothing: Option<&[f32]>, scratch: &mut Scratch) -> Result<(), Broken> {
        let (isa, weights, board, pass) = (self.isa, self.weights, self.board, self.pass);
        let hidden = weights.shape.hidden;
        self.phase(pass.blocks(), |number| {
            let rows = pass.rows(number);
            let mut block = board.blocks[number].write();
            let block = &mut *block;
            block.resize(rows.len(), hidden, weights.shape.intermediate);
            // Where the text of the block's first row begins; the others follow.
            let mut text = pass.texts.partition_point(|text| text.end <= rows.start);
            for (row, token) in rows.clone().enumerate() {
                while pass.texts[text].end <= token {
                    text += 1;
                }
                let word = pass.tokens[token] as usize * hidden;
                let place = (token - pass.texts[text].start) * hidden;
                let out = &mut block.hidden[row * hidden..][..hidden];
                weights.words[word..][..hidden].convert_to_f32_slice(out);
                out.iter_mut().zip(&weights.positions[place..][..hidden]).for_each(|(x, place)| *x += place);
            }
            block.norm_and_quantise(isa, rows.len(), weights, &weights.norm, smoothing, &mut scratch.row);
        })
    }

    /// Heads: their queries, keys and values for all tokens, and attention within every text.
    fn attention(&mut self, layer: &Layer, scratch: &mut Scratch) -> Result<(), Broken> {
        let (isa, board, pass, shape) = (self.isa, self.board, self.pass, self.weights.shape);
        let (tokens, width) = (pass.tokens.len(), shape.head_width());
        let per_strip = shape.heads.div_ceil(PARTS);
        let mut blocks = None;
        self.phase(shape.heads.div_ceil(per_strip), move |number| {
            let blocks = blocks.get_or_insert_with(|| Board::read(&board.blocks, pass.blocks()));
            let heads = number * per_strip..((number + 1) * per_strip).min(shape.heads);
            let mut strip = board.strips[number].write();
            let total = heads.len() * width;
            let out = strip.set(tokens, total);
            let Scratch { query, key, value, attention, row } = &mut *scratch;
            for (at, head) in heads.enumerate() {
                for (linear, numbers) in
                    [(&layer.query, &mut *query), (&layer.key, &mut *key), (&layer.value, &mut *value)]
                {
                    if numbers.len() < tokens * width {
                        numbers.resize(tokens * width, 0.0);
                    }
                    let panels = head * width / PANEL..(head + 1) * width / PANEL;
                    multiply(isa, linear, panels, blocks, pass, numbers, width, |_| ());
                }
                for text in &pass.texts {
                    let span = text.start * width..text.end * width;
                    let inputs = (&query[span.clone()], &key[span.clone()], &value[span.clone()]);
                    if total == width {
                        attend(isa, width, inputs, &mut out[span], attention);
                    } else {
                        row.resize(span.len().max(row.len()), 0.0);
                        attend(isa, width, inputs, &mut row[..span.len()], attention);
                        for (token, numbers) in row[..span.len()].chunks_exact(width).enumerate() {
                            let to = (text.start + token) * total + at * width;
                            out[to..to + width].copy_from_slice(numbers);
                        }
                    }
                }
            }
        })
    }

    /// Quantises what the last product left in the strips, `inputs` numbers per token, for the next one.
    fn quantise_strips(&mut self, inputs: usize) -> Result<(), Broken> {
        let (isa, board, pass) = (self.isa, self.board, self.pass);
        let mut strips = None;
        self.phase(pass.blocks(), move |number| {
            let strips = strips.get_or_insert_with(|| Board::read(&board.strips, PARTS));
            let mut block = board.blocks[number].write();
            for (row, token) in pass.rows(number).enumerate() {
                block.quantise(isa, row, inputs, || parts(strips, token, inputs));
            }
        })
    }

    /// A product's outputs, strip by strip; `inner` ones are activated.
    fn product(&mut self, linear: &Linear, inner: bool) -> Result<(), Broken> {
        let (isa, board, pass) = (self.isa, self.board, self.pass);
        let activation = self.weights.shape.activation;
        let per_strip = linear.panels().div_ceil(PARTS);
        let mut blocks = None;
        self.phase(linear.panels().div_ceil(per_strip), move |number| {
            let blocks = blocks.get_or_insert_with(|| Board::read(&board.blocks, pass.blocks()));
            let panels = number * per_strip..((number + 1) * per_strip).min(linear.panels());
            let mut strip = board.strips[number].write();
            let width = panels.len() * PANEL;
            let out = strip.set(pass.tokens.len(), width);
            multiply(isa, linear, panels, blocks, pass, out, width, |numbers| {
                if inner {
                    isa.activate(activation, numbers);
                }
            });
        })
    }

    /// Adds the last product to the rows, normalises them, and quantises them for the next product, if there is one.
    fn add_and_norm(&mut self, norm: &Norm, smoothing: Option<&[f32]>, scratch: &mut Scratch) -> Result<(), Broken> {
        let (isa, weights, board, pass) = (self.isa, self.weights, self.board, self.pass);
        let hidden = weights.shape.hidden;
        let mut strips = None;
        self.phase(pass.blocks(), move |number| {
            let strips = strips.get_or_insert_with(|| Board::read(&board.strips, PARTS));
            let mut block = board.blocks[number].write();
            let block = &mut *block;
            let rows = pass.rows(number);
            for (row, token) in rows.clone().enumerate() {
                let mut rest = &mut block.hidden[row * hidden..][..hidden];
                for numbers in parts(strips, token, hidden) {
                    let (part, more) = rest.split_at_mut(numbers.len());
                    isa.add(part, numbers);
                    rest = more;
                }
            }
            block.norm_and_quantise(isa, rows.len(), weights, norm, smoothing, &mut scratch.row);
        })
    }
}

impl Block {
    fn resize(&mut self, rows: usize, hidden: usize, intermediate: usize) {
        if self.scale.len() < rows {
            self.hidden.resize(rows * hidden, 0.0);
            self.codes.resize(rows * hidden.max(intermediate), 0);
            self.scale.resize(rows, 0.0);
            self.low.resize(rows, 0.0);
        }
    }

    #[inline(always)]
    fn norm_and_quantise<I: Isa>(
        &mut self,
        isa: I,
        rows: usize,
        weights: &Weights,
        norm: &Norm,
        smoothing: Option<&[f32]>,
        smoothed: &mut Vec<f32>,
    ) {
        let hidden = weights.shape.hidden;
        if smoothed.len() < hidden {
            smoothed.resize(hidden, 0.0);
        }
        let smoothed = &mut smoothed[..hidden];
        for row in 0..rows {
            let numbers = &mut self.hidden[row * hidden..][..hidden];
            isa.layer_norm(numbers, &norm.scale, &norm.shift, weights.shape.epsilon);
            if let Some(smoothing) = smoothing {
                isa.times(numbers, smoothing, smoothed);
                self.quantise(isa, row, hidden, || std::iter::once(&*smoothed));
            }
        }
    }

    /// Quantises `inputs` numbers, which come in parts.
    #[inline(always)]
    fn quantise<'n, I: Isa, P: Iterator<Item = &'n [f32]>>(
        &mut self,
        isa: I,
        row: usize,
        inputs: usize,
        parts: impl Fn() -> P,
    ) {
        let extent = parts().fold(Extent::NONE, |extent, part| extent.with(isa.extent(part)));
        let mut codes = &mut self.codes[row * inputs..][..inputs];
        for part in parts() {
            let (these, more) = codes.split_at_mut(part.len());
            isa.quantise(part, extent, these);
            codes = more;
        }
        self.scale[row] = extent.scale();
        self.low[row] = extent.low;
    }

    #[inline(always)]
    fn inputs(&self, rows: usize, inputs: usize) -> Rows<'_> {
        Rows { codes: &self.codes[..rows * inputs], stride: inputs, scale: &self.scale[..rows], low: &self.low[..rows] }
    }
}

/// A token's `count` numbers, strip by strip.
#[inline(always)]
fn parts<'s>(strips: &'s Guards<'_, Strip>, token: usize, count: usize) -> impl Iterator<Item = &'s [f32]> {
    let mut left = count;
    strips.iter().flatten().map_while(move |strip| {
        let row = (left > 0).then(|| strip.row(token))?;
        left -= row.len();
        Some(row)
    })
}

/// Some panels' outputs for all tokens, to `out` of shape (tokens, `width`); `then` gets each run of a row that was
/// written, while it is still in the cache.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a product's operands")]
fn multiply<I: Isa>(
    isa: I,
    linear: &Linear,
    panels: Range<usize>,
    blocks: &Guards<'_, Block>,
    pass: &Pass,
    out: &mut [f32],
    width: usize,
    then: impl Fn(&mut [f32]),
) {
    for (column, panel) in panels.enumerate() {
        for (number, block) in blocks.iter().flatten().enumerate() {
            let rows = pass.rows(number);
            let inputs = block.inputs(rows.len(), linear.inputs());
            let out = &mut out[rows.start * width + column * PANEL..];
            linear.multiply(isa, inputs, panel, out, width);
            for row in out.chunks_mut(width).take(rows.len()) {
                then(&mut row[..PANEL]);
            }
        }
    }
}
