//! Shortage of descriptors or memory: logged at a limited rate, answered by backing off.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use log::warn;

use crate::report::logging::LogThrottle;
use crate::serve::context::ListenerContext;

/// Back-off after a shortage: doubled each time, up to a second.
pub struct Rest(Duration);

impl Default for Rest {
    fn default() -> Self {
        Rest(Duration::from_millis(100))
    }
}

impl Rest {
    fn take(&mut self) -> Duration {
        let time = self.0;
        self.0 = (time * 2).min(Duration::from_secs(1));
        time
    }
}

impl ListenerContext {
    /// Counts and logs a shortage of descriptors or memory, and what it prevents; returns how long to back off.
    pub fn exhausted(&self, what: &str, error: &io::Error, rest: &mut Rest) -> Duration {
        static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
        self.stats.exhausted.fetch_add(1, Relaxed);
        if let Some(more) = THROTTLE.allow() {
            let name = &self.settings.name;
            warn!(
                "listener \"{name}\": cannot {what}: {error}; clients wait until descriptors are free, \
                 raise the limit of open files or lower max-connections ({more} such lines left out)"
            );
        }
        rest.take()
    }
}
