//! Plans of faults on purpose: what a listener names, and what a plan can do.

use std::sync::{Arc, OnceLock};

use super::{
    FaultPlan,
    diagnostic::Diagnostic,
    keys::{Form, Notation, faults::WrittenFaultPlan},
    quoted, synonyms,
};

mod resolve;

pub(super) use resolve::{check, plans, resolve};

/// The name of a plan, which is looked up once the whole file is read.
pub(in crate::config) const PLAN: Notation<Option<Arc<FaultPlan>>> = Notation {
    form: Form::Text("wifi"),
    read: |ask| match ask.text()? {
        "off" => Ok(None),
        text if synonyms::means_off(text) || text.is_empty() => {
            Err(Diagnostic::new(format!("{} is not the name of a plan", quoted(text)), "write \"off\""))
        }
        text => Ok(Some(Arc::new(FaultPlan::named(text)))),
    },
    write: |plan| Some(plan.as_ref().map_or_else(|| "off".into(), |plan| plan.name.clone().into())),
};

impl FaultPlan {
    /// A plan that is only named so far.
    pub(super) fn named(name: &str) -> FaultPlan {
        let nothing = WrittenFaultPlan::default();
        FaultPlan { name: name.to_owned(), ..nothing.or(&nothing, &super::applicability::Profile::default()) }
    }

    /// The seed of its decisions: its own, or one that this process has drawn.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(drawn_seed)
    }

    /// The same plan with its seed written down, for a process that would draw another one.
    pub fn with_seed(&self) -> FaultPlan {
        FaultPlan { seed: Some(self.seed()), ..self.clone() }
    }

    /// Whether it can do anything to the replies to datagrams.
    pub fn hits_datagrams(&self) -> bool {
        let chances = [self.drop, self.duplicate, self.corrupt];
        chances.iter().any(|chance| !chance.is_never())
            || self.drop_burst.is_some_and(|burst| !burst.enter.is_never())
            || self.reorder.is_some_and(|reorder| !reorder.chance.is_never())
            || self.truncate.is_some_and(|truncate| !truncate.chance.is_never())
            || self.delay.is_some()
    }

    /// Whether it can do anything to connections.
    pub fn hits_streams(&self) -> bool {
        self.delay.is_some()
            || self.accept_delay.is_some()
            || self.chunk.is_some()
            || self.rate.is_some()
            || self.corrupt_at.is_some()
            || self.stall_after.is_some()
            || self.close_after.is_some()
            || self.reset_after.is_some()
            || !self.reset_now.is_never()
            || self.ignore_half_close
    }
}

/// A seed for plans that have none: the same until the process ends, so that a reload does not look like a change.
fn drawn_seed() -> u64 {
    static DRAWN: OnceLock<u64> = OnceLock::new();
    *DRAWN.get_or_init(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // Six digits are easily copied into a file.
        since.map_or(1, |since| u64::from(since.subsec_micros()))
    })
}
