//! Which client is let in, and how much it may do.

pub(crate) mod explain;
pub(crate) mod forms;
pub(crate) mod guards;
pub(crate) mod lists;
pub(crate) mod proxy;
pub(crate) mod rates;
pub(crate) mod reasons;
