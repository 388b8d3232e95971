//! What stands for the room in a build without the feature `offload`: nothing that can be opened.

use std::rc::Rc;

use super::reason::Reason;
use crate::{
    access::guard::KernelPeers,
    config,
    report::{error::Exit, stats::Offloaded},
    socket::listener::Listener,
    sys::rtnetlink::InterfacesGone,
};

pub(super) use NoRoom as Room;
pub use NoSlot as Slot;

/// There is none.
#[derive(Debug)]
pub(super) enum NoRoom {}

/// There is none.
#[derive(Debug)]
pub enum NoSlot {}

impl NoRoom {
    pub(super) fn open() -> Result<Rc<Room>, Reason> {
        let text = "this echod was built without the feature `offload`";
        Err(Reason::new(Exit::Unavailable, text, "use one that has it"))
    }

    pub(super) fn bypassed(&self) -> Option<&str> {
        match *self {}
    }

    pub(super) fn enter(self: &Rc<Self>, _: &config::Listener, _: &[Listener]) -> Result<Slot, Reason> {
        match **self {}
    }

    pub(super) fn check(&self) {
        match *self {}
    }

    pub(super) fn forget(&self, _: &InterfacesGone) {
        match *self {}
    }

    pub(super) fn retreated(&self) -> Option<String> {
        match *self {}
    }

    pub(super) fn sync(&self) {
        match *self {}
    }
}

impl NoSlot {
    /// What the kernel has counted since the last call.
    pub fn counted(&self) -> Offloaded {
        match *self {}
    }

    /// Has the kernel answer nothing more.
    pub fn withdraw(&self) {
        match *self {}
    }

    /// Ends it, and counts what is not counted yet.
    pub fn close(self, _: impl FnOnce(&Offloaded)) {
        match self {}
    }

    /// The names of the interfaces where the kernel answers.
    pub fn interfaces(&self) -> Vec<String> {
        match *self {}
    }

    /// What the kernel remembers of peers.
    pub fn peers(&self) -> Box<dyn KernelPeers> {
        match *self {}
    }
}
