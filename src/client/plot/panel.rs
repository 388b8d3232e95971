//! One diagram: title, axes, curves, legend.

use std::fmt::Write;

use super::{
    axis::Axis,
    style::{escaped, point, stroke},
};

/// Height of a panel.
pub(super) const HEIGHT: u32 = 440;

/// Width of a picture without one.
pub(super) const EMPTY_WIDTH: u32 = 400;

/// The area of the curves.
const LEFT: f64 = 84.0;
const TOP: f64 = 74.0;
const WIDE: f64 = 620.0;
const HIGH: f64 = 300.0;

/// Width of a character of the legend, rather more than less.
const CHARACTER: f64 = 7.4;

/// A diagram.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) curves: Vec<Curve>,
    /// Whether each point is marked.
    pub(super) has_points: bool,
}

/// A line with a name.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Its style.
    pub(super) number: usize,
    pub(super) points: Vec<(f64, f64)>,
}

impl Panel {
    /// With the legend, and wide enough for its texts.
    pub(super) fn width(&self) -> u32 {
        let longest = self.curves.iter().map(|curve| curve.name.chars().count()).max().unwrap_or(0) as f64;
        let with_legend = LEFT + WIDE + 68.0 + longest * CHARACTER;
        let text = self.subtitle.chars().count() as f64 * 6.6 + 48.0;
        with_legend.max(text).ceil() as u32
    }

    /// Writes it below `above` pixels.
    pub(super) fn draw(&self, above: u32, svg: &mut String) {
        // A string takes whatever is written to it.
        let _ = self.draw_to(f64::from(above), svg);
    }

    fn draw_to(&self, above: f64, svg: &mut String) -> std::fmt::Result {
        let (top, bottom, right) = (above + TOP, above + TOP + HIGH, LEFT + WIDE);
        writeln!(
            svg,
            "<text class=\"title\" x=\"24\" y=\"{}\">{}</text>",
            above + 30.0,
            escaped(&self.title)
        )?;
        writeln!(
            svg,
            "<text class=\"small\" x=\"24\" y=\"{}\">{}</text>",
            above + 50.0,
            escaped(&self.subtitle)
        )?;
        for (at, name) in &self.y.ticks {
            let y = bottom - at * HIGH;
            writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>")?;
            let (x, y) = (LEFT - 8.0, y + 4.0);
            writeln!(svg, "<text class=\"tick\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>")?;
        }
        for (at, name) in &self.x.ticks {
            let x = LEFT + at * WIDE;
            writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/>")?;
            let y = bottom + 18.0;
            writeln!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>"
            )?;
        }
        writeln!(svg, "<path class=\"frame\" d=\"M{LEFT} {top}V{bottom}H{right}\"/>")?;
        let (middle, y) = (LEFT + WIDE / 2.0, bottom + 42.0);
        writeln!(svg, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", self.x.label)?;
        let middle = (top + bottom) / 2.0;
        writeln!(
            svg,
            "<text x=\"22\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 22 {middle})\">{}</text>",
            self.y.label
        )?;
        for curve in &self.curves {
            let place = |(x, y): &(f64, f64)| (LEFT + self.x.at(*x) * WIDE, bottom - self.y.at(*y) * HIGH);
            let places: Vec<(f64, f64)> = curve.points.iter().map(place).collect();
            let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            writeln!(svg, "<polyline {} points=\"{}\"/>", stroke(curve.number), line.join(" "))?;
            if self.has_points {
                places.iter().for_each(|(x, y)| svg.push_str(&point(curve.number, *x, *y)));
            }
        }
        self.draw_legend(top, svg)
    }

    /// In the order in which the curves end, the highest first.
    fn draw_legend(&self, top: f64, svg: &mut String) -> std::fmt::Result {
        let mut curves: Vec<&Curve> = self.curves.iter().collect();
        let end = |curve: &Curve| curve.points.last().map_or(0.0, |(_, y)| *y);
        curves.sort_by(|a, b| end(b).total_cmp(&end(a)));
        let x = LEFT + WIDE + 16.0;
        for (row, curve) in curves.into_iter().enumerate() {
            let y = top + 8.0 + row as f64 * 22.0;
            writeln!(svg, "<path {} d=\"M{x} {y}h30\"/>", stroke(curve.number))?;
            if self.has_points {
                svg.push_str(&point(curve.number, x + 15.0, y));
            }
            let (x, y) = (x + 38.0, y + 4.5);
            writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(&curve.name))?;
        }
        Ok(())
    }
}
