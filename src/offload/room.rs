//! The echo in the kernel as the daemon has it: the program and its maps from the start on, listeners that enter and leave, and what was
//! counted for each.

use std::{
    array,
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use super::{
    fit::MOST,
    in_kernel::InKernel,
    maps::{COUNTERS, Maps},
    netfilter, program,
    reason::Reason,
    rights, selftest,
    served::Served,
};
use crate::{
    access::guard::{KernelPeers, KernelRun},
    config,
    report::{error::Exit, stats::Offloaded},
    socket::listener::Listener,
    sys::{bpf::Program, netns_cookie, rtnetlink::InterfacesGone},
};

/// The program, its maps, and the listeners that it answers for.
#[derive(Debug)]
pub(super) struct Room {
    maps: Arc<Maps>,
    program: Program,
    /// The rules of the packet filter that would be bypassed, in words.
    bypassed: Option<String>,
    state: RefCell<InKernel>,
}

impl Room {
    /// Makes the maps, loads the program and tries it.
    pub(super) fn open() -> Result<Rc<Room>, Reason> {
        let unavailable = |text: String| Reason::new(Exit::Unavailable, text, "use another kernel");
        if cfg!(target_endian = "big") {
            return Err(unavailable("its program is for little-endian machines".to_owned()));
        }
        rights::is_new_enough()?;
        let made = Maps::create().and_then(|maps| Ok((program::load(&maps)?, maps)));
        let (program, maps) = made.map_err(|error| rights::denied(&error))?;
        selftest::run(&maps, &program)
            .map_err(|text| unavailable(format!("the self-test of its program has failed: {text}")))?;
        let (maps, bypassed, state) = (Arc::new(maps), netfilter::bypassed(), RefCell::new(InKernel::new()));
        Ok(Rc::new(Room { maps, program, bypassed, state }))
    }

    /// The rules of the packet filter that would be bypassed, in words.
    pub(super) fn bypassed(&self) -> Option<&str> {
        self.bypassed.as_deref()
    }

    /// Takes a listener in, which is answered from the next [`Room::sync`] on.
    pub(super) fn enter(
        self: &Rc<Self>,
        listener: &config::Listener,
        sockets: &[Listener],
    ) -> Result<Slot, Reason> {
        let restart = |text: String| Reason::new(Exit::Unavailable, text, "restart echod");
        let is_here = |socket: &Listener| socket.sockets().all(netns_cookie::is_here);
        if !sockets.iter().all(is_here) {
            let text = "its socket was made in another network namespace";
            return Err(Reason::new(Exit::Unavailable, text, "have echod bind it"));
        }
        if sockets.iter().any(shares_its_port) {
            let text = "others may have sockets at its port (SO_REUSEPORT), and the kernel would take their share, too";
            return Err(Reason::new(Exit::Unavailable, text, "take `ReusePort=` out of the socket unit"));
        }
        let mut state = self.state.borrow_mut();
        let free = (0..).zip(&mut state.slots).find(|(_, entry)| entry.is_none());
        let Some((slot, entry)) = free else {
            let text = format!(
                "it echoes for {MOST} listeners at most, and during a reload for the old and the new ones"
            );
            return Err(restart(text));
        };
        let mut served = Served::new(listener, sockets);
        if let Err(error) = served.fill(&self.maps, slot, listener) {
            served.clear(&self.maps, slot);
            let text = format!("its rules cannot be written into the tables: {error}");
            return Err(Reason::new(Exit::Unavailable, text, "shorten `allow`, `deny` and `trusted`"));
        }
        let before = Cell::new(self.maps.counters(slot).unwrap_or_default());
        *entry = Some(served);
        Ok(Slot { room: Rc::clone(self), slot, before })
    }

    /// Repeats the self-test. The slot of the test is not given to a listener.
    pub(super) fn check(&self) {
        if let Err(text) = selftest::run(&self.maps, &self.program) {
            self.state.borrow_mut().fault = Some(text);
        }
    }

    /// Lets interfaces go: another may have the number of one that has left.
    pub(super) fn forget(&self, gone: &InterfacesGone) {
        self.state.borrow_mut().forget(gone);
    }

    /// Has the kernel answer where listeners, interfaces and addresses are now. If that cannot be known or told, it answers nowhere.
    pub(super) fn sync(&self) {
        self.state.borrow_mut().sync(&self.maps, &self.program);
    }

    /// Why the kernel answers nowhere, if it does.
    pub(super) fn retreated(&self) -> Option<String> {
        self.state.borrow().retreated.clone()
    }
}

/// Whether a socket that was passed may not be alone at its port. Those that echod binds are the listener's own.
fn shares_its_port(listener: &Listener) -> bool {
    let mut sockets = listener.sockets();
    let first = sockets.next().is_some_and(|socket| socket.reuse_port().unwrap_or(true));
    first && sockets.next().is_none()
}

/// A listener for which the kernel echoes, until this is dropped.
#[derive(Debug)]
pub struct Slot {
    room: Rc<Room>,
    slot: u32,
    /// What was counted when it was last asked for.
    before: Cell<[u64; COUNTERS]>,
}

impl Slot {
    /// What the kernel has counted since the last call.
    pub fn counted(&self) -> Offloaded {
        let Ok(now) = self.room.maps.counters(self.slot) else { return Offloaded::default() };
        let before = self.before.replace(now);
        let [answered, bytes, odd, source, port, rules, victim, withheld] =
            array::from_fn(|number| now[number].wrapping_sub(before[number]));
        Offloaded { answered, bytes, withheld, handed_on: [odd, source, port, rules, victim] }
    }

    /// Has the kernel answer nothing more. Where several end, this comes first for all of them: then one wait serves all.
    pub fn withdraw(&self) {
        self.room.state.borrow_mut().withdraw(&self.room.maps, self.slot);
    }

    /// Ends it, and counts what is not counted yet: once no place leads there any more and no program runs that was there before, so
    /// that nothing is lost.
    pub fn close(self, count: impl FnOnce(&Offloaded)) {
        self.withdraw();
        self.room.state.borrow_mut().settle();
        count(&self.counted());
    }

    /// The names of the interfaces where the kernel answers.
    pub fn interfaces(&self) -> Vec<String> {
        let served = &self.room.state.borrow().slots[self.slot as usize];
        served.as_ref().and_then(|served| served.interfaces.clone()).unwrap_or_default()
    }

    /// What the kernel remembers of peers.
    pub fn peers(&self) -> Box<dyn KernelPeers> {
        Box::new(PeersOf { maps: Arc::clone(&self.room.maps), slot: self.slot })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.room.state.borrow_mut().leave(&self.room.maps, self.slot);
    }
}

/// The peers of one listener.
struct PeersOf {
    maps: Arc<Maps>,
    slot: u32,
}

impl KernelPeers for PeersOf {
    fn run(&self, address: IpAddr, port: u16) -> Option<KernelRun> {
        let run = self.maps.run(self.slot, address, port)?;
        Some(KernelRun { answers: run.answers, last: run.last })
    }

    fn silence(&self, address: IpAddr, port: Option<u16>, until: u64) {
        self.maps.silence(self.slot, address, port, until);
    }
}
