//! The wall clock in the machine's time zone.

#![allow(unsafe_code)]

/// The fields of a syslog time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// 0 is January.
    pub month: usize,
    /// From 1 on.
    pub day: i32,
    /// From 0 to 23.
    pub hour: i32,
    /// From 0 to 59.
    pub minute: i32,
    /// From 0 to 60.
    pub second: i32,
}

/// The current time.
pub fn now() -> LocalTime {
    // SAFETY: time(2) with a null pointer only returns the time.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    // SAFETY: `tm` is plain data for which all zeroes is a valid value.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to valid structures that live through the call. No thread changes the environment, from which
    // localtime_r(3) reads the time zone.
    unsafe { libc::localtime_r(&now, &mut time) };
    LocalTime {
        month: usize::try_from(time.tm_mon).unwrap_or_default().min(11),
        day: time.tm_mday,
        hour: time.tm_hour,
        minute: time.tm_min,
        second: time.tm_sec,
    }
}
