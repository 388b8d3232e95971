//! Counts and signal names as log text.

/// `one open connection`, `5 open connections`.
pub(super) fn connections(open: u32) -> String {
    match open {
        1 => "1 open connection".to_owned(),
        open => format!("{open} open connections"),
    }
}

pub(super) fn name_of(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}
