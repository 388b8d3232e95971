//! What needs CAP_BPF is skipped without it, and says so.

use super::*;

/// A map, or nothing where bpf(2) is denied.
fn map(kind: MapKind, key: u32, value: u32) -> Option<Map> {
    match Map::create(kind, "echod_test", key, value, 8) {
        Ok(map) => Some(map),
        Err(error) => {
            eprintln!("SKIPPED: bpf(2) cannot be used here ({error})");
            None
        }
    }
}

#[test]
fn a_map_keeps_what_it_is_told() {
    let Some(map) = map(MapKind::Hash, 4, 8) else { return };
    let mut value = [0; 8];
    assert!(!map.lookup(&[1; 4], &mut value).unwrap());
    map.update(&[1; 4], &[2; 8]).unwrap();
    assert!(map.lookup(&[1; 4], &mut value).unwrap());
    assert_eq!(value, [2; 8]);
    assert!(map.delete(&[1; 4]).unwrap());
    assert!(!map.delete(&[1; 4]).unwrap());
}

#[test]
fn keys_and_values_of_another_length_do_not_reach_the_kernel() {
    let Some(map) = map(MapKind::Array, 4, 8) else { return };
    let kinds = [
        map.update(&[0; 3], &[0; 8]).unwrap_err().kind(),
        map.update(&[0; 4], &[0; 9]).unwrap_err().kind(),
        map.lookup(&[0; 4], &mut [0; 7]).unwrap_err().kind(),
        map.delete(&[]).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [io::ErrorKind::InvalidInput; 4]);
}

/// `r0 = 7; exit`.
const SEVEN: [u64; 2] = [7 << 32 | 0xb7, 0x95];

#[test]
fn a_program_is_verified_and_can_be_tried() {
    if map(MapKind::Hash, 4, 8).is_none() {
        return;
    }
    let load = |instructions: &[u64]| Program::load("echod_test", instructions, &[], &[], c"GPL");
    let program = load(&SEVEN).unwrap();
    assert_eq!(program.test_run(&[1; 60], 1, 0).unwrap(), (7, vec![1; 60]));
    assert!(load(&SEVEN[..1]).is_err(), "a program that does not end is refused");
    let beyond = Program::load("echod_test", &SEVEN, &[(9, 0)], &[], c"GPL");
    assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_link_to_no_interface_is_refused() {
    if map(MapKind::Hash, 4, 8).is_none() {
        return;
    }
    let program = Program::load("echod_test", &SEVEN, &[], &[], c"GPL").unwrap();
    assert!(Link::attach(&program, i32::MAX as u32).is_err());
}
