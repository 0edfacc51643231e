//! Data pointers of commands: which forms a direction allows (NVMe-oF 1.1 §7.3).

use crate::action::HostData;
use crate::wire::refusal::{Refusal, field};
use crate::wire::{HostSgl, Sgl, Sqe, Status};

/// Bytes of in-capsule data that a command may point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InCapsule(pub(crate) u32);

/// Data from the host: in its memory, or in the capsule within the bytes that really came.
pub(crate) fn from_host(sgl: Sgl, came: InCapsule) -> Result<HostData, Refusal> {
    match sgl {
        Sgl::Keyed(sgl) => Ok(HostData::Host(sgl)),
        Sgl::InCapsule { offset, len } => {
            let end = offset.checked_add(u64::from(len));
            if end.is_none_or(|end| end > u64::from(came.0)) {
                return Err(Status::SGL_OFFSET_INVALID.dnr().at(field::DPTR));
            }
            let offset = u32::try_from(offset)
                .map_err(|_| Status::SGL_OFFSET_INVALID.dnr().at(field::DPTR))?;
            Ok(HostData::InCapsule { offset, len })
        }
    }
}

/// Exactly `len` bytes from the host.
pub(crate) fn from_host_exact(sqe: &Sqe, came: InCapsule, len: u64) -> Result<HostData, Refusal> {
    let sgl = sgl(sqe)?;
    check_length(sgl, len)?;
    from_host(sgl, came)
}

/// At least `len` bytes from the host: Linux sends a page for every Dataset Management command.
pub(crate) fn from_host_at_least(
    sqe: &Sqe,
    came: InCapsule,
    len: u32,
) -> Result<HostData, Refusal> {
    let sgl = sgl(sqe)?;
    if sgl.len() < len {
        return Err(Status::DATA_SGL_LENGTH_INVALID.dnr().at(field::DPTR));
    }
    from_host(sgl, came)
}

/// Exactly `len` bytes to the host, which only fit in its memory.
pub(crate) fn to_host(sqe: &Sqe, len: u64) -> Result<HostSgl, Refusal> {
    match sgl(sqe)? {
        Sgl::InCapsule { .. } => Err(Status::INVALID_FIELD.dnr().at(field::DPTR)),
        sgl @ Sgl::Keyed(host) => {
            check_length(sgl, len)?;
            Ok(host)
        }
    }
}

/// SGLS says that an SGL may not be longer than the data, so both differences are errors.
fn check_length(sgl: Sgl, len: u64) -> Result<(), Refusal> {
    if u64::from(sgl.len()) != len {
        return Err(Status::DATA_SGL_LENGTH_INVALID.dnr().at(field::DPTR));
    }
    Ok(())
}

fn sgl(sqe: &Sqe) -> Result<Sgl, Refusal> {
    sqe.sgl().map_err(|status| status.at(field::DPTR))
}
