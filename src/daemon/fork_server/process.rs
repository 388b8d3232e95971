//! The life of the process of a forking listener.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use nix::unistd::Pid;

use super::{FLAG, LEFT, Orders, READY};
use crate::{
    access::guard,
    modes,
    report::{
        error::{Exit, Failure},
        logging,
    },
    serve::context::{ListenerContext, Startup},
    socket::listener::{Listener, SocketOwner},
    sys::{fork::die_with, interrupt, shared::Shared, spawn::inherited},
};

/// The whole life of such a process. `daemon` and `descriptors` are the arguments behind [`FLAG`].
pub fn main(daemon: &str, descriptors: &str) -> Result<(), Failure> {
    // They were blocked by the daemon before this program began; it stays so.
    let _ = interrupt::blockable().thread_block();
    interrupt::die_of_faults();
    // Its name would be that of the link it was started by.
    let _ = nix::sys::prctl::set_name(c"echod");
    let failure = |error: io::Error| {
        let text = format!("cannot take over a listener: {error}; {FLAG} is for the daemon's own use");
        Failure::new(Exit::Usage, text)
    };
    let daemon = daemon.parse().map(Pid::from_raw);
    // Once more: the program may have file capabilities, and starting it then undid that (prctl(2)).
    die_with(daemon.map_err(|_| failure(io::Error::other("the daemon's process id is missing")))?);
    let mut handed = inherited(descriptors).map_err(failure)?.into_iter();
    let mut next = || handed.next().ok_or_else(|| failure(io::Error::other("a descriptor is missing")));
    let (orders, stats) = (File::from(next()?), next()?);
    let (say, told) = (Arc::new(File::from(next()?)), File::from(next()?));
    guard::adopt_own_ports(next()?).map_err(failure)?;
    let orders: Orders = serde_json::from_reader(orders).map_err(|e| failure(e.into()))?;
    logging::install(&orders.log)?;
    logging::log_panics();
    let protocol = orders.listener.protocol;
    let adopt =
        |(socket, owner): (OwnedFd, SocketOwner)| Ok(Listener::adopt(socket.into(), protocol)?.of(owner));
    let sockets: io::Result<Vec<Listener>> = handed.zip(orders.owner).map(adopt).collect();
    let sockets = sockets.map_err(failure)?;
    let stats = Arc::new(Shared::open(stats).map_err(failure)?);
    let name = orders.listener.name.clone();
    let mut context = ListenerContext::new(orders.listener, stats).map_err(failure)?;
    let ready = Arc::clone(&say);
    context.startup = Startup::elsewhere(move || may_begin(&ready, &told));
    context.on_left = Some(Box::new(move || _ = (&*say).write(LEFT)));
    let context = Arc::new(context);
    modes::serve(&context, sockets).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("listener \"{name}\": cannot serve: {error}"))
    })
}

/// Says that all is prepared, and waits for the word to begin. If nobody reads that the daemon is gone, and so is this process.
fn may_begin(mut say: &File, mut told: &File) -> bool {
    if say.write_all(READY).is_err() {
        return false;
    }
    loop {
        match told.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            word => return word.is_ok_and(|length| length > 0),
        }
    }
}
