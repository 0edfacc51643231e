//! How a controller executes admin and Fabrics commands.

use super::{CloseReason, Controller, Kind, Phase, check_keep_alive};
use crate::action::{Action, Source};
use crate::admin::{
    AdminCommand, GetFeatures, GetLogPage, Identify, PropertySize, Select, SetFeatures,
};
use crate::aer::Notice;
use crate::discovery;
use crate::features::{self, fid};
use crate::ident::{Cid, Nsid, Qid};
use crate::identify::{self, ControllerFacts, Structure, cns};
use crate::limits;
use crate::log_page::{self, LogPage, LogPart};
use crate::now::Now;
use crate::permit::{Outcome, Permit};
use crate::property::Transition;
use crate::queue::Queue;
use crate::wire::refusal::{Refusal, field};
use crate::wire::{HostSgl, Page, Status};

/// What a command that returns data agreed to.
struct Reply {
    to: HostSgl,
    len: u32,
    source: Source,
}

impl Controller {
    /// Executes a command of [`Action::Admin`] that came on this controller's admin queue.
    ///
    /// Returns Respond, Return, or None for an Asynchronous Event Request that waits.
    pub fn handle_admin(
        &mut self,
        now: Now,
        queue: &mut Queue,
        permit: Permit,
        command: AdminCommand,
    ) -> Action {
        self.keep_alive.touch(now);
        let fabrics =
            matches!(command, AdminCommand::PropertyGet { .. } | AdminCommand::PropertySet { .. });
        let fabrics_refused = permit.opcode() == crate::wire::Sqe::FABRICS;
        if !fabrics && !fabrics_refused && !self.properties.is_ready() {
            return queue.respond(permit, Status::COMMAND_SEQUENCE_ERROR.dnr());
        }
        match command {
            AdminCommand::PropertyGet { offset, size } => {
                let value = self.properties.get(offset, size).map(Outcome::result);
                answer(queue, permit, value.map_err(|status| status.at(field::CDW11)))
            }
            AdminCommand::PropertySet { offset, size, value } => {
                let set = self.property_set(now, queue, offset, size, value);
                answer(queue, permit, set)
            }
            AdminCommand::Identify(command) => {
                let reply = self.identify(&command);
                reply_to(queue, permit, reply)
            }
            AdminCommand::GetLogPage(command) => {
                let reply = self.get_log_page(&command);
                reply_to(queue, permit, reply)
            }
            AdminCommand::GetFeatures(command) => self.get_features(queue, permit, &command),
            AdminCommand::SetFeatures(command) => {
                let set = self.set_features(now, &command);
                answer(queue, permit, set.map(|dw0| Outcome::result(u64::from(dw0))))
            }
            AdminCommand::Abort { sqid, cid } => {
                let outcome = self.abort(sqid, cid);
                queue.respond(permit, outcome)
            }
            AdminCommand::AsyncEventRequest => match self.events.request(permit) {
                Ok(()) => Action::None,
                Err(permit) => queue.respond(permit, Status::ASYNC_EVENT_LIMIT.dnr()),
            },
            AdminCommand::KeepAlive => {
                let outcome = match self.keep_alive.timeout_ms() {
                    0 => Outcome::failed(Status::KEEP_ALIVE_INVALID.dnr()),
                    _ => Outcome::SUCCESS,
                };
                queue.respond(permit, outcome)
            }
            AdminCommand::Refused(status) => queue.respond(permit, status),
        }
    }

    fn property_set(
        &mut self,
        now: Now,
        queue: &mut Queue,
        offset: u32,
        size: PropertySize,
        value: u64,
    ) -> Result<Outcome, Refusal> {
        if self.phase == Phase::Ended {
            // Its connections are being closed: nothing brings it back.
            return Err(Status::COMMAND_SEQUENCE_ERROR.dnr().into());
        }
        let place = |status: Status| status.at(field::CDW11);
        match self.properties.set(offset, size, value).map_err(place)? {
            Transition::None => {}
            Transition::Enabled => {
                // A shutdown of the disabled controller is over with this.
                self.phase = Phase::Running;
                self.deadline = None;
                self.outbox.views = true;
            }
            Transition::Disabled => self.reset(queue),
            Transition::Disabling => {
                self.reset(queue);
                self.phase = Phase::Disabling;
                self.deadline = Some(now.after_ms(limits::READY_TIMEOUT_MS));
                self.outbox.views = true;
                self.outbox.close = Some(CloseReason::Disabled);
            }
            Transition::ShuttingDown { abrupt } => {
                self.phase = Phase::ShuttingDown;
                self.deadline = Some(now.after_ms(limits::SHUTDOWN_TIMEOUT_MS));
                self.outbox.views = true;
                self.outbox.close =
                    Some(if abrupt { CloseReason::AbruptShutdown } else { CloseReason::Shutdown });
            }
        }
        Ok(Outcome::SUCCESS)
    }

