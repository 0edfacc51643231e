//! Log pages (NVMe Base 2.0 §5.16).

use crate::activity::IoCounts;
use crate::error_log::ErrorCounts;
use crate::features;
use crate::ident::Nsid;
use crate::limits;
use crate::wire::Page;

/// Log pages by their identifier.
pub mod lid {
    /// Supported Log Pages.
    pub const SUPPORTED: u8 = 0x00;
    /// Error Information.
    pub const ERROR: u8 = 0x01;
    /// SMART / Health Information.
    pub const SMART: u8 = 0x02;
    /// Firmware Slot Information.
    pub const FIRMWARE: u8 = 0x03;
    /// Changed Namespace List.
    pub const CHANGED_NAMESPACES: u8 = 0x04;
    /// Commands Supported and Effects.
    pub const COMMAND_EFFECTS: u8 = 0x05;
    /// Feature Identifiers Supported and Effects.
    pub const FEATURE_EFFECTS: u8 = 0x12;
    /// NVMe-MI Commands Supported and Effects.
    pub const MANAGEMENT_EFFECTS: u8 = 0x13;
    /// Discovery.
    pub const DISCOVERY: u8 = 0x70;
}

/// A log page that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogPage {
    /// Supported Log Pages.
    Supported,
    /// Error Information.
    Error,
    /// SMART / Health Information.
    Smart,
    /// Firmware Slot Information.
    Firmware,
    /// Changed Namespace List.
    ChangedNamespaces,
    /// Commands Supported and Effects.
    CommandEffects,
    /// Feature Identifiers Supported and Effects.
    FeatureEffects,
    /// NVMe-MI Commands Supported and Effects: none are.
    ManagementEffects,
    /// Discovery.
    Discovery,
}

const _: () = assert!(limits::ERROR_LOG_ENTRIES as u64 * limits::ERROR_LOG_ENTRY_BYTES == 4096);

/// Part of a log page that a controller agreed to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPart {
    /// Which.
    pub page: LogPage,
    /// First byte of it.
    pub offset: u64,
}

const IO_PAGES: [(u8, LogPage); 8] = [
    (lid::SUPPORTED, LogPage::Supported),
    (lid::ERROR, LogPage::Error),
    (lid::SMART, LogPage::Smart),
    (lid::FIRMWARE, LogPage::Firmware),
    (lid::CHANGED_NAMESPACES, LogPage::ChangedNamespaces),
    (lid::COMMAND_EFFECTS, LogPage::CommandEffects),
    (lid::FEATURE_EFFECTS, LogPage::FeatureEffects),
    (lid::MANAGEMENT_EFFECTS, LogPage::ManagementEffects),
];
const DISCOVERY_PAGES: [(u8, LogPage); 2] =
    [(lid::SUPPORTED, LogPage::Supported), (lid::DISCOVERY, LogPage::Discovery)];

fn list(discovery: bool) -> &'static [(u8, LogPage)] {
    if discovery { &DISCOVERY_PAGES } else { &IO_PAGES }
}

impl LogPage {
    /// The log page of an identifier, if that kind of controller has it.
    pub(crate) fn find(discovery: bool, lid: u8) -> Option<Self> {
        let found = list(discovery).iter().find(|(known, _)| *known == lid);
        found.map(|(_, page)| *page)
    }

    /// Bytes of the page; the discovery log says its own.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Smart | Self::Firmware => 512,
            Self::Supported | Self::FeatureEffects | Self::Discovery => 1024,
            Self::Error
            | Self::ChangedNamespaces
            | Self::CommandEffects
            | Self::ManagementEffects => 4096,
        }
    }
}

/// Supported Log Pages: a dword for each identifier, bit 0 says supported.
pub(crate) fn fill_supported(discovery: bool, page: &mut Page<'_>) {
    for (lid, _) in list(discovery) {
        page.put(u64::from(*lid) * 4, &1u32.to_le_bytes());
    }
}

