//! As many vectors as wanted, made of real ones.

use refrain::embed::Embedding;

/// How far jitter moves each component, at least and at most.
const JITTER: (f32, f32) = (0.01, 0.05);

/// Moves vectors a little; the same way in every run.
pub(crate) struct Jitter(pub(crate) u64);

impl Jitter {
    pub(crate) fn of(&mut self, vector: &Embedding) -> Embedding {
        let width = JITTER.0 + (JITTER.1 - JITTER.0) * self.uniform();
        let moved = vector.as_slice().iter().map(|x| x + width * self.normal()).collect();
        Embedding::normalised(moved).expect("a direction")
    }

    /// Between 0 and 1 (xorshift64).
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// About normal, of variance 1: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
