//! Programs: instructions that the kernel has verified.

use std::{
    ffi::CStr,
    io::{self, ErrorKind},
    os::fd::{AsRawFd, OwnedFd},
};

use super::{Map, PROG_LOAD, PROG_TEST_RUN, call, make, name};

/// The type of programs that see packets of an interface (`BPF_PROG_TYPE_SCHED_CLS`).
const SCHED_CLS: u32 = 3;
/// In the source register of an instruction that loads 64 bits: they are the descriptor of a map.
const MAP_FD: u64 = 1;
/// Where an instruction has its source register, and its 32 bits of a constant.
const SOURCE: u32 = 12;
const CONSTANT: u32 = 32;

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    pub(super) fd: OwnedFd,
}

/// An instruction that loads the address of a map: its place in the program, and the number of the map.
pub type MapReference = (u16, u8);

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    address: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    length_in: u32,
    length_out: u32,
    frame_in: u64,
    frame_out: u64,
    repeat: u32,
    duration: u32,
    context_length_in: u32,
    context_length_out: u32,
    context_in: u64,
    context_out: u64,
}

/// The beginning of `struct __sk_buff`, as far as a test run has use for it: up to `wire_len`.
#[repr(C)]
#[derive(Default)]
struct Context {
    before: [u32; 2],
    mark: u32,
    between: [u32; 7],
    interface: u32,
    rest: [u32; 32],
}

impl Program {
    /// Loads a program, which gets `maps` where its instructions refer to them.
    ///
    /// # Errors
    /// EPERM without CAP_BPF and CAP_NET_ADMIN, EINVAL or EACCES if the kernel's verifier refuses it.
    pub fn load(
        title: &str,
        instructions: &[u64],
        references: &[MapReference],
        maps: &[&Map],
        license: &CStr,
    ) -> io::Result<Program> {
        let mut instructions = instructions.to_vec();
        for &(at, map) in references {
            let (Some(instruction), Some(map)) =
                (instructions.get_mut(usize::from(at)), maps.get(usize::from(map)))
            else {
                return Err(ErrorKind::InvalidInput.into());
            };
            *instruction |= MAP_FD << SOURCE | (map.fd.as_raw_fd() as u64) << CONSTANT;
        }
        let mut attributes = Load {
            kind: SCHED_CLS,
            instructions: instructions.len() as u32,
            address: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            name: name(title),
            ..Load::default()
        };
        // SAFETY: the kernel reads as many instructions as are there, and a string that ends with a zero; the command makes a
        // descriptor.
        let fd = unsafe { make(PROG_LOAD, &mut attributes) }?;
        Ok(Program { fd })
    }

    /// Runs the program once with an Ethernet `frame` as if it came from this interface with this mark. Returns the verdict of the
    /// program and the frame afterwards.
    ///
    /// # Errors
    /// EINVAL if there is no such interface, or the frame is shorter than its header.
    pub fn test_run(&self, frame: &[u8], interface: u32, mark: u32) -> io::Result<(i32, Vec<u8>)> {
        let context = Context { interface, mark, ..Context::default() };
        // The kernel refuses what it would have to cut off.
        let mut after = vec![0; frame.len() + 64];
        let mut attributes = TestRun {
            program: self.fd.as_raw_fd() as u32,
            length_in: frame.len() as u32,
            length_out: after.len() as u32,
            frame_in: frame.as_ptr() as u64,
            frame_out: after.as_mut_ptr() as u64,
            repeat: 1,
            context_length_in: size_of::<Context>() as u32,
            context_in: (&raw const context) as u64,
            ..TestRun::default()
        };
        // SAFETY: the kernel reads the frame and the context, and writes into `after`, each no longer than told.
        unsafe { call(PROG_TEST_RUN, &mut attributes) }?;
        after.truncate(attributes.length_out as usize);
        Ok((attributes.verdict.cast_signed(), after))
    }
}
