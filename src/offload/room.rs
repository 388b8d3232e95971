//! What the kernel is told: the program and its maps from the start on, and where to answer for whom as listeners, interfaces and
//! addresses come and go.
//!
//! A place is the last that is added and the first that is removed: before and after, what arrives reaches the socket. So nothing is
//! refused in between, and no rule is missing while the kernel answers.

use std::{
    cell::{Cell, RefCell},
    io, mem,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use log::{info, warn};

use super::{
    maps::{self, Counted, Maps, NetworkKey, PlaceKey, PlaceValue},
    netfilter,
    network::{NetworkView, is_loopback},
    places::PlaceTable,
    program,
    reason::Reason,
    rights, selftest,
    served::Served,
};
use crate::{
    access::guard::{KernelPeers, KernelRun},
    config::{self, Config},
    report::{error::Exit, log_event::LogEvent, stats::Offloaded},
    socket::listener::Listener,
    sys::{
        bpf::{self, Link, Program},
        netns_cookie,
        rtnetlink::Interface,
    },
};

/// The program, its maps, and the listeners that it answers for.
#[derive(Debug)]
pub(super) struct Room {
    maps: Arc<Maps>,
    program: Program,
    /// The rules of the packet filter that would be bypassed, in words.
    bypassed: Option<String>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    slots: [Option<Served>; selftest::SLOT as usize],
    /// What is in the maps.
    places: PlaceTable,
    networks: Vec<NetworkKey>,
    /// The interfaces where the program is attached.
    links: Vec<(u32, Link)>,
    /// Interfaces where it cannot be attached, which was told.
    unattached: Vec<u32>,
    /// What the last self-test has found.
    fault: Option<String>,
    /// Whether programs may still run that have found a place before it was removed.
    is_unsettled: bool,
}

impl Room {
    /// Makes the maps, loads the program and tries it.
    pub(super) fn open(config: &Config) -> Result<Rc<Room>, Reason> {
        let unavailable = |text: String| Reason::new(Exit::Unavailable, text, "use another kernel");
        if cfg!(target_endian = "big") {
            return Err(unavailable("its program is for little-endian machines".to_owned()));
        }
        rights::is_new_enough()?;
        let networks = config
            .listeners
            .iter()
            .map(|listener| listener.allow.len() + listener.deny.len() + listener.trusted.len());
        let maps = Maps::create(networks.sum()).map_err(|error| rights::denied(&error))?;
        let program = program::load(&maps).map_err(|error| rights::denied(&error))?;
        selftest::run(&maps, &program)
            .map_err(|text| unavailable(format!("the self-test of its program has failed: {text}")))?;
        let state = State {
            slots: [const { None }; _],
            places: PlaceTable::default(),
            networks: Vec::new(),
            links: Vec::new(),
            unattached: Vec::new(),
            fault: None,
            is_unsettled: false,
        };
        let (maps, bypassed, state) = (Arc::new(maps), netfilter::bypassed(), RefCell::new(state));
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
        let mut state = self.state.borrow_mut();
        let free = (0..).zip(&mut state.slots).find(|(_, entry)| entry.is_none());
        let Some((slot, entry)) = free else {
            return Err(restart(format!("it echoes for {} listeners at most", selftest::SLOT)));
        };
        let mut served = Served::new(listener, sockets);
        if let Err(error) = served.fill(&self.maps, slot, listener) {
            served.clear(&self.maps, slot);
            return Err(restart(format!("its rules do not fit into the tables of the start: {error}")));
        }
        let before = Cell::new(self.maps.counted(slot).unwrap_or_default());
        *entry = Some(served);
        Ok(Slot { room: Rc::clone(self), slot, before })
    }

    /// Repeats the self-test. The slot of the test is not given to a listener.
    pub(super) fn check(&self) {
        if let Err(text) = selftest::run(&self.maps, &self.program) {
            self.state.borrow_mut().fault = Some(text);
        }
    }

    /// Has the kernel answer where listeners, interfaces and addresses are now. If that cannot be known or told, it answers nowhere.
    pub(super) fn sync(&self) {
        let mut state = self.state.borrow_mut();
        let followed = NetworkView::read().and_then(|network| {
            state.follow(&self.maps, &self.program, &network)?;
            Ok(network)
        });
        match followed {
            Ok(network) => state.tell(&network),
            Err(error) => {
                state.retreat(&self.maps);
                warn!(
                    event = LogEvent::OffloadFailed, error:% = error;
                    "the kernel does not echo any more: {error}; the sockets serve everything"
                );
            }
        }
    }

    /// Answers no further datagram of a slot.
    fn withdraw(&self, slot: u32) {
        let is_its = |place: &PlaceKey, destination: &PlaceValue| {
            maps::interface_of(place) != 0 && maps::slot_of(destination) == slot
        };
        self.state.borrow_mut().remove_places(&self.maps, &is_its);
    }

    /// Waits for the programs that have found a place before it was removed: one wait for all that are removed until now.
    fn settle(&self) {
        if mem::take(&mut self.state.borrow_mut().is_unsettled) {
            bpf::wait_for_running_programs();
        }
    }

    fn leave(&self, slot: u32) {
        self.withdraw(slot);
        // A program that runs still looks at the rules.
        self.settle();
        let State { slots, places, links, .. } = &mut *self.state.borrow_mut();
        if let Some(served) = slots[slot as usize].take() {
            served.clear(&self.maps, slot);
        }
        links.retain(|(interface, _)| places.has(*interface));
    }
}

impl State {
    fn follow(&mut self, maps: &Maps, program: &Program, network: &NetworkView) -> io::Result<()> {
        if let Some(fault) = &self.fault {
            return Err(io::Error::other(format!("the self-test of its program has failed: {fault}")));
        }
        let mut wanted = PlaceTable::default();
        for (slot, served) in (0..).zip(&mut self.slots) {
            if let Some(served) = served {
                served.refresh_ports(maps, slot)?;
                served.want(network, slot, &mut wanted);
            }
        }
        for address in network.no_clients() {
            wanted.set(maps::no_client(address), maps::destination(0, 0));
        }
        self.remove_places(maps, &|place, destination| wanted.get(place) != Some(*destination));
        // Sources first, then the program, then what it answers.
        for (place, destination) in wanted.iter().filter(|(place, _)| maps::interface_of(place) == 0) {
            self.add_place(maps, place, destination)?;
        }
        self.follow_networks(maps, network, &wanted)?;
        self.attach(program, network, &wanted);
        for (place, destination) in wanted.iter() {
            if self.is_attached(maps::interface_of(place)) {
                self.add_place(maps, place, destination)?;
            }
        }
        Ok(())
    }

    /// The networks of interfaces where the kernel looks at sources.
    fn follow_networks(&mut self, maps: &Maps, network: &NetworkView, places: &PlaceTable) -> io::Result<()> {
        let mut wanted = Vec::new();
        for interface in network.interfaces.iter().filter(|interface| places.has(interface.index)) {
            if is_loopback(interface) || !network.looks_at_sources(interface) {
                continue;
            }
            for own in network.of(interface).filter(|own| own.address.is_ipv4()) {
                let (address, prefix) = own.network;
                wanted.push(maps::on_link(interface.index, address, prefix));
            }
        }
        for gone in self.networks.iter().filter(|key| !wanted.contains(key)) {
            maps.networks.delete(gone)?;
        }
        for new in &wanted {
            maps.networks.update(new, &1_u32.to_ne_bytes())?;
        }
        self.networks = wanted;
        Ok(())
    }

    fn attach(&mut self, program: &Program, network: &NetworkView, places: &PlaceTable) {
        // One that is gone, or went to another namespace, is let go.
        self.links.retain(|(index, link)| {
            places.has(*index) && link.interface().is_ok_and(|interface| interface == *index)
        });
        for Interface { index, name, .. } in &network.interfaces {
            if !places.has(*index) || self.is_attached(*index) {
                continue;
            }
            match Link::attach(program, *index) {
                Ok(link) => {
                    self.links.push((*index, link));
                    self.unattached.retain(|told| told != index);
                }
                Err(error) if !self.unattached.contains(index) => {
                    self.unattached.push(*index);
                    warn!(
                        event = LogEvent::OffloadFailed, interface = name.as_str(), error:% = error;
                        "the kernel cannot echo on {name}: {error}"
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn is_attached(&self, interface: u32) -> bool {
        self.links.iter().any(|(index, _)| *index == interface)
    }

    fn add_place(&mut self, maps: &Maps, place: &PlaceKey, destination: &PlaceValue) -> io::Result<()> {
        if self.places.get(place) != Some(*destination) {
            maps.places.update(place, destination)?;
            self.places.set(*place, *destination);
        }
        Ok(())
    }

    fn remove_places(&mut self, maps: &Maps, is_over: &dyn Fn(&PlaceKey, &PlaceValue) -> bool) {
        let State { places, is_unsettled, .. } = self;
        places.retain(|place, destination| {
            let goes = is_over(place, destination);
            if goes {
                // It is there: nobody else has the map.
                let _ = maps.places.delete(place);
                *is_unsettled = true;
            }
            !goes
        });
    }

    /// Answers nowhere.
    fn retreat(&mut self, maps: &Maps) {
        self.remove_places(maps, &|place, _| maps::interface_of(place) != 0);
        self.links.clear();
    }

    /// Tells for which listeners the kernel answers where, if that has changed.
    fn tell(&mut self, network: &NetworkView) {
        let State { slots, places, .. } = self;
        for (slot, served) in (0..).zip(slots) {
            let Some(served) = served else { continue };
            let is_at = |interface: &&Interface| {
                places.iter().any(|(place, destination)| {
                    maps::interface_of(place) == interface.index && maps::slot_of(destination) == slot
                })
            };
            let names: Vec<String> =
                network.interfaces.iter().filter(is_at).map(|interface| interface.name.clone()).collect();
            if served.interfaces.as_ref() == Some(&names) {
                continue;
            }
            let (name, all) = (served.name.as_str(), names.join(", "));
            let text = match all.as_str() {
                "" => "does not echo for it: no interface that it serves has one of its addresses".to_owned(),
                all => format!("echoes for it on {all}"),
            };
            info!(
                event = LogEvent::OffloadChanged, listener = name, interfaces = all.as_str();
                "listener \"{name}\": the kernel {text}"
            );
            served.interfaces = Some(names);
        }
    }
}

/// A listener for which the kernel echoes, until this is dropped.
#[derive(Debug)]
pub struct Slot {
    room: Rc<Room>,
    slot: u32,
    /// What was counted when it was last asked for.
    before: Cell<Counted>,
}

impl Slot {
    /// What the kernel has counted since the last call.
    pub fn counted(&self) -> Offloaded {
        let Ok(now) = self.room.maps.counted(self.slot) else { return Offloaded::default() };
        let before = self.before.replace(now);
        let mut handed_on = now.handed_on;
        handed_on.iter_mut().zip(before.handed_on).for_each(|(now, before)| *now = now.wrapping_sub(before));
        Offloaded {
            answered: now.sent.wrapping_sub(before.sent),
            bytes: now.bytes.wrapping_sub(before.bytes),
            withheld: now.withheld.wrapping_sub(before.withheld),
            handed_on,
        }
    }

    /// Has the kernel answer nothing more. Where several end, this comes first for all of them: then one wait serves all.
    pub fn withdraw(&self) {
        self.room.withdraw(self.slot);
    }

    /// Ends it, and counts what is not counted yet: once no place leads there any more and no program runs that was there before, so
    /// that nothing is lost.
    pub fn close(self, count: impl FnOnce(&Offloaded)) {
        self.withdraw();
        self.room.settle();
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
        self.room.leave(self.slot);
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
