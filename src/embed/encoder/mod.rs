//! BERT encoders on the CPU, in bytes.
//!
//! Products take weights quantised to bytes at load (per output) and activations quantised on the way (per token, between
//! their lowest and highest number); everything between two products is in floats. See `forward.rs` for how threads share
//! the work and `kernels/` for the inner loops.

mod attention;
mod columns;
mod forward;
mod kernels;
mod linear;
mod math;
mod phases;
mod team;
mod weights;

use std::sync::Arc;

use parking_lot::Mutex;

use super::description::Shape;
pub use columns::Columns;
pub(super) use forward::PARTS as MAX_THREADS;
pub(super) use team::Waker;
pub(super) use weights::{Magnitudes, Weights, obstacle};

use kernels::{Format, Isa, Plain};
use team::Team;

/// Tokens of a pass, unless one text has more: enough that fetching the weights costs little, few enough that what a pass
/// works on stays in the caches.
pub(super) const PASS_TOKENS: usize = 256;

/// Measurements of which the best is the peak.
const PEAK_TRIES: usize = 20;

/// The instructions that an encoder computes with.
#[derive(Clone, Copy)]
pub(super) struct Instructions(Set);

#[derive(Clone, Copy)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512(kernels::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(kernels::Avx2),
    Plain(Plain),
}

impl Instructions {
    /// The best that this processor has, if it has any that are faster than candle.
    pub(super) fn best() -> Option<Self> {
        Self::avx512().or_else(Self::avx2)
    }

    /// AVX-512 with VNNI, where this processor has it.
    pub(super) fn avx512() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return kernels::Avx512::detect().map(|isa| Self(Set::Avx512(isa)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// AVX2 and FMA, where this processor has them.
    pub(super) fn avx2() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return kernels::Avx2::detect().map(|isa| Self(Set::Avx2(isa)));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// What every processor has.
    pub(super) fn plain() -> Self {
        Self(Set::Plain(Plain))
    }

    /// As the setting `embedding.engine` calls it.
    pub(super) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            Set::Plain(_) => "plain",
        }
    }

    fn peak(self) -> Option<u64> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(isa) => isa.peak(),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(isa) => isa.peak(),
            Set::Plain(isa) => isa.peak(),
        }
    }

    fn format(self) -> Format {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => kernels::Avx512::FORMAT,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => kernels::Avx2::FORMAT,
            Set::Plain(_) => Plain::FORMAT,
        }
    }
}

/// An encoder and its threads.
pub(super) struct Encoder {
    instructions: Instructions,
    weights: Arc<Weights>,
    threads: usize,
    team: Mutex<Team>,
    waker: Waker,
}

/// Why an encoder computed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncoderError {
    #[error("a thread of the encoder panicked")]
    Broken,
    #[error("the encoder's threads can't be started: {0}")]
    Threads(#[from] std::io::Error),
}

impl Encoder {
    /// Starts `threads - 1` helpers.
    ///
    /// # Errors
    /// That the operating system gives no thread.
    pub(super) fn start(weights: Weights, threads: usize) -> std::io::Result<Self> {
        let instructions = weights.instructions;
        Self::of(Arc::new(weights), instructions, threads)
    }

    fn of(weights: Arc<Weights>, instructions: Instructions, threads: usize) -> std::io::Result<Self> {
        let waker = Waker::default();
        let team = Mutex::new(Team::start(instructions, Arc::clone(&weights), threads, &waker)?);
        Ok(Self { instructions, weights, threads, team, waker })
    }

