//! The pictures of `--plot`: how times are distributed, and what an echo costs among idle connections.
//!
//! In: a `Measurement`. Out: one SVG with a panel for each picture. It is written here and by no library: its colours follow the
//! reader's preference for light or dark by a style sheet, which the back ends of plotting libraries cannot do.
//!
//! Read `curves` (which figures are drawn), then `panel` (one diagram), `axis` (what stands where, and the ticks) and `style`.

use std::path::Path;

use super::{measurement::Measurement, report};
use crate::report::error::Failure;

mod axis;
mod curves;
mod panel;
mod style;

/// What `--plot` writes.
const PICTURE: &str = "the picture";

/// Finds out before a run whether the file that `--plot` names can be written, if it names one.
///
/// # Errors
/// 74 if it cannot.
pub fn prepare(path: Option<&Path>) -> Result<(), Failure> {
    path.map_or(Ok(()), |path| report::try_out(path, PICTURE))
}

/// Draws a run to the file that `--plot` names, if it names one.
///
/// # Errors
/// 74 if it cannot be written.
pub fn save_to(path: Option<&Path>, measurement: &Measurement) -> Result<(), Failure> {
    path.map_or(Ok(()), |path| report::save(path, PICTURE, picture(measurement).as_bytes()))
}

/// The text of the SVG.
pub fn picture(measurement: &Measurement) -> String {
    let panels: Vec<_> =
        [curves::latency(measurement), curves::cost(measurement)].into_iter().flatten().collect();
    let width = panels.iter().map(panel::Panel::width).max().unwrap_or(panel::EMPTY_WIDTH);
    let height = panel::HEIGHT * panels.len().max(1) as u32;
    let names = match panels.as_slice() {
        [] => "Nothing was measured".to_owned(),
        panels => panels.iter().map(|panel| panel.title.clone()).collect::<Vec<_>>().join("; "),
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n{}<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n",
        style::escaped(&names),
        style::SHEET,
    );
    if panels.is_empty() {
        svg.push_str("<text class=\"title\" x=\"24\" y=\"34\">Nothing was measured</text>\n");
    }
    for (number, panel) in panels.iter().enumerate() {
        panel.draw(panel::HEIGHT * number as u32, &mut svg);
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests;
