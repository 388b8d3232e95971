#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| echod_fuzz::configuration(bytes));
