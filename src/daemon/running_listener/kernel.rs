//! The echo in the kernel for one listener (`offload`). It begins after the workers and ends before them, so that the socket is there
//! for everything else.

use super::RunningListener;
use crate::{
    offload::{KernelEcho, Slot},
    report::error::Failure,
};

impl RunningListener {
    /// Has the kernel echo for it from the next [`KernelEcho::sync`] on, if it asks.
    ///
    /// # Errors
    /// It insists, and that cannot be had.
    pub fn enter_kernel(&mut self, offload: &KernelEcho) -> Result<(), Failure> {
        if self.kernel.is_some() || self.superseded || self.ended {
            return Ok(());
        }
        self.kernel = offload.enter(&self.settings, &self.log, self.sockets())?;
        if let (Some(slot), Some(guard)) = (&self.kernel, &self.access().guard) {
            guard.set_kernel_peers(slot.peers());
        }
        Ok(())
    }

    /// The first step of what leaves everything to the socket again, see [`Slot::withdraw`].
    pub fn withdraw_from_kernel(&self) {
        self.kernel.iter().for_each(Slot::withdraw);
    }

    /// Leaves everything to the socket again.
    pub(super) fn leave_kernel(&mut self) {
        if let Some(slot) = self.kernel.take() {
            slot.close(|more| self.stats.count_offloaded(more));
        }
    }

    /// Counts what the kernel has answered since the last call.
    pub fn count_offloaded(&self) {
        self.kernel.iter().for_each(|slot| self.stats.count_offloaded(&slot.counted()));
    }

    /// The names of the interfaces where the kernel echoes for it; `None` if it does not ask, or cannot have it.
    pub fn offloaded_on(&self) -> Option<Vec<String>> {
        self.kernel.as_ref().map(Slot::interfaces)
    }
}