    /// What it computes with.
    pub(super) fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Multiplications per second that these instructions can do on as many threads, as measured now; the fastest of a few
    /// tries, because others use the machine too.
    pub(super) fn peak(&self) -> Option<f64> {
        let once = || {
            let started = std::time::Instant::now();
            let done: Option<u64> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| self.instructions.peak())).collect();
                threads.into_iter().map(|thread| thread.join().ok().flatten()).sum()
            });
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            done.map(|done| done as f64 / started.elapsed().as_secs_f64())
        };
        (0..PEAK_TRIES).filter_map(|_| once()).max_by(f64::total_cmp)
    }

    /// Multiplications of the products with weights, per token.
    pub(super) fn multiplications(&self) -> usize {
        let Shape { hidden, layers, intermediate, .. } = self.weights.shape;
        layers * (4 * hidden * hidden + 2 * hidden * intermediate)
    }

    /// What wakes its threads for an [`encode`](Self::encode) that comes soon.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Calls `with` for every token of every input with the input's number and the token's final row. Tokens must be in
    /// the vocabulary, and no input longer than the positions; one without tokens has no rows.
    ///
    /// # Errors
    /// See [`EncoderError`].
    pub(super) fn encode(&self, inputs: &[&[u32]], mut with: impl FnMut(usize, &[f32])) -> Result<(), EncoderError> {
        let mut team = self.team.lock();
        if team.is_broken() {
            *team = Team::start(self.instructions, Arc::clone(&self.weights), self.threads, &self.waker)?;
        }
        let mut from = 0;
        while from < inputs.len() {
            let mut tokens = 0;
            let fit = inputs[from..].iter().take_while(|input| {
                tokens += input.len();
                tokens <= PASS_TOKENS
            });
            let to = from + fit.count().max(1);
            if inputs[from..to].iter().any(|input| !input.is_empty()) {
                let texts = inputs[from..to].iter().copied();
                team.pass(texts, |text, row| with(from + text, row)).map_err(|_| EncoderError::Broken)?;
            }
            from = to;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::description::Activation;
    use super::*;

    const VOCABULARY: u32 = 50;
    const SMALL: Shape = Shape {
        vocabulary: VOCABULARY as usize,
        positions: 512,
        types: 2,
        hidden: 64,
        layers: 2,
        heads: 2,
        intermediate: 96,
        epsilon: 1e-12,
        activation: Activation::Gelu,
    };

    /// Numbers between -1 and 1 that look random and are the same for the same seed.
    fn noise(seed: u64) -> impl Iterator<Item = f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
    }

    fn weights(shape: Shape, instructions: Instructions) -> Arc<Weights> {
        let tensor = |name: &str, sizes: &[usize]| {
            let count = sizes.iter().product();
            let seed = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            // LayerNorms around 1, so that nothing fades; products so that they keep their inputs' magnitude.
            let (middle, width) = if name.ends_with("LayerNorm.weight") {
                (1.0, 0.5)
            } else if let [_, inputs] = sizes {
                (0.0, (3.0 / *inputs as f32).sqrt())
            } else {
                (0.0, 0.2)
            };
            Ok::<Vec<f32>, ()>(noise(seed).take(count).map(|x| middle + width * x).collect())
        };
        let magnitudes =
            vec![Magnitudes { attention: vec![3.0; shape.hidden], feed: vec![3.0; shape.hidden] }; shape.layers];
        Arc::new(Weights::pack(shape, &magnitudes, instructions, tensor).unwrap())
    }

    fn rows(encoder: &Encoder, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let inputs: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut rows = vec![Vec::new(); texts.len()];
        encoder.encode(&inputs, |text, row| rows[text].extend_from_slice(row)).unwrap();
        rows
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let activation = prop_oneof![Just(Activation::Gelu), Just(Activation::GeluTanh), Just(Activation::Relu)];
        (1usize..3, 1usize..20, 1usize..3, 1usize..9, activation).prop_map(
            |(width, heads, layers, inner, activation)| {
                let (hidden, intermediate) = (32 * width * heads, 32 * inner);
                Shape { hidden, layers, heads, intermediate, activation, ..SMALL }
            },
        )
    }

    /// Batches of 1 to 64 texts of up to 512 tokens; mostly of few tokens together, so that many can be tried.
    fn batches() -> impl Strategy<Value = Vec<Vec<u32>>> {
        let text = |most: usize| prop::collection::vec(0..VOCABULARY, 0..=most);
        prop_oneof![
            prop::collection::vec(text(20), 1..=64),
            prop::collection::vec(text(512), 1..=3),
            prop::collection::vec(text(100), 1..=12),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Each instruction set does what plain code does with the same weights, whatever the shapes and threads.
        #[test]
        fn instructions_agree_with_plain_code(shape in shapes(), texts in batches(), threads in 1usize..4) {
            for instructions in [Instructions::avx512(), Instructions::avx2()].into_iter().flatten() {
                let weights = weights(shape, instructions);
                let plain = Encoder::of(Arc::clone(&weights), Instructions::plain(), 1).unwrap();
                let fast = Encoder::of(weights, instructions, threads).unwrap();
                for (plain, fast) in rows(&plain, &texts).iter().zip(rows(&fast, &texts)) {
                    prop_assert_eq!(plain.len(), fast.len());
                    let distance: f32 = plain.iter().zip(&fast).map(|(x, y)| (x - y) * (x - y)).sum();
                    let length: f32 = plain.iter().map(|x| x * x).sum();
                    // Codes at the border of two may differ, because sums are rounded in another order.
                    let relative = distance.sqrt() / length.sqrt().max(f32::MIN_POSITIVE);
                    prop_assert!(relative < 0.02, "{}: {relative}", instructions.name());
                }
            }
        }

        /// What a text's rows are doesn't depend on its company, nor on how many threads compute them.
        #[test]
        fn a_text_is_the_same_alone_and_in_company(shape in shapes(), texts in batches()) {
            let best = Instructions::best().unwrap_or_else(Instructions::plain);
            let weights = weights(shape, best);
            let one = Encoder::of(Arc::clone(&weights), best, 1).unwrap();
            let three = Encoder::of(weights, best, 3).unwrap();
            let together = rows(&three, &texts);
            for (text, together) in texts.iter().zip(together) {
                prop_assert_eq!(&rows(&one, std::slice::from_ref(text))[0], &together);
            }
        }
    }

    #[test]
    fn after_a_panic_the_next_texts_are_encoded_by_new_threads() {
        let encoder = Encoder::of(weights(SMALL, Instructions::plain()), Instructions::plain(), 3).unwrap();
        let good = vec![vec![1, 2, 3]];
        let before = rows(&encoder, &good);
        for _ in 0..10 {
            let unknown: Vec<u32> = vec![VOCABULARY; 40];
            let encoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                encoder.encode(&[&unknown], |_, _| ()).map_err(|error| error.to_string())
            }));
            // The tile may have been this thread's or a helper's.
            assert!(!matches!(encoded, Ok(Ok(()))));
            assert_eq!(rows(&encoder, &good), before);
        }
    }

    #[test]
    fn what_the_products_are_not_made_for_is_known() {
        assert_eq!(obstacle(&SMALL), None);
        assert!(obstacle(&Shape { heads: 4, ..SMALL }).unwrap().contains("width of a head (16)"));
        assert!(obstacle(&Shape { intermediate: 100, ..SMALL }).unwrap().contains("intermediate_size (100)"));
        assert!(obstacle(&Shape { layers: 0, ..SMALL }).is_some());
    }
}
