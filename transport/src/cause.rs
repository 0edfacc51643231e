//! Why a connection closed, and whose fault that was.

use std::fmt;

/// Whose fault a close was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody's: an ordinary end.
    Nobody,
    /// The peer broke the protocol.
    PeerMisbehaved,
    /// The peer asked for what is not offered.
    PeerIncompatible,
    /// The device or its driver.
    Device,
    /// A bound of ours was reached.
    Resource,
    /// An operator's or our own decision.
    Local,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal, $fault:ident;)+) => {
        /// A reason to close a connection. Several may meet in one close; all are kept.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause { $($(#[$doc])* $name = $bit,)+ }

        impl Cause {
            /// Every cause, in the order of its bit.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name in reports and metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whose fault it is.
            #[must_use]
            pub fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)+ }
            }
        }
    };
}

causes! {
    /// The peer disconnected.
    PeerDisconnected = 0, "peer disconnected", Nobody;
    /// The CM refused or lost the connection before it was established.
    NotEstablished = 1, "never established", PeerIncompatible;
    /// The protocol above ended the connection after a final response.
    Finished = 2, "finished", Nobody;
    /// The peer broke the protocol above.
    ProtocolError = 3, "protocol error", PeerMisbehaved;
    /// The association this queue belonged to ended.
    AssociationEnded = 4, "association ended", Nobody;
    /// The host's keep-alives stopped.
    KeepAliveExpired = 5, "keep-alive expired", PeerMisbehaved;
    /// A work request failed.
    WorkRequestFailed = 6, "work request failed", PeerMisbehaved;
    /// A completion came back flushed although nobody here closed.
    FlushedByDevice = 7, "flushed by the device", Nobody;
    /// A post was refused.
    PostRefused = 8, "post refused", Device;
    /// The queue pair raised an asynchronous error.
    QueuePairError = 9, "queue pair error", Device;
    /// The completion queue failed: its accounting is void.
    CompletionQueueError = 10, "completion queue error", Device;
    /// The device failed.
    DeviceFatal = 11, "device fatal", Device;
    /// The device goes away.
    DeviceRemoved = 12, "device removed", Device;
    /// The address moved to another device.
    AddressChanged = 13, "address changed", Device;
    /// Memory or another bounded resource ran out.
    OutOfResources = 14, "out of resources", Resource;
    /// The daemon stops.
    Shutdown = 15, "shutdown", Local;
    /// The configuration changed.
    Reconfigured = 16, "reconfigured", Local;
    /// No command came in time.
    Idle = 17, "idle", PeerMisbehaved;
    /// The peer left posted work requests unanswered for too long.
    PeerStalled = 18, "peer stalled", PeerMisbehaved;
}

/// The causes that met in one close: the first, and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Causes {
    first: Option<Cause>,
    all: u32,
}

impl Causes {
    /// Adds a cause; the first stays first.
    pub fn add(&mut self, cause: Cause) {
        self.first.get_or_insert(cause);
        self.all |= 1 << cause as u32;
    }

    /// What began the close.
    #[must_use]
    pub fn first(self) -> Option<Cause> {
        self.first
    }

    /// Whether `cause` was among them.
    #[must_use]
    pub fn contains(self, cause: Cause) -> bool {
        self.all & (1 << cause as u32) != 0
    }

    /// All of them, first excepted.
    pub fn merged(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.iter().copied().filter(move |c| self.contains(*c) && Some(*c) != self.first)
    }

    /// The device is gone or failed: its completions prove nothing any more.
    #[must_use]
    pub fn device_dead(self) -> bool {
        self.contains(Cause::DeviceFatal)
    }

    /// Completions of this connection can't be counted on any more.
    #[must_use]
    pub fn accounting_void(self) -> bool {
        self.contains(Cause::CompletionQueueError)
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.first.map_or("none", Cause::as_str))?;
        for (i, cause) in self.merged().enumerate() {
            f.write_str(if i == 0 { " (then " } else { ", " })?;
            f.write_str(cause.as_str())?;
        }
        if self.merged().next().is_some() { f.write_str(")") } else { Ok(()) }
    }
}