    /// Outstanding commands end without an answer when EN is cleared (NVMe Base 2.0 §3.7.2).
    fn reset(&mut self, queue: &mut Queue) {
        while let Some(permit) = self.events.take_any() {
            queue.abandon(permit);
        }
        if let Some(permit) = self.outbox.aborted.take() {
            queue.abandon(permit);
        }
        self.events.reset();
        self.features.reset();
    }

    /// Only a waiting Asynchronous Event Request can still be stopped; dword 0 says 1 for every
    /// other command, which ends by itself.
    fn abort(&mut self, sqid: Qid, cid: Cid) -> Outcome {
        const NOT_ABORTED: u64 = 1;
        if self.outbox.aborted.is_some() {
            return Outcome::result(NOT_ABORTED);
        }
        match self.events.take(sqid, cid) {
            Some(aborted) => {
                self.outbox.aborted = Some(aborted);
                Outcome::SUCCESS
            }
            None => Outcome::result(NOT_ABORTED),
        }
    }

    fn identify(&self, command: &Identify) -> Result<Reply, Refusal> {
        let structure = match &self.kind {
            Kind::Io(subsystem) => identify::structure(command, subsystem, self.cntlid)?,
            Kind::Discovery { .. } if command.cns == cns::CONTROLLER => Structure::Controller,
            Kind::Discovery { .. } => return Err(Status::INVALID_FIELD.dnr().at(field::CDW10)),
        };
        Ok(Reply {
            to: command.to,
            len: limits::IDENTIFY_BYTES,
            source: Source::Identify(structure),
        })
    }

    fn get_log_page(&mut self, command: &GetLogPage) -> Result<Reply, Refusal> {
        let page = LogPage::find(self.is_discovery(), command.lid)
            .ok_or(Status::INVALID_LOG_PAGE.dnr().at(field::CDW10))?;
        if command.len > self.limits.mdts_bytes {
            return Err(Status::INVALID_FIELD.dnr().at(field::CDW10 + 2));
        }
        if !command.offset.is_multiple_of(4) {
            return Err(Status::INVALID_FIELD.dnr().at(field::CDW12));
        }
        if command.index_offset {
            return Err(Status::INVALID_FIELD.dnr().at_bit(field::CDW14, 23));
        }
        let bytes = match &self.kind {
            Kind::Discovery { export, arrival } if page == LogPage::Discovery => {
                discovery::log_bytes(export, *arrival, &self.host)
            }
            Kind::Discovery { .. } | Kind::Io(_) => page.bytes(),
        };
        if command.offset > bytes {
            return Err(Status::INVALID_FIELD.dnr().at(field::CDW12));
        }
        let whole_controller = command.nsid == Nsid(0) || command.nsid == Nsid::ALL;
        match page {
            // LPA says that SMART is not kept for each namespace.
            LogPage::Smart if !whole_controller => {
                return Err(Status::INVALID_FIELD.dnr().at(field::NSID));
            }
            LogPage::CommandEffects if command.csi != 0 => {
                return Err(Status::INVALID_FIELD.dnr().at_bit(field::CDW14, 24));
            }
            LogPage::ChangedNamespaces => self.report_changed(command),
            LogPage::Discovery => {
                if !command.rae {
                    self.events.acknowledge(Notice::DISCOVERY_LOG);
                }
            }
            LogPage::Supported
            | LogPage::Error
            | LogPage::Smart
            | LogPage::Firmware
            | LogPage::CommandEffects
            | LogPage::FeatureEffects
            | LogPage::ManagementEffects => {}
        }
        let source = Source::LogPage(LogPart { page, offset: command.offset });
        // What a host gets beyond the end of a page is undefined (NVMe Base 2.0 §5.16.1): nothing
        // is sent, so that no page takes more memory than it has bytes.
        let rest = u32::try_from(bytes - command.offset).unwrap_or(u32::MAX);
        Ok(Reply { to: command.to, len: command.len.min(rest), source })
    }

    /// A read from the start takes the list as it is now, and later parts are parts of that one.
    /// Without RAE what was shown is forgotten; what has changed since is told anew.
    fn report_changed(&mut self, command: &GetLogPage) {
        if command.offset == 0 {
            self.reported.clone_from(&self.changed);
        }
        if !command.rae {
            self.changed.forget(&self.reported);
            self.events.acknowledge(Notice::NAMESPACE_ATTRIBUTE);
            if !self.changed.is_empty() {
                self.events.raise(Notice::NAMESPACE_ATTRIBUTE);
            }
        }
    }

    fn get_features(&self, queue: &mut Queue, permit: Permit, command: &GetFeatures) -> Action {
        if let Some(to) = command.to {
            let reply = features::capabilities(self.is_discovery(), command.fid)
                .ok_or(Status::INVALID_FIELD.dnr().at(field::CDW10))
                .and_then(|_| features::check_host_identifier(command.cdw11))
                .map(|()| Reply {
                    to,
                    len: features::HOST_IDENTIFIER_BYTES,
                    source: Source::HostIdentifier,
                });
            return reply_to(queue, permit, reply);
        }
        let value = self.feature(command);
        answer(queue, permit, value.map(|dw0| Outcome::result(u64::from(dw0))))
    }

