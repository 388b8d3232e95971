//! What the fuzz targets assert, for every seed of theirs: here without a fuzzer.

use std::{fs, path::Path};

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "the crate of the fuzz targets shows them")]
mod targets;

#[test]
fn every_seed_of_every_target_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, target) in targets::TARGETS {
        let seeds = fs::read_dir(folder.join("seeds").join(name)).unwrap();
        let mut count = 0;
        for seed in seeds {
            let path = seed.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let passed = std::panic::catch_unwind(|| target(&bytes));
            assert!(passed.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count >= 5, "{name} has {count} seeds only");
        assert!(folder.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} is no target of cargo-fuzz");
    }
}

/// What is shipped is a seed, too.
#[test]
fn the_shipped_files_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        ["config", "config/examples"].into_iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    for file in files.map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
        targets::configuration(&fs::read(file).unwrap());
    }
}
