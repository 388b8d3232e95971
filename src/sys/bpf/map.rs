//! Maps: tables that a program and this process share.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsRawFd, OwnedFd},
};

use super::{MAP_CREATE, MAP_DELETE, MAP_LOOKUP, MAP_UPDATE, call, make, name};

/// The kinds of maps in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// Any keys. It takes memory for what is in it only.
    Hash = 1,
    /// Numbers from 0 on, all of which are there from the beginning.
    Array = 2,
    /// Any keys; the least recently used makes room for another.
    LruHash = 9,
    /// Networks: the longest that has an address is found.
    Networks = 11,
}

/// A map.
#[derive(Debug)]
pub struct Map {
    pub(super) fd: OwnedFd,
    key: u32,
    value: u32,
}

/// Memory is taken for what is in the map only; a map of networks can do nothing else.
const NO_PREALLOC: u32 = 1;

/// Of `union bpf_attr`, what BPF_MAP_CREATE reads.
#[repr(C)]
struct Create {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

/// What the commands on the elements of a map read.
#[repr(C)]
struct Element {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Map {
    /// Makes a map for so many entries, with keys and values of these sizes in bytes.
    ///
    /// # Errors
    /// EPERM without CAP_BPF, or where a filter denies bpf(2); ENOSYS; ENOMEM.
    #[inline(never)] // As those below.
    pub fn create(kind: MapKind, title: &str, key: u32, value: u32, entries: u32) -> io::Result<Map> {
        let flags = if matches!(kind, MapKind::Hash | MapKind::Networks) { NO_PREALLOC } else { 0 };
        let mut attributes =
            Create { kind: kind as u32, key, value, entries, flags, inner: 0, node: 0, name: name(title) };
        // SAFETY: there is no address in it, and the command makes a descriptor.
        let fd = unsafe { make(MAP_CREATE, &mut attributes) }?;
        Ok(Map { fd, key, value })
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// E2BIG or ENOSPC if the map is full.
    #[inline(never)] // Many call it and those below, and seldom.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut element = self.element(key)?;
        if value.len() != self.value as usize {
            return Err(ErrorKind::InvalidInput.into());
        }
        element.value = value.as_ptr() as u64;
        // SAFETY: key and value are as long as the kernel knows from the making of the map, and it only reads them.
        unsafe { call(MAP_UPDATE, &mut element) }.map(|_| ())
    }

    /// Copies the value of a key; false if there is none.
    #[inline(never)]
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        let mut element = self.element(key)?;
        if value.len() != self.value as usize {
            return Err(ErrorKind::InvalidInput.into());
        }
        element.value = value.as_mut_ptr() as u64;
        // SAFETY: the kernel reads the key and writes the value, which are as long as it knows from the making of the map: no kind
        // has a value for each processor.
        found(unsafe { call(MAP_LOOKUP, &mut element) })
    }

    /// Removes a key; false if there is none.
    #[inline(never)]
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        let mut element = self.element(key)?;
        // SAFETY: the kernel reads the key, which is as long as it knows from the making of the map.
        found(unsafe { call(MAP_DELETE, &mut element) })
    }

    fn element(&self, key: &[u8]) -> io::Result<Element> {
        if key.len() != self.key as usize {
            return Err(ErrorKind::InvalidInput.into());
        }
        let map = self.fd.as_raw_fd() as u32;
        Ok(Element { map, zero: 0, key: key.as_ptr() as u64, value: 0, flags: 0 })
    }
}

fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
