//! What is searched: a row, and how the close goes.

use std::fmt;

use sim::Behaviour;
use sim::rows;
use transport::caps;
use transport::device::DeviceKey;
use transport::marker::Method;

/// Who closes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// At once.
    Abortive,
    /// After the responses that are queued.
    Orderly,
}

/// One search.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// The provider.
    pub row: &'static Behaviour,
    /// How we close.
    pub close: Close,
    /// How the drain learns that a queue is empty.
    pub method: Method,
    /// Its receives are a shared queue's.
    pub shared: bool,
}

impl Variant {
    /// Every variant: markers only where the capability table allows one, and none beside shared
    /// receives. `Connection::create_shared` drains by accounting: a marker on a shared queue says
    /// nothing of one queue pair, and one on the send queue alone, which the drain contract would
    /// allow, is not made by the code that ships.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for row in rows::ALL {
            for close in [Close::Abortive, Close::Orderly] {
                let counted = Self { row, close, method: Method::Accounting, shared: false };
                all.extend([counted, Self { shared: true, ..counted }]);
                let key = DeviceKey {
                    driver: row.driver.to_owned(),
                    vendor_id: 0,
                    vendor_part_id: 0,
                    transport: row.transport,
                };
                let caps = caps::lookup(&key);
                if caps.marker_send || caps.marker_recv {
                    all.push(Self { method: Method::Markers, ..counted });
                }
            }
        }
        all
    }

    /// Its name without the row's.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match (self.close, self.method, self.shared) {
            (Close::Abortive, Method::Accounting, false) => "abortive",
            (Close::Orderly, Method::Accounting, false) => "orderly",
            (Close::Abortive, Method::Accounting, true) => "abortive-shared",
            (Close::Orderly, Method::Accounting, true) => "orderly-shared",
            (Close::Abortive, Method::Markers, _) => "abortive-markers",
            (Close::Orderly, Method::Markers, _) => "orderly-markers",
        }
    }

    /// The variant of these names.
    #[must_use]
    pub fn by_name(row: &str, name: &str) -> Option<Self> {
        Self::all().into_iter().find(|v| v.row.name == row && v.name() == name)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.row.name, self.name())
    }
}
