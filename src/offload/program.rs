//! The program that echoes in the kernel: `program/echo.bpf.c` as clang translates it, in `program/table.rs`. So no compiler for it is
//! needed to build echod. A test translates it again and compares.

use std::io;

use crate::{offload::maps::Maps, sys::bpf::Program};

mod table;

/// Loads the program with its maps.
///
/// # Errors
/// As [`Program::load`].
pub(super) fn load(maps: &Maps) -> io::Result<Program> {
    Program::load("echod_echo", &table::INSTRUCTIONS, &table::REFERENCES, &maps.all(), c"Dual MIT/GPL")
}

#[cfg(test)]
mod tests;
