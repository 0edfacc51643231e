//! Who may come in.

use crate::hosts::Hosts;
use crate::reactor::tests::bed::{Bed, Plan, SUBNQN};
use crate::reactor::tests::host::HostQueue;

/// Connect Controller Busy, without Do Not Retry.
const BUSY: u16 = 0x181;

#[test]
fn hosts_beyond_the_limit_are_told_to_try_again() {
    let mut bed = Bed::new(&Plan::default());
    bed.reactor.shared.set_hosts(Hosts::new(1, 2));
    let host = bed.host(1);
    let (first, _) = HostQueue::admin(&mut bed, &host, SUBNQN);
    let connect = |bed: &mut Bed, hostnqn: &str| {
        let mut queue = HostQueue::dial(bed, &host, 0, 0, 32);
        let names = (SUBNQN, hostnqn);
        let response = queue.nvme_connect(bed, (0, 32), names, (0xffff, 5000)).unwrap();
        (response.status, queue)
    };
    assert_eq!(connect(&mut bed, "nqn.2026-01.bed:other").0, BUSY, "a second host");
    let (status, _second) = connect(&mut bed, "nqn.2026-01.bed:host");
    assert_eq!(status, 0, "a second controller of the first host");
    assert_eq!(connect(&mut bed, "nqn.2026-01.bed:host").0, BUSY, "a third controller");
    first.peer.disconnect();
    bed.run(std::time::Duration::from_secs(3));
    assert_eq!(connect(&mut bed, "nqn.2026-01.bed:host").0, 0, "a place is free again");
}
