//! What a plan of faults does on purpose, by the words of its keys.

use std::fmt;

/// Defines [`FaultKind`] with its words.
macro_rules! kinds {
    ($(#[doc = $about:literal] $name:ident = $word:literal, $datagrams:literal, $streams:literal;)*) => {
        /// A kind of fault on purpose. Its word is the key of `[[faults]]` that asks for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum FaultKind {
            $(#[doc = $about] $name,)*
        }

        impl FaultKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: [FaultKind; [$($word),*].len()] = [$(FaultKind::$name),*];

            /// The word for counters, the log and scripts.
            pub fn word(self) -> &'static str {
                match self { $(FaultKind::$name => $word,)* }
            }

            /// The name of its counter in the status line.
            pub fn counter(self) -> &'static str {
                match self { $(FaultKind::$name => concat!("fault-", $word),)* }
            }

            /// What has happened.
            pub fn about(self) -> &'static str {
                match self { $(FaultKind::$name => $about.trim_ascii(),)* }
            }

            /// Whether it can happen on a listener of connections (`is_stream`), or of datagrams.
            pub fn can_happen(self, is_stream: bool) -> bool {
                match self { $(FaultKind::$name => if is_stream { $streams } else { $datagrams },)* }
            }
        }
    };
}

kinds! {
    /// A reply was not sent; also in a burst.
    Drop = "drop", true, false;
    /// A reply was sent twice.
    Duplicate = "duplicate", true, false;
    /// A reply was held until later ones had gone.
    Reorder = "reorder", true, false;
    /// A bit of a reply was flipped.
    Corrupt = "corrupt", true, false;
    /// A reply was cut short.
    Truncate = "truncate", true, false;
    /// A reply, or what one read has brought, was answered late.
    Delay = "delay", true, true;
    /// A reply was to be late and was lost, because too many waited.
    Overflow = "overflow", true, false;
    /// A new connection was left alone for a while.
    AcceptDelay = "accept-delay", false, true;
    /// An answer was cut into a piece.
    Chunk = "chunk", false, true;
    /// An answer had to wait for its rate.
    Rate = "rate", false, true;
    /// A bit of the answers was flipped.
    CorruptAt = "corrupt-at", false, true;
    /// A connection stood still.
    StallAfter = "stall-after", false, true;
    /// A connection was closed in order.
    CloseAfter = "close-after", false, true;
    /// A connection was reset.
    ResetAfter = "reset-after", false, true;
    /// A connection was reset when it was accepted.
    ResetNow = "reset-now", false, true;
    /// The end of a client's side was not answered.
    IgnoreHalfClose = "ignore-half-close", false, true;
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
