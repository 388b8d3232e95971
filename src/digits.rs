//! Whole numbers for lines that are written for each connection: half of such a line is digits, and the formatter of the
//! standard library looks for width, sign and fill at each of them.

use std::fmt;

/// Displays a number in decimal, as it is: width, fill and sign of the format are not heeded.
#[derive(Clone, Copy, Debug)]
pub struct Digits<N>(pub N);

impl<N: itoa::Integer + Copy> fmt::Display for Digits<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(itoa::Buffer::new().format(self.0))
    }
}
