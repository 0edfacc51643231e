//! What comes with a connection request, in a capsule's data pointer, or in a completion.

use nvme::rdma::RequestPrivateData;
use nvme::{Qid, Sgl};
use transport::wr::WrId;

use crate::input::Input;

/// Two bytes of bound, then the private data of a connection request.
pub(crate) fn cm_private_data(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let entries_max = input.short();
    let data = input.bytes(bytes.len());
    let Ok(request) = RequestPrivateData::parse(data) else { return };
    assert_eq!(RequestPrivateData::parse(&request.emit()), Ok(request));
    match request.admit(entries_max) {
        Ok(claim) => {
            let bound = if request.qid == Qid::ADMIN { 32 } else { entries_max };
            assert!((2..=bound).contains(&claim.entries), "{claim:?}");
            assert_eq!((claim.qid, claim.entries - 1), (request.qid, request.hsqsize));
            assert_ne!(request.hrqsize, 0);
        }
        Err(code) => assert_eq!(code.emit()[..3], [0, 0, code.emit()[2]]),
    }
}

/// The 16 bytes of a data pointer.
pub(crate) fn sgl(bytes: &[u8]) {
    let Some(descriptor) = bytes.first_chunk::<16>() else { return };
    let Ok(sgl) = Sgl::parse(descriptor) else {
        assert!(!matches!(descriptor[15], 0x01 | 0x40 | 0x4f), "a form that is supported");
        return;
    };
    assert_eq!(Sgl::parse(&sgl.emit()), Ok(sgl));
    match sgl {
        Sgl::Keyed(host) => {
            assert!(host.len <= nvme::limits::KEYED_LENGTH_MAX);
            assert_eq!(sgl.emit(), *descriptor);
            assert_eq!(sgl.invalidate().is_some(), descriptor[15] == 0x4f);
        }
        Sgl::InCapsule { .. } => assert_eq!(sgl.invalidate(), None),
    }
}

/// The id of a completion.
pub(crate) fn wr_id(bytes: &[u8]) {
    let Some(raw) = bytes.first_chunk::<8>() else { return };
    let raw = u64::from_le_bytes(*raw);
    match WrId::from_raw(raw) {
        Some(id) => assert_eq!(id.to_raw(), raw, "an id that comes back is the id that went"),
        None => assert!(!(1..=4).contains(&(raw >> 60))),
    }
}
