//! Why the kernel does not echo for a listener.

use std::borrow::Cow;

use crate::{
    config,
    report::error::{Exit, Failure},
};

/// Why the kernel answers nowhere for a listener.
pub(super) const NOWHERE: &str = "no interface that it serves has one of its addresses";

/// Why the kernel does not echo, what helps, and the exit code if it had to.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    exit: Exit,
    /// What is in the way.
    pub(super) text: Cow<'static, str>,
    cure: Cow<'static, str>,
}

impl Reason {
    pub(super) fn new(
        exit: Exit,
        text: impl Into<Cow<'static, str>>,
        cure: impl Into<Cow<'static, str>>,
    ) -> Reason {
        Reason { exit, text: text.into(), cure: cure.into() }
    }

    /// As the failure of a listener that insists.
    #[inline(never)] // Several call it, and seldom.
    pub(super) fn failure(&self, listener: &config::Listener) -> Failure {
        let (name, Reason { exit, text, cure }) = (&listener.name, self);
        let text = format!(
            "listener \"{name}\": the kernel cannot echo for it: {text}; {cure}, or do without by `offload = \"auto\"`"
        );
        Failure::new(*exit, text)
    }
}
