//! The process of a forking listener: inherits descriptors, prepares, serves, ends.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use nix::unistd::Pid;

use super::{FLAG, LEFT, READY, ServerSettings};
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

/// The main function of the process. `daemon` and `descriptors` are the arguments after [`FLAG`].
pub fn main(daemon: &str, descriptors: &str) -> Result<(), Failure> {
    // The daemon blocked them before exec(2); they stay blocked.
    let _ = interrupt::blockable().thread_block();
    interrupt::die_of_faults();
    // The kernel would name it after the link in /proc that it was executed by.
    let _ = nix::sys::prctl::set_name(c"echod");
    let failure = |error: io::Error| {
        let text = format!("cannot take over a listener: {error}; {FLAG} is for the daemon's own use");
        Failure::new(Exit::Usage, text)
    };
    let daemon = daemon.parse().map(Pid::from_raw);
    // Set again: executing a program with file capabilities clears it (prctl(2)).
    die_with(daemon.map_err(|_| failure(io::Error::other("the daemon's process id is missing")))?);
    let mut handed = inherited(descriptors).map_err(failure)?.into_iter();
    let mut next = || handed.next().ok_or_else(|| failure(io::Error::other("a descriptor is missing")));
    let (orders, stats) = (File::from(next()?), next()?);
    let (status, begin) = (Arc::new(File::from(next()?)), File::from(next()?));
    guard::adopt_own_ports(next()?).map_err(failure)?;
    let orders: ServerSettings = serde_json::from_reader(orders).map_err(|e| failure(e.into()))?;
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
    let ready = Arc::clone(&status);
    context.startup = Startup::elsewhere(move || may_begin(&ready, &begin));
    context.on_left = Some(Box::new(move || _ = (&*status).write(LEFT)));
    let context = Arc::new(context);
    modes::serve(&context, sockets).map_err(|error| {
        Failure::new(Exit::Unavailable, format!("listener \"{name}\": cannot serve: {error}"))
    })
}

/// Reports READY, and waits for the command to begin. A failed write, or end of file, means that the daemon is gone.
fn may_begin(mut status: &File, mut begin: &File) -> bool {
    if status.write_all(READY).is_err() {
        return false;
    }
    loop {
        match begin.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.is_ok_and(|length| length > 0),
        }
    }
}