    fn feature(&self, command: &GetFeatures) -> Result<u32, Refusal> {
        let capabilities = features::capabilities(self.is_discovery(), command.fid)
            .ok_or(Status::INVALID_FIELD.dnr().at(field::CDW10))?;
        let defaults;
        let features = match command.select {
            Select::SupportedCapabilities => return Ok(capabilities),
            Select::Current => &self.features,
            // Nothing can be saved, so what was saved is the default.
            Select::Default | Select::Saved => {
                defaults = self.features.defaults();
                &defaults
            }
        };
        let current = command.select == Select::Current;
        match command.fid {
            fid::ASYNC_EVENT_CONFIGURATION if current => Ok(self.events.configuration()),
            fid::KEEP_ALIVE_TIMER if current => Ok(self.keep_alive.timeout_ms()),
            fid::ASYNC_EVENT_CONFIGURATION | fid::KEEP_ALIVE_TIMER => Ok(0),
            known => {
                let value = features.get(known, command.cdw11)?;
                value.ok_or(Status::INVALID_FIELD.dnr().at(field::CDW10))
            }
        }
    }

    fn set_features(&mut self, now: Now, command: &SetFeatures) -> Result<u32, Refusal> {
        features::check_set(self.is_discovery(), command)?;
        match command.fid {
            fid::ASYNC_EVENT_CONFIGURATION => {
                self.events.configure(command.cdw11)?;
                Ok(0)
            }
            fid::KEEP_ALIVE_TIMER => {
                check_keep_alive(&self.limits, command.cdw11)
                    .map_err(|status| status.at(field::CDW11))?;
                self.keep_alive.set(now, command.cdw11);
                Ok(0)
            }
            // Queues are counted before the first of them is made (NVMe Base 2.0 §5.27).
            fid::NUMBER_OF_QUEUES if !self.io_queues.is_empty() => {
                Err(Status::COMMAND_SEQUENCE_ERROR.dnr().into())
            }
            _ => {
                let cache = self.features.write_cache;
                let dw0 = self.features.set(command)?;
                self.outbox.views |= self.features.write_cache != cache;
                Ok(dw0)
            }
        }
    }

    /// Writes what an [`Action::Return`] of this controller promised; `out.len()` is its `len`.
    pub fn fill(&self, source: &Source, out: &mut [u8]) {
        match source {
            Source::Identify(structure) => {
                let mut page = Page::new(out, 0);
                self.fill_identify(*structure, &mut page);
            }
            Source::LogPage(LogPart { page, offset }) => {
                let mut window = Page::new(out, *offset);
                self.fill_log_page(*page, &mut window);
            }
            Source::HostIdentifier => Page::new(out, 0).put(0, &self.host_id),
            // The queue fills it.
            Source::Authentication => {}
        }
    }

    fn fill_identify(&self, structure: Structure, page: &mut Page<'_>) {
        let (subsystem, identity) = match &self.kind {
            Kind::Io(subsystem) => (Some(&**subsystem), &subsystem.identity),
            Kind::Discovery { export, .. } => (None, &export.discovery.identity),
        };
        match (structure, subsystem) {
            (Structure::Controller, _) => ControllerFacts {
                cntlid: self.cntlid,
                subnqn: &self.subnqn,
                identity,
                limits: &self.limits,
                oaes: self.events.supported(),
                subsystem,
            }
            .fill(page),
            (structure, Some(subsystem)) => identify::fill(structure, subsystem, page),
            (_, None) => {}
        }
    }

    fn fill_log_page(&self, log: LogPage, page: &mut Page<'_>) {
        match log {
            LogPage::Supported => log_page::fill_supported(self.is_discovery(), page),
            LogPage::ManagementEffects => {}
            LogPage::Error => self.errors.fill(page),
            LogPage::Smart => log_page::fill_smart(self.counts(), self.errors.counts(), page),
            LogPage::Firmware => {
                if let Kind::Io(subsystem) = &self.kind {
                    log_page::fill_firmware(subsystem.identity.firmware, page);
                }
            }
            LogPage::ChangedNamespaces => self.reported.fill(page),
            LogPage::CommandEffects => log_page::fill_command_effects(page),
            LogPage::FeatureEffects => log_page::fill_feature_effects(self.is_discovery(), page),
            LogPage::Discovery => {
                if let Kind::Discovery { export, arrival } = &self.kind {
                    discovery::fill(export, *arrival, &self.host, page);
                }
            }
        }
    }
}

fn answer(queue: &mut Queue, permit: Permit, outcome: Result<Outcome, Refusal>) -> Action {
    queue.respond(permit, outcome.unwrap_or_else(Outcome::from))
}

fn reply_to(queue: &mut Queue, permit: Permit, reply: Result<Reply, Refusal>) -> Action {
    match reply {
        Ok(Reply { len: 0, .. }) => queue.respond(permit, Outcome::SUCCESS),
        Ok(Reply { to, len, source }) => Action::Return { permit, to, len, source },
        Err(refusal) => queue.respond(permit, refusal),
    }
}
