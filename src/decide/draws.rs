//! Numbers that look like chance, for tests that need many.

/// Numbers from 0 to 1 (xorshift, Marsaglia 2003), the same every time.
pub(super) fn draws() -> impl Iterator<Item = f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits")]
        let draw = (state >> 11) as f64 / (1u64 << 53) as f64;
        draw
    })
}
