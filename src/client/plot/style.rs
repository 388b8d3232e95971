//! Colours and strokes. Each curve differs from the others by colour, by dashes and by the shape of its points, so that it can be
//! told from them in print and by readers who do not see colours.

/// Curves that can be told from each other; more begin again with the first style.
const CURVES: usize = 8;

/// The style sheet. Colours are those of Okabe and Ito, darker on light paper and lighter on dark.
pub(super) const SHEET: &str = "\
<style>
text { font: 13px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.small, .tick { font-size: 12px; fill: #57606a }
.paper { fill: #ffffff }
.grid { stroke: #d8dee4; stroke-width: 1 }
.frame { stroke: #57606a; stroke-width: 1; fill: none }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round }
.c0 { stroke: #005f9e } .p0 { fill: #005f9e }
.c1 { stroke: #c24e00 } .p1 { fill: #c24e00 }
.c2 { stroke: #007a5a } .p2 { fill: #007a5a }
.c3 { stroke: #a8397f } .p3 { fill: #a8397f }
.c4 { stroke: #8a6700 } .p4 { fill: #8a6700 }
.c5 { stroke: #2f7fb5 } .p5 { fill: #2f7fb5 }
.c6 { stroke: #4d4d4d } .p6 { fill: #4d4d4d }
.c7 { stroke: #8250df } .p7 { fill: #8250df }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.small, .tick { fill: #9da7b3 }
.paper { fill: #0d1117 }
.grid { stroke: #2b323b }
.frame { stroke: #9da7b3 }
.c0 { stroke: #5aaeea } .p0 { fill: #5aaeea }
.c1 { stroke: #ff8a4c } .p1 { fill: #ff8a4c }
.c2 { stroke: #34c79a } .p2 { fill: #34c79a }
.c3 { stroke: #e58ac0 } .p3 { fill: #e58ac0 }
.c4 { stroke: #e5b53a } .p4 { fill: #e5b53a }
.c5 { stroke: #8fd0f5 } .p5 { fill: #8fd0f5 }
.c6 { stroke: #c3c9d0 } .p6 { fill: #c3c9d0 }
.c7 { stroke: #b796f5 } .p7 { fill: #b796f5 }
}
</style>
";

/// Dashes of each curve; the first is a plain line.
const DASHES: [&str; CURVES] = ["", "8 4", "2 4", "10 4 2 4", "", "5 3", "14 4", "2 2"];

/// The attributes of a curve.
pub(super) fn stroke(number: usize) -> String {
    let number = number % CURVES;
    match DASHES[number] {
        "" => format!("class=\"curve c{number}\""),
        dashes => format!("class=\"curve c{number}\" stroke-dasharray=\"{dashes}\""),
    }
}

/// A point of a curve: a circle, a square, a triangle or a diamond.
pub(super) fn point(number: usize, x: f64, y: f64) -> String {
    let class = number % CURVES;
    match number % 4 {
        0 => format!("<circle class=\"p{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>\n"),
        1 => format!(
            "<rect class=\"p{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>\n",
            x - 3.5,
            y - 3.5
        ),
        2 => format!("<path class=\"p{class}\" d=\"M{x:.1} {:.1}l4.8 8.4h-9.6z\"/>\n", y - 5.2),
        _ => format!("<path class=\"p{class}\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"/>\n", y - 5.0),
    }
}

/// Text as XML has it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write them.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
