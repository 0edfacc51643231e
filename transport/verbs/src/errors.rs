//! One error convention for calls that have three.

use std::io;
use std::ptr::NonNull;

use transport::device::DeviceError;

/// The error of a call that reports through `errno`.
///
/// A provider that fails without setting it still gives a positive number, `EIO`.
pub(crate) fn last(call: &'static str) -> DeviceError {
    let errno = io::Error::last_os_error().raw_os_error().filter(|&e| e > 0).unwrap_or(libc::EIO);
    DeviceError { call, errno }
}

/// Normalises a return code: 0 is success, -1 means `errno`, anything else is the error with either
/// sign (mlx5, rxe: positive; cxgb4, siw: negative; siw's doorbell and librdmacm: -1).
pub(crate) fn check(call: &'static str, rc: libc::c_int) -> Result<(), DeviceError> {
    match rc {
        0 => Ok(()),
        -1 => Err(last(call)),
        _ => Err(DeviceError { call, errno: rc.saturating_abs() }),
    }
}

/// A pointer that a call returned, or its `errno`.
pub(crate) fn non_null<T>(call: &'static str, ptr: *mut T) -> Result<NonNull<T>, DeviceError> {
    NonNull::new(ptr).ok_or_else(|| last(call))
}

/// Whether an error only says that nothing is there to be read now.
pub(crate) fn would_block(error: &DeviceError) -> bool {
    error.errno == libc::EAGAIN || error.errno == libc::EINTR
}

/// Why RDMA is not available on this machine.
///
/// None of these is remembered: opening again works once the cause is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The kernel knows no RDMA: `/sys/class/infiniband` is missing.
    #[error(
        "the kernel has no RDMA support loaded: load ib_core with the NIC's driver, rdma_rxe or siw"
    )]
    NoKernelSupport,
    /// RDMA modules are loaded, but there is no device.
    #[error(
        "no RDMA device: load the NIC's RDMA driver, or make a software device with \
         `rdma link add rxe0 type rxe netdev <interface>`"
    )]
    NoDevice,
    /// There is a device, but not the character device of the connection manager.
    #[error("the RDMA connection manager is not loaded: run `modprobe rdma_ucm`")]
    NoConnectionManager,
    /// There are devices that no user-space library drives.
    #[error(
        "no user-space driver for {devices}: install the package ibverbs-providers, \
         and load ib_uverbs"
    )]
    NoProvider {
        /// Their names in `/sys/class/infiniband`.
        devices: String,
    },
    /// `RDMAV_ALLOW_DISASSOC_DESTROY` is set and can't be removed any more.
    #[error(
        "RDMAV_ALLOW_DISASSOC_DESTROY is set: it hides failed destroys from us; \
         unset it and start again"
    )]
    DisassociateHidden,
    /// Anything else, such as missing permission for `/dev/infiniband/rdma_cm`.
    #[error("RDMA can't be opened: {0}")]
    Other(DeviceError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_convention_gives_a_positive_errno() {
        assert_eq!(check("f", 0), Ok(()));
        assert_eq!(check("f", libc::ENOMEM).map_err(|e| e.errno), Err(libc::ENOMEM));
        assert_eq!(check("f", -libc::EINVAL).map_err(|e| e.errno), Err(libc::EINVAL));
        // `open` of a name that does not exist leaves ENOENT in errno.
        assert!(std::fs::File::open("/no-such-file").is_err());
        let error = check("f", -1).expect_err("-1 is a failure");
        assert!(error.errno > 0);
    }

    #[test]
    fn a_code_of_i32_min_does_not_overflow() {
        assert_eq!(check("f", i32::MIN).map_err(|e| e.errno), Err(i32::MAX));
    }
}
