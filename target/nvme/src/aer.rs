//! Asynchronous events (NVMe Base 2.0 §5.2): requests that wait and notices that use them up.

use bitflags::bitflags;

use crate::ident::{Cid, Qid};
use crate::limits;
use crate::permit::{Outcome, Permit};
use crate::wire::Status;

bitflags! {
    /// What a controller may tell its host, as bits of OAES and of feature 0Bh.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Notice: u32 {
        /// Namespaces were added, removed or changed.
        const NAMESPACE_ATTRIBUTE = 1 << 8;
        /// The discovery log changed.
        const DISCOVERY_LOG = 1 << 31;
    }
}

/// Bits of feature 0Bh for SMART warnings: mandatory to accept, never raised here.
const SMART_WARNINGS: u32 = 0xff;
const TYPE_NOTICE: u32 = 2;

impl Notice {
    /// Dword 0 of the completion: type, information, log page.
    fn dword(self) -> u32 {
        let (information, log_page) =
            if self == Self::NAMESPACE_ATTRIBUTE { (0x00, 0x04) } else { (0xf0, 0x70) };
        TYPE_NOTICE | information << 8 | log_page << 16
    }
}

/// The events of one controller.
#[derive(Debug)]
pub(crate) struct AsyncEvents {
    /// What this kind of controller can tell.
    supported: Notice,
    /// Feature 0Bh.
    configuration: u32,
    /// Told, and the log page not read since: not told again.
    masked: Notice,
    pending: Notice,
    requests: Vec<Permit>,
}

impl AsyncEvents {
    pub(crate) fn new(supported: Notice) -> Self {
        Self {
            supported,
            configuration: 0,
            masked: Notice::empty(),
            pending: Notice::empty(),
            requests: Vec::with_capacity(limits::ASYNC_EVENT_REQUESTS_MAX),
        }
    }

    /// OAES.
    pub(crate) fn supported(&self) -> u32 {
        self.supported.bits()
    }

    /// Keeps a request, or gives it back when there are too many.
    pub(crate) fn request(&mut self, permit: Permit) -> Result<(), Permit> {
        if self.requests.len() >= limits::ASYNC_EVENT_REQUESTS_MAX {
            return Err(permit);
        }
        self.requests.push(permit);
        Ok(())
    }

    /// Feature 0Bh.
    pub(crate) fn configuration(&self) -> u32 {
        self.configuration
    }

    /// Sets feature 0Bh.
    pub(crate) fn configure(&mut self, configuration: u32) -> Result<(), Status> {
        if configuration & !(self.supported.bits() | SMART_WARNINGS) != 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        self.configuration = configuration;
        Ok(())
    }

    /// Something happened; told once if the host wants to know.
    pub(crate) fn raise(&mut self, notice: Notice) {
        let wanted = Notice::from_bits_truncate(self.configuration) & self.supported;
        self.pending |= notice & wanted & !self.masked;
    }

    /// The host read the log page that tells more.
    pub(crate) fn acknowledge(&mut self, notice: Notice) {
        self.masked &= !notice;
    }

    /// A request and what to answer it with, if there are both.
    pub(crate) fn poll(&mut self) -> Option<(Permit, Outcome)> {
        let notice = self.pending.iter().next()?;
        if self.requests.is_empty() {
            return None;
        }
        let permit = self.requests.remove(0);
        self.pending &= !notice;
        self.masked |= notice;
        Some((permit, Outcome::result(u64::from(notice.dword()))))
    }

    /// Takes out a waiting request that Abort names.
    pub(crate) fn take(&mut self, sqid: Qid, cid: Cid) -> Option<Permit> {
        let found =
            self.requests.iter().position(|permit| permit.qid() == sqid && permit.cid() == cid)?;
        Some(self.requests.remove(found))
    }

    /// Takes out any waiting request: its controller is reset or gone.
    pub(crate) fn take_any(&mut self) -> Option<Permit> {
        self.requests.pop()
    }

    /// Back to the state after a reset; requests must have been taken out.
    pub(crate) fn reset(&mut self) {
        self.configuration = 0;
        self.masked = Notice::empty();
        self.pending = Notice::empty();
    }
}
