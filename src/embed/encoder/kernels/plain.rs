//! Any processor: what the others are tested against. Slower than candle, so it only runs where it is asked for.

use super::{COLUMNS, Format, Isa, PANEL, Panel, QUAD, Rows, check_multiply, check_product};

/// No particular instructions.
#[derive(Clone, Copy)]
pub(in super::super) struct Plain;

impl Isa for Plain {
    const FORMAT: Format = Format { sum_limit: None, group: None };

    fn multiply(self, rows: Rows<'_>, panel: Panel<'_>, out: &mut [f32], stride: usize) {
        check_multiply(rows, panel, out, stride);
        for row in 0..rows.count() {
            let (codes, _) = rows.codes[row * rows.stride..].as_chunks::<QUAD>();
            let mut total = [0.0f32; PANEL];
            let groups = panel.steps.chunks(panel.group).zip(codes.chunks(panel.group));
            for ((steps, codes), scales) in groups.zip(panel.scales) {
                let mut sums = [0i32; PANEL];
                for (step, quad) in steps.iter().zip(codes) {
                    let (weights, _) = step.0.as_chunks::<QUAD>();
                    let quad = quad.map(i32::from);
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        // Wrapping, because a check at each step would keep the compiler from doing several at once; sums
                        // stay below 2³¹ for up to 65,000 inputs.
                        for (code, weight) in quad.into_iter().zip(weights) {
                            *sum = sum.wrapping_add(code.wrapping_mul(i32::from(*weight)));
                        }
                    }
                }
                for ((total, &sum), scale) in total.iter_mut().zip(&sums).zip(scales) {
                    #[expect(clippy::cast_precision_loss, reason = "rounded as the conversion instruction rounds")]
                    let sum = sum as f32;
                    *total += sum * scale;
                }
            }
            let out = &mut out[row * stride..][..PANEL];
            for (n, out) in out.iter_mut().enumerate() {
                *out = total[n] * rows.scale[row] + (rows.low[row] * panel.sums[n] + panel.bias[n]);
            }
        }
    }

    fn product(self, rows: usize, inner: usize, a: (&[f32], usize), b: (&[f32], usize), out: (&mut [f32], usize)) {
        check_product(rows, inner, a, b, (&*out.0, out.1));
        for row in 0..rows {
            let mut sums = [0.0f32; COLUMNS];
            for (k, &x) in a.0[row * a.1..][..inner].iter().enumerate() {
                for (sum, y) in sums.iter_mut().zip(&b.0[k * b.1..][..COLUMNS]) {
                    *sum += x * y;
                }
            }
            out.0[row * out.1..][..COLUMNS].copy_from_slice(&sums);
        }
    }

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}
