//! What the crate answers when it is used wrongly, and what becomes of objects that are not
//! destroyed.
//!
//! Leaks on purpose: last, for the kernel's objects go with the process.

use std::time::Duration;

use anyhow::Result;
use transport::device::{
    AcceptParams, CmId, CompletionQueue, Device, DeviceError, QpCaps, QueuePair, Stack, Token,
};
use verbs::Verbs;

use crate::case::{Lab, Outstanding};

/// `EINVAL`, `ENODEV`, `EADDRINUSE`, `EADDRNOTAVAIL`
const EINVAL: &str = "22";
const ENODEV: &str = "19";
const EADDRINUSE: &str = "98";
const EADDRNOTAVAIL: &str = "99";

/// Decimal, as the manual pages and `errno -l` have it.
fn errno<T>(result: Result<T, DeviceError>) -> String {
    result.map_or_else(|error| error.errno.to_string(), |_| "0".to_owned())
}

/// A row of a call that is answered with this errno, "0" being success.
fn answers<T>(lab: &mut Lab, row: &str, wanted: &str, result: Result<T, DeviceError>) {
    lab.table.same(row, wanted, &errno(result));
}

/// Addresses that are nobody's or somebody's, parameters out of bounds.
pub(crate) fn refusals(lab: &mut Lab) -> Result<()> {
    let case = lab.begin("refusals", Outstanding::Receives)?;
    let stack = Verbs::open()?;
    let nowhere = errno(stack.listen("192.0.2.1:7400".parse()?, 1, 0));
    let ok = nowhere == ENODEV || nowhere == EADDRNOTAVAIL;
    lab.table.row("listen on an address of nobody", "ENODEV or EADDRNOTAVAIL", nowhere, ok);
    let addr = lab.next_addr();
    let first = stack.listen(addr, 1, 0)?;
    answers(lab, "listen on a taken port", EADDRINUSE, stack.listen(addr, 1, 1));
    drop(first);
    answers(lab, "... when it is free again", "0", stack.listen(addr, 1, 2));
    let caps = QpCaps { send_wr_max: 1, recv_wr_max: 1, recv_sge_max: 1 };
    let pd = case.end.device.alloc_pd()?;
    let (end, token) = (&case.end, Token(1));
    let second = end.device.create_qp(&end.id, &pd, &end.cq, caps, token);
    answers(lab, "a second queue pair on an id", EINVAL, second);
    let id = verbs::resolve(addr, None, Duration::from_secs(5))?;
    let huge = QpCaps { send_wr_max: u32::MAX, ..caps };
    let refused = errno(end.device.create_qp(&id, &pd, &end.cq, huge, token));
    lab.table.row("a queue pair without bound", "an error", &refused, refused != "0");
    let params = AcceptParams {
        private_data: &[],
        responder_resources: 1,
        initiator_depth: 1,
        rnr_retry_count: 7,
    };
    answers(lab, "accept without a queue pair", EINVAL, id.accept(&params));
    let made = end.device.create_qp(&id, &pd, &end.cq, caps, token);
    answers(lab, "a queue pair after the refused one", "0", made.and_then(|qp| qp.destroy(&id)));
    let long = AcceptParams { private_data: &[0; 197], ..params };
    answers(lab, "197 bytes of private data", EINVAL, end.id.accept(&long));
    let endless = errno(end.device.create_cq(u32::MAX));
    lab.table.row("a completion queue without bound", "an error", &endless, endless != "0");
    lab.table.row(
        "entries of a queue of 512",
        "at least 512",
        end.cq.depth(),
        end.cq.depth() >= 512,
    );
    drop(pd);
    drop(id);
    lab.finish(case)
}

/// Queue pairs that are dropped, or given to a destroy with somebody else's id.
pub(crate) fn undestroyed(lab: &mut Lab) -> Result<()> {
    let before = verbs::leaks();
    let mut case = lab.begin("undestroyed queue pairs", Outstanding::Receives)?;
    drop(case.end.qp.take());
    lab.table.same("dropped: counted", before.queue_pairs + 1, verbs::leaked_queue_pairs());
    drop(case);
    let mut case = lab.begin("undestroyed queue pairs", Outstanding::Receives)?;
    let stranger = verbs::resolve(lab.addr(), None, Duration::from_secs(5))?;
    let qp = case.end.qp.take().expect("a case begins with its queue pair");
    answers(lab, "destroyed with another id", EINVAL, qp.destroy(&stranger));
    lab.table.same("... counted", before.quarantined + 1, verbs::quarantined());
    drop(case);
    // Completion queue and domain would refuse their destroy if they were not kept.
    lab.table.same("refused destroys of what they use", before.objects, verbs::leaks().objects);
    Ok(())
}