/// SMART: nothing wears out, nothing is warm, and the counts are those of this controller's life.
pub(crate) fn fill_smart(counts: IoCounts, errors: ErrorCounts, page: &mut Page<'_>) {
    const ROOM_TEMPERATURE_KELVIN: u16 = 293;
    const SPARE_PERCENT: u8 = 100;
    // Thousands of 512 bytes, rounded up.
    let units = |bytes: u64| u128::from(bytes.div_ceil(512_000)).to_le_bytes();
    page.put(1, &ROOM_TEMPERATURE_KELVIN.to_le_bytes());
    page.put(3, &[SPARE_PERCENT]);
    page.put(32, &units(counts.read_bytes));
    page.put(48, &units(counts.written_bytes));
    page.put(64, &u128::from(counts.reads).to_le_bytes());
    page.put(80, &u128::from(counts.writes).to_le_bytes());
    page.put(160, &u128::from(errors.media).to_le_bytes());
    page.put(176, &u128::from(errors.entries).to_le_bytes());
}

/// Firmware Slot Information: slot 1 is active.
pub(crate) fn fill_firmware(revision: [u8; 8], page: &mut Page<'_>) {
    page.put(0, &[1]);
    page.put(8, &revision);
}

const SUPPORTED: u32 = 1;
/// Logical block content changes.
const LBCC: u32 = 1 << 1;
const SCOPE_CONTROLLER: u32 = 1 << 21;

/// Commands Supported and Effects: 256 dwords for admin commands, 256 for I/O commands.
pub(crate) fn fill_command_effects(page: &mut Page<'_>) {
    use crate::{admin::opcode as admin, io::opcode as io};
    const IO_COMMANDS: u64 = 1024;
    let admin = [
        admin::GET_LOG_PAGE,
        admin::IDENTIFY,
        admin::ABORT,
        admin::SET_FEATURES,
        admin::GET_FEATURES,
        admin::ASYNC_EVENT_REQUEST,
        admin::KEEP_ALIVE,
    ];
    for opcode in admin {
        page.put(u64::from(opcode) * 4, &(SUPPORTED | SCOPE_CONTROLLER).to_le_bytes());
    }
    let io = [
        (io::FLUSH, 0),
        (io::READ, 0),
        (io::WRITE, LBCC),
        (io::COMPARE, 0),
        (io::VERIFY, 0),
        (io::COPY, LBCC),
        (io::WRITE_ZEROES, LBCC),
        (io::DATASET_MANAGEMENT, LBCC),
    ];
    for (opcode, effect) in io {
        // QUIRK(Linux host): warns of an I/O command whose effects say anything but these two bits,
        // its scope included (seen on 6.12).
        let dword = SUPPORTED | effect;
        page.put(IO_COMMANDS + u64::from(opcode) * 4, &dword.to_le_bytes());
    }
}

/// Feature Identifiers Supported and Effects: a dword for each identifier.
pub(crate) fn fill_feature_effects(discovery: bool, page: &mut Page<'_>) {
    for (fid, _) in features::list(discovery) {
        let dword = SUPPORTED | SCOPE_CONTROLLER;
        page.put(u64::from(*fid) * 4, &dword.to_le_bytes());
    }
}

/// The Changed Namespace List: ids in ascending order, or FFFFFFFFh when there are too many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ChangedNamespaces {
    nsids: Vec<Nsid>,
    overflow: bool,
}

impl ChangedNamespaces {
    pub(crate) fn add(&mut self, nsid: Nsid) {
        let Err(place) = self.nsids.binary_search(&nsid) else {
            return;
        };
        if self.nsids.len() >= limits::NSID_LIST_ENTRIES {
            self.overflow = true;
            return;
        }
        self.nsids.insert(place, nsid);
    }

    /// Takes out what another list shows; a list that shows all takes out all.
    pub(crate) fn forget(&mut self, shown: &Self) {
        if shown.overflow {
            *self = Self::default();
        } else {
            self.nsids.retain(|nsid| shown.nsids.binary_search(nsid).is_err());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nsids.is_empty() && !self.overflow
    }

    pub(crate) fn fill(&self, page: &mut Page<'_>) {
        if self.overflow {
            page.put(0, &Nsid::ALL.0.to_le_bytes());
            return;
        }
        for (at, nsid) in (0..).step_by(4).zip(&self.nsids) {
            page.put(at, &nsid.0.to_le_bytes());
        }
    }
}
