//! What the kernel was told: where to answer for whom, in the maps of the program and by its links, as listeners, interfaces and
//! addresses come and go.
//!
//! A place is the last that is added and the first that is removed: before and after, what arrives reaches the socket. So nothing is
//! refused in between, and no rule is missing while the kernel answers.

use std::{fmt, io, mem};

use log::{Level, log, warn};

use super::{
    fit::MOST,
    maps::{self, Maps, NetworkKey, PlaceKey, PlaceValue},
    network::{NetworkView, is_loopback},
    places::PlaceTable,
    reason::NOWHERE,
    served::Served,
};
use crate::{
    report::log_event::LogEvent,
    sys::{
        bpf::{self, Link, Program},
        rtnetlink::{Interface, InterfacesGone},
    },
};

/// What the kernel was told, and for whom.
#[derive(Debug)]
pub(super) struct InKernel {
    /// The listeners that it answers for.
    pub(super) slots: [Option<Served>; MOST],
    /// What is in the maps.
    places: PlaceTable,
    networks: Vec<NetworkKey>,
    /// The interfaces where the program is attached.
    links: Vec<(u32, Link)>,
    /// Interfaces where it cannot be attached, which was told.
    unattached: Vec<u32>,
    /// What the last self-test has found.
    pub(super) fault: Option<String>,
    /// Why it answers nowhere, which was told.
    pub(super) retreated: Option<String>,
    /// Whether programs may still run that have found a place before it was removed.
    is_unsettled: bool,
}

impl InKernel {
    /// Nothing yet.
    pub(super) fn new() -> InKernel {
        InKernel {
            slots: [const { None }; _],
            places: PlaceTable::default(),
            networks: Vec::new(),
            links: Vec::new(),
            unattached: Vec::new(),
            fault: None,
            retreated: None,
            is_unsettled: false,
        }
    }

    /// Lets interfaces go: another may have the number of one that has left.
    pub(super) fn forget(&mut self, gone: &InterfacesGone) {
        self.links.retain(|(index, _)| !gone.has(*index));
    }

    /// Has it answer where listeners, interfaces and addresses are now. If that cannot be known or told, it answers nowhere.
    pub(super) fn sync(&mut self, maps: &Maps, program: &Program) {
        let followed = NetworkView::read().and_then(|network| {
            self.follow(maps, program, &network)?;
            Ok(network)
        });
        match followed {
            Ok(network) => {
                self.retreated = None;
                self.tell(&network);
            }
            Err(error) => self.retreat(maps, error.to_string()),
        }
    }

    /// Answers no further datagram of a slot.
    pub(super) fn withdraw(&mut self, maps: &Maps, slot: u32) {
        let is_its = |place: &PlaceKey, destination: &PlaceValue| {
            maps::interface_of(place) != 0 && maps::slot_of(destination) == slot
        };
        self.remove_places(maps, &is_its);
    }

    /// Waits for the programs that have found a place before it was removed: one wait for all that are removed until now.
    pub(super) fn settle(&mut self) {
        if mem::take(&mut self.is_unsettled) {
            bpf::wait_for_running_programs();
        }
    }

    /// Frees a slot.
    pub(super) fn leave(&mut self, maps: &Maps, slot: u32) {
        self.withdraw(maps, slot);
        // A program that runs still looks at the rules.
        self.settle();
        if let Some(served) = self.slots[slot as usize].take() {
            served.clear(maps, slot);
        }
        let InKernel { places, links, .. } = self;
        links.retain(|(interface, _)| places.has(*interface));
    }

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
            wanted.extend(network.sure_networks(interface).map(|sure| maps::on_link(interface.index, sure)));
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
                    let error = error.to_string();
                    failed(Some(name), &error, format_args!("the kernel cannot echo on {name}: {error}"));
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
            maps.places.update(place, destination).map_err(|error| match error.raw_os_error() {
                Some(libc::E2BIG) => {
                    io::Error::other("the addresses of its listeners are too many for its table")
                }
                _ => error,
            })?;
            self.places.set(*place, *destination);
        }
        Ok(())
    }

    #[inline(never)] // Several call it, and seldom.
    fn remove_places(&mut self, maps: &Maps, is_over: &dyn Fn(&PlaceKey, &PlaceValue) -> bool) {
        let InKernel { places, is_unsettled, .. } = self;
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

    /// Answers nowhere, and tells why.
    fn retreat(&mut self, maps: &Maps, why: String) {
        self.remove_places(maps, &|place, _| maps::interface_of(place) != 0);
        self.links.clear();
        // What comes back is told.
        self.slots.iter_mut().flatten().for_each(|served| served.interfaces = Some(Vec::new()));
        if self.retreated.as_ref() != Some(&why) {
            failed(
                None,
                &why,
                format_args!("the kernel does not echo any more: {why}; the sockets serve everything"),
            );
            self.retreated = Some(why);
        }
    }

    /// Tells for which listeners the kernel answers where, if that has changed.
    fn tell(&mut self, network: &NetworkView) {
        let InKernel { slots, places, .. } = self;
        for (slot, served) in (0..).zip(slots) {
            let Some(served) = served else { continue };
            let mut names = Vec::new();
            for Interface { index, name, .. } in &network.interfaces {
                if places.has_of(*index, slot) {
                    names.push(name.clone());
                }
            }
            if served.interfaces.as_ref() == Some(&names) {
                continue;
            }
            let (name, all) = (served.name.as_str(), names.join(", "));
            let level = if served.insists && names.is_empty() { Level::Warn } else { Level::Info };
            let text = match all.as_str() {
                "" => format!("does not echo for it: {NOWHERE}"),
                all => format!("echoes for it on {all}"),
            };
            log!(
                level, event = LogEvent::OffloadChanged, listener = name, interfaces = all.as_str();
                "listener \"{name}\": the kernel {text}"
            );
            served.interfaces = Some(names);
        }
    }
}

#[inline(never)] // Several call it, and seldom.
fn failed(interface: Option<&str>, error: &str, text: fmt::Arguments<'_>) {
    warn!(event = LogEvent::OffloadFailed, interface = interface, error = error; "{text}");
}
