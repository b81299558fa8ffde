//! The end of a body that goes by.

use bytes::BytesMut;

/// Bytes that are remembered, for the usage that is told last.
const MAX: usize = 16 << 10;

/// The last bytes of a body.
#[derive(Debug, Default)]
pub struct Tail(BytesMut);

impl Tail {
    /// More of the body.
    pub fn add(&mut self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(MAX)..];
        let surplus = (self.0.len() + piece.len()).saturating_sub(MAX);
        let _gone = self.0.split_to(surplus.min(self.0.len()));
        self.0.extend_from_slice(piece);
    }

    /// Its end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_remembered_however_they_come() {
        let body: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
        for size in [1, 7, MAX - 1, MAX, MAX + 1, 40_000] {
            let mut tail = Tail::default();
            for (n, piece) in body.chunks(size).enumerate() {
                tail.add(piece);
                let so_far = &body[..((n + 1) * size).min(body.len())];
                assert_eq!(tail.bytes(), &so_far[so_far.len().saturating_sub(MAX)..]);
            }
        }
    }
}
