//! The Disconnect command, which ends one I/O queue.

use nvme::admin::fctype;
use nvme::io::opcode;
use nvme::{Action, Cid, Outcome, Sqe, Status};

use crate::pair::{Pair, blocks, keyed};

fn disconnect(recfmt: u32) -> Sqe {
    let mut sqe = Sqe::new(Sqe::FABRICS, Cid(900));
    sqe.nsid = u32::from(fctype::DISCONNECT).into();
    sqe.cdw10 = recfmt.into();
    sqe
}

#[test]
fn disconnect_is_the_last_command_of_its_queue() {
    let mut pair = Pair::live();
    assert_eq!(pair.identify_controller().ofcs.get(), 1);
    let read = blocks(opcode::READ, 1, 0, 0, keyed(512));
    let Action::Execute { permit, .. } = pair.start_io(&read, 0) else { panic!("no read") };
    match pair.start_io(&disconnect(0), 0) {
        Action::Finish(completion) => assert_eq!(completion.cqe.status(), Status::SUCCESS),
        other => panic!("unexpected {other:?}"),
    }
    pair.finish(permit, Outcome::SUCCESS).ok();
    let refused = Status::COMMAND_SEQUENCE_ERROR.dnr();
    assert_eq!(pair.io_status(&read), refused);
    assert_eq!(pair.io_status(&disconnect(0)), refused);
    // What the controller tells its queues does not bring it back.
    pair.set_feature(6, 0).ok();
    assert_eq!(pair.io_status(&read), refused);
}

#[test]
fn disconnect_is_not_for_the_admin_queue_and_knows_one_format() {
    let mut pair = Pair::live();
    assert_eq!(pair.admin(disconnect(0)).status(), Status::INVALID_QUEUE_TYPE.dnr());
    let status = pair.io_status(&disconnect(1));
    assert_eq!(status, Status::CONNECT_INCOMPATIBLE_FORMAT.dnr());
    pair.io_op(&blocks(opcode::READ, 1, 0, 0, keyed(512)), 0);
}
