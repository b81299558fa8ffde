//! Frames of plots, and marks in them. Colours and the size of letters are `page.css`'s.

use std::fmt::{self, Write};

use super::scale::Scale;
use super::text::Text;

/// Colours there are, as classes `c0` and so on.
const COLOURS: usize = 6;

/// One side of a plot.
pub(super) struct Axis {
    /// Where numbers lie.
    pub(super) scale: Scale,
    /// What they are, with their unit.
    pub(super) label: &'static str,
    /// How they are written.
    pub(super) show: fn(f64) -> String,
}

/// A frame with axes.
pub(super) struct Plot {
    /// How large it is.
    pub(super) size: Size,
    /// To the right.
    pub(super) x: Axis,
    /// To the top.
    pub(super) y: Axis,
}

/// Lengths in the plot's own unit: letters are 12 of them high, but for [`LARGE`].
pub(super) struct Size {
    class: &'static str,
    /// From edge to edge.
    pub(super) width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// How much higher than right above the frame the label of the y axis is.
    raised: &'static str,
    /// Room that a tick's label takes to the side, and upwards.
    gap: (f64, f64),
}

/// One of several beside each other.
pub(super) const PANEL: Size = Size {
    class: "plot",
    width: 400.0,
    height: 260.0,
    left: 40.0,
    right: 14.0,
    top: 28.0,
    bottom: 38.0,
    raised: "-0.5em",
    gap: (40.0, 24.0),
};

/// The same, about as high as wide.
pub(super) const SQUARE: Size = Size { height: 340.0, ..PANEL };

/// As wide as the page, with room for labels right above the frame. Its letters are of different sizes, up to 15 on a
/// phone.
pub(super) const LARGE: Size = Size {
    class: "plot large",
    width: 520.0,
    height: 400.0,
    left: 38.0,
    right: 14.0,
    top: 38.0,
    bottom: 46.0,
    raised: "-1.3em",
    gap: (32.0, 30.0),
};

impl Plot {
    /// Where numbers lie in the plot; at its edge, if they are beyond it.
    pub(super) fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let (left, right, top, bottom) = self.edges();
        (left + self.x.scale.place(x) * (right - left), bottom - self.y.scale.place(y) * (bottom - top))
    }

    /// Left, right, top and bottom of the part that has the marks.
    pub(super) fn edges(&self) -> (f64, f64, f64, f64) {
        let Size { width, height, left, right, top, bottom, .. } = self.size;
        (left, width - right, top, height - bottom)
    }

    /// Writes the frame with `marks` in it. `about` says what it shows to those who can't see it.
    pub(super) fn write(
        &self,
        out: &mut String,
        about: &str,
        marks: impl FnOnce(&mut String) -> fmt::Result,
    ) -> fmt::Result {
        let Size { class, width, height, .. } = self.size;
        let about = Text(about);
        writeln!(out, r#"<svg class="{class}" viewBox="0 0 {width} {height}" role="img" aria-label="{about}">"#)?;
        self.write_axes(out)?;
        marks(out)?;
        writeln!(out, "</svg>")
    }

    fn write_axes(&self, out: &mut String) -> fmt::Result {
        let (left, right, top, bottom) = self.edges();
        let (side, up) = self.size.gap;
        for tick in self.x.scale.ticks(side / (right - left)) {
            let x = left + self.x.scale.place(tick) * (right - left);
            write!(out, r#"<path class="grid" d="M{x:.1} {top}V{bottom}"/>"#)?;
            let label = (self.x.show)(tick);
            writeln!(out, r#"<text class="x tick" x="{x:.1}" y="{:.1}">{label}</text>"#, bottom + 5.0)?;
        }
        for tick in self.y.scale.ticks(up / (bottom - top)) {
            let y = bottom - self.y.scale.place(tick) * (bottom - top);
            write!(out, r#"<path class="grid" d="M{left} {y:.1}H{right}"/>"#)?;
            let label = (self.y.show)(tick);
            writeln!(out, r#"<text class="y tick" x="{:.1}" y="{y:.1}">{label}</text>"#, left - 5.0)?;
        }
        writeln!(out, r#"<path class="frame" d="M{left} {top}V{bottom}H{right}"/>"#)?;
        // In lines of letters from the ticks and from the frame, as letters are of different sizes.
        let (below, above) = (bottom + 5.0, top - 5.0);
        let (x, y, raised) = (Text(self.x.label), Text(self.y.label), self.size.raised);
        writeln!(out, r#"<text class="x label" x="{right}" y="{below}" dy="1.5em">{x}</text>"#)?;
        writeln!(out, r#"<text class="y label" x="2" y="{above}" dy="{raised}">{y}</text>"#)
    }
}

/// Writes a line through places.
pub(super) fn line(out: &mut String, class: &str, places: impl IntoIterator<Item = (f64, f64)>) -> fmt::Result {
    write!(out, r#"<polyline class="{class}" points=""#)?;
    for (number, (x, y)) in places.into_iter().enumerate() {
        write!(out, "{}{x:.1},{y:.1}", if number > 0 { " " } else { "" })?;
    }
    writeln!(out, r#""/>"#)
}

/// The class that gives policy `number` its colour.
pub(super) fn colour(number: usize) -> String {
    format!("c{}", number % COLOURS)
}

/// The outline of policy `number`'s mark, about `radius` large. Shapes tell policies apart where colours don't: for
/// some people, and after 6 policies.
pub(super) fn shape(number: usize, (x, y): (f64, f64), radius: f64) -> String {
    // The number of shapes and of colours have no common divisor, so the 31st policy is the first to look like another.
    let corners = |corners: &[(f64, f64)]| {
        let mut path = String::new();
        for (number, (right, down)) in corners.iter().enumerate() {
            let (x, y) = (x + right * radius, y + down * radius);
            path += &format!("{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
        }
        path + "Z"
    };
    match number % 5 {
        0 => {
            let (left, across) = (x - radius, radius * 2.0);
            format!("M{left:.1} {y:.1}a{radius} {radius} 0 1 0 {across} 0a{radius} {radius} 0 1 0 -{across} 0Z")
        }
        1 => corners(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => corners(&[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)]),
        3 => corners(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        _ => corners(&[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)]),
    }
}

/// Writes policy `number`'s mark as legends show it.
pub(super) fn key(out: &mut String, number: usize) -> fmt::Result {
    let (colour, shape) = (colour(number), shape(number, (0.0, 0.0), 5.0));
    write!(
        out,
        r#"<svg class="key" viewBox="-8 -8 16 16" aria-hidden="true"><path class="mark {colour}" d="{shape}"/></svg>"#
    )
}

/// Writes the mark of a line of `class` as legends show it.
pub(super) fn line_key(out: &mut String, class: &str) -> fmt::Result {
    write!(
        out,
        r#"<svg class="key" viewBox="-8 -8 16 16" aria-hidden="true"><path class="{class}" d="M-8 0H8"/></svg>"#
    )
}
