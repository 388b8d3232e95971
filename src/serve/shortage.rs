//! Shortage of descriptors or memory: logged at a limited rate, answered by backing off.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use log::warn;

use crate::{
    report::{log_event::LogEvent, logging::LogThrottle},
    serve::{backoff::Backoff, context::ListenerContext},
};

impl ListenerContext {
    /// Counts and logs a shortage of descriptors or memory, and what it prevents; returns how long to back off.
    pub fn exhausted(&self, what: &str, error: &io::Error, backoff: &mut Backoff) -> Duration {
        static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
        self.stats.exhausted.fetch_add(1, Relaxed);
        if let Some(more) = THROTTLE.allow() {
            let name = self.settings.name.as_str();
            warn!(
                event = LogEvent::ResourcesExhausted, listener = name, error:% = error, suppressed = more;
                "listener \"{name}\": cannot {what}: {error}; clients wait until descriptors are free, \
                 raise the limit of open files or lower max-connections ({more} such lines left out)"
            );
        }
        backoff.wait()
    }
}
