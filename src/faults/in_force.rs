//! Which plan is in force on a listener, and what it may do there.

use std::sync::Arc;

use crate::{
    config::{self, FaultPlan},
    report::fault_kind::FaultKind,
};

/// The plan of a listener, if it can hit something there.
pub fn plan_of(settings: &config::Listener) -> Option<&Arc<FaultPlan>> {
    let plan = settings.faults.as_ref()?;
    let hits = if settings.protocol.is_stream() { plan.hits_streams() } else { plan.hits_datagrams() };
    hits.then_some(plan)
}

/// The kinds of faults that a plan asks for, on a listener of connections (`is_stream`) or of datagrams.
pub fn kinds(plan: &FaultPlan, is_stream: bool) -> impl Iterator<Item = FaultKind> {
    FaultKind::ALL.into_iter().filter(move |kind| kind.can_happen(is_stream) && asks_for(plan, *kind))
}

fn asks_for(plan: &FaultPlan, kind: FaultKind) -> bool {
    match kind {
        FaultKind::Drop => {
            !plan.drop.is_never() || plan.drop_burst.is_some_and(|burst| !burst.enter.is_never())
        }
        FaultKind::Duplicate => !plan.duplicate.is_never(),
        FaultKind::Reorder => plan.reorder.is_some_and(|reorder| !reorder.chance.is_never()),
        FaultKind::Corrupt => !plan.corrupt.is_never(),
        FaultKind::Truncate => plan.truncate.is_some_and(|truncate| !truncate.chance.is_never()),
        FaultKind::Delay => plan.delay.is_some(),
        // It follows from others.
        FaultKind::Overflow => false,
        FaultKind::AcceptDelay => plan.accept_delay.is_some(),
        FaultKind::Chunk => plan.chunk.is_some(),
        FaultKind::Rate => plan.rate.is_some(),
        FaultKind::CorruptAt => plan.corrupt_at.is_some(),
        FaultKind::StallAfter => plan.stall_after.is_some(),
        FaultKind::CloseAfter => plan.close_after.is_some(),
        FaultKind::ResetAfter => plan.reset_after.is_some(),
        FaultKind::ResetNow => !plan.reset_now.is_never(),
        FaultKind::IgnoreHalfClose => plan.ignore_half_close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::tests::plan_of;

    #[test]
    fn a_plan_is_told_by_what_it_may_do_there() {
        let told = |keys: &str, is_stream| -> Vec<_> {
            kinds(&plan_of(keys), is_stream).map(FaultKind::word).collect()
        };
        let all = "drop = \"2%\"\nduplicate = \"0%\"\ndelay = \"20ms\"\nreset-now = \"5%\"\n";
        assert_eq!(told(all, false), ["drop", "delay"]);
        assert_eq!(told(all, true), ["delay", "reset-now"]);
        assert_eq!(told("drop-burst = \"1% enter, 30% leave\"", false), ["drop"]);
        assert_eq!(told("drop-burst = \"0% enter, 30% leave\"", false), [""; 0]);
    }

    /// A plan that is in force is told by something, and any other by nothing.
    #[test]
    fn it_agrees_with_what_hits() {
        for keys in [
            "drop = \"0%\"",
            "drop = \"1%\"",
            "corrupt = \"1%\"",
            "truncate = \"1% to 3B\"",
            "truncate = \"0% to 3B\"",
            "reorder = \"1% by 3\"",
            "delay = \"1ms\"",
            "accept-delay = \"1ms\"",
            "chunk = \"7B every 1ms\"",
            "rate = \"64kB/s\"",
            "corrupt-at = \"1B\"",
            "stall-after = \"1B for 1s\"",
            "close-after = \"1B\"",
            "reset-after = \"1s\"",
            "reset-now = \"0%\"",
            "ignore-half-close = true",
        ] {
            let plan = plan_of(keys);
            assert_eq!(kinds(&plan, false).next().is_some(), plan.hits_datagrams(), "{keys}");
            assert_eq!(kinds(&plan, true).next().is_some(), plan.hits_streams(), "{keys}");
        }
    }
}
