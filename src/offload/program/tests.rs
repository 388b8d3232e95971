//! Translates the program again, where clang is, and compares. `ECHOD_RENEW_PROGRAM=1` writes the table.

use std::{fmt::Write, fs, path::Path, process::Command};

use super::table;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/offload/program/echo.bpf.c");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/offload/program/table.rs");

#[test]
fn the_table_is_what_clang_makes_of_the_source() {
    let Ok(version) = Command::new("clang").arg("--version").output() else {
        eprintln!("SKIPPED: there is no clang to translate {SOURCE}");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version =
        version.split("version ").nth(1).and_then(|rest| rest.split('.').next()).unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let object = directory.path().join("echo.o");
    let translated = Command::new("clang")
        .args(["-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-c", SOURCE, "-o"])
        .arg(&object)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&translated.stderr);
    if complaint.contains("unknown target triple") || complaint.contains("No available targets") {
        eprintln!("SKIPPED: this clang does not know BPF: {complaint}");
        return;
    }
    assert!(translated.status.success(), "{complaint}");
    let (instructions, references) = parts(&object);
    let text = write(&version, &instructions, &references);
    if std::env::var_os("ECHOD_RENEW_PROGRAM").is_some() {
        return fs::write(TABLE, text).unwrap();
    }
    if version != table::CLANG {
        eprintln!("SKIPPED: the table is from clang {}, and this is clang {version}", table::CLANG);
        return;
    }
    let same = instructions == table::INSTRUCTIONS && references == table::REFERENCES;
    assert!(
        same,
        "src/offload/program/table.rs is not made from the source; renew it by ECHOD_RENEW_PROGRAM=1"
    );
}

/// The instructions in the section `tc` of an ELF file, and which of them refer to which map: their symbols lie one after the other,
/// four bytes each (elf(5)).
fn parts(object: &Path) -> (Vec<u64>, Vec<(u16, u8)>) {
    let file = fs::read(object).unwrap();
    let number = |at: u64, size: usize| {
        let at = at as usize;
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&file[at..at + size]);
        u64::from_le_bytes(bytes)
    };
    let text = |at: u64| {
        let rest = &file[at as usize..];
        String::from_utf8_lossy(&rest[..rest.iter().position(|byte| *byte == 0).unwrap()]).into_owned()
    };
    let (table, count, names) = (number(0x28, 8), number(0x3c, 2), number(0x3e, 2));
    let header = |section: u64| table + section * 64;
    let offset = |section: u64| number(header(section) + 0x18, 8);
    let find = |wanted: &str| {
        let name = |section: &u64| text(offset(names) + number(header(*section), 4));
        (0..count).find(|section| name(section) == wanted).unwrap_or_else(|| panic!("no section {wanted}"))
    };
    let words = |section: u64| {
        let (start, size) = (offset(section), number(header(section) + 0x20, 8));
        (0..size / 8).map(move |word| start + word * 8)
    };
    let instructions = words(find("tc")).map(|at| number(at, 8)).collect();
    let symbols = offset(find(".symtab"));
    let relocations: Vec<u64> = words(find(".reltc")).collect();
    let of_map = |entry: &[u64]| {
        let (at, info) = (number(entry[0], 8), number(entry[1], 8));
        (u16::try_from(at / 8).unwrap(), (number(symbols + (info >> 32) * 24 + 8, 8) / 4) as u8)
    };
    (instructions, relocations.chunks(2).map(of_map).collect())
}

fn write(version: &str, instructions: &[u64], references: &[(u16, u8)]) -> String {
    let mut text = format!(
        "//! Made from echo.bpf.c by clang {version}; the test beside it compares and renews it (ECHOD_RENEW_PROGRAM=1).\n\n\
         use crate::sys::bpf::MapReference;\n\n\
         /// The version of clang that has made it: another may choose other instructions.\n\
         #[cfg(test)]\npub(super) const CLANG: &str = \"{version}\";\n\n\
         /// Which instruction refers to which map, by their numbers.\n\
         #[rustfmt::skip]\npub(super) const REFERENCES: [MapReference; {}] = [\n",
        references.len()
    );
    for line in references.chunks(12) {
        let line: Vec<_> = line.iter().map(|pair| format!("{pair:?}")).collect();
        writeln!(text, "    {},", line.join(", ")).unwrap();
    }
    write!(
        text,
        "];\n\n/// The instructions, for a little-endian machine: as 8 bytes each that are read as one number.\n\
         #[rustfmt::skip]\npub(super) const INSTRUCTIONS: [u64; {}] = [\n",
        instructions.len()
    )
    .unwrap();
    for line in instructions.chunks(6) {
        let line: Vec<_> = line.iter().map(|instruction| format!("0x{instruction:016x}")).collect();
        writeln!(text, "    {},", line.join(", ")).unwrap();
    }
    text + "];\n"
}
