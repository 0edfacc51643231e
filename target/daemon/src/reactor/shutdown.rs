//! The flushes of a controller's normal shutdown (NVMe Base 2.0 §3.6.1): CSTS.SHST says complete
//! when what its hosts wrote is on stable storage.

use block::{Engine, Request};
use nvme::DiskId;
use transport::device::Stack;

use crate::disk_buf::DiskBuf;
use crate::reactor::Reactor;
use crate::reactor::disks::{DiskToken, HeldUp};
use crate::token::Name;

/// In place of a connection in a [`DiskToken`]: the operation is a controller's. Slots of
/// connections end far below.
const CONTROLLER: usize = 0xFFFF;
const _: () = assert!(transport::limits::CONNECTIONS_MAX < CONTROLLER);

/// What a controller's shutdown still has to flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flushes {
    /// Nothing: it goes on, or asks for no flush.
    #[default]
    Nothing,
    /// Every disk, as soon as no I/O is left.
    Wanted,
    /// So many disks have not answered.
    Out(usize),
}

impl Flushes {
    /// So many are out.
    fn out(left: usize) -> Self {
        if left == 0 { Self::Nothing } else { Self::Out(left) }
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// No I/O of this controller is left. Says whether its caches are flushed, too.
    pub(crate) fn flush_for_shutdown(&mut self, name: Name) -> bool {
        let Some(entry) = self.controller_mut(name) else { return false };
        match entry.flushes {
            Flushes::Nothing => return true,
            Flushes::Out(_) => return false,
            Flushes::Wanted => {}
        }
        let nqn = entry.nqn.clone();
        let subsystem = self.shared.export.subsystem(&nqn);
        let mut disks: Vec<DiskId> = subsystem
            .map(|subsystem| subsystem.namespaces.iter().map(|n| n.disk).collect())
            .unwrap_or_default();
        disks.sort_unstable_by_key(|disk| disk.0);
        disks.dedup();
        if let Some(entry) = self.controller_mut(name) {
            entry.flushes = Flushes::out(disks.len());
        }
        let token = DiskToken {
            conn: CONTROLLER,
            command: name.slot as usize,
            generation: name.generation,
        };
        let nothing_to_do = disks.is_empty();
        for disk in disks {
            self.submit(HeldUp { disk, token, request: Request::Flush });
        }
        nothing_to_do
    }

    /// Takes a disk's answer if it was asked by a shutdown.
    pub(crate) fn shutdown_flushed(
        &mut self,
        token: DiskToken,
        result: Result<(), block::IoError>,
    ) -> bool {
        if token.conn != CONTROLLER {
            return false;
        }
        let slot = u32::try_from(token.command).unwrap_or(u32::MAX);
        let name = Name { reactor: self.index, slot, generation: token.generation };
        if let Err(error) = result {
            tracing::error!(%error, "the flush of a controller's shutdown failed");
            self.counters.disk_errors += 1;
        }
        // An association that ended in the meantime waits for nothing.
        let Some(entry) = self.controller_mut(name) else { return true };
        if let Flushes::Out(left) = entry.flushes {
            entry.flushes = Flushes::out(left.saturating_sub(1));
        }
        self.look_for_quiesced(name);
        self.controller_events(name);
        true
    }
}
