//! The doors out of the table, each with what must not come through it.

use super::*;
use crate::pool::Pool;

const OK: WcStatus = WcStatus::Success;

fn table(order: bool, slots: usize, generations: &Rc<Cell<u32>>) -> InFlight {
    InFlight::new(Epoch::next(), 3, slots, order, Rc::clone(generations))
}

fn post(table: &mut InFlight, pool: &Pool, kind: WrKind, context: u64) -> WrId {
    let memory = Memory::Buf(pool.take(4096).unwrap());
    table.admit(kind, memory, context).unwrap()
}

fn complete(table: &mut InFlight, id: WrId, status: WcStatus) -> Vec<Retired> {
    let mut out = Vec::new();
    let wc = Wc { wr_id: id.to_raw(), status, byte_len: 0, vendor_err: 0 };
    table.complete(&wc, id, &mut out);
    out
}

#[test]
fn a_completion_gives_the_memory_back_once() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(false, 4, &generations);
    let id = post(&mut table, &pool, WrKind::Read, 9);
    assert_eq!(pool.used_bytes(), 4096);
    let first = complete(&mut table, id, OK);
    assert!(first.len() == 1 && first[0].succeeded() && first[0].context == 9);
    drop(first);
    assert_eq!(pool.used_bytes(), 0);
    assert!(complete(&mut table, id, OK).is_empty(), "the second one is stale");
    assert_eq!(table.stale(), 1);
}

#[test]
fn a_late_completion_of_an_earlier_use_of_the_slot_means_nothing() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 1, &generations);
    let old = post(&mut table, &pool, WrKind::Send, 1);
    drop(complete(&mut table, old, OK));
    let new = post(&mut table, &pool, WrKind::Send, 2);
    assert_eq!((old.slot, old.connection), (new.slot, new.connection));
    assert!(complete(&mut table, old, WcStatus::Flushed).is_empty());
    assert_eq!(table.send_out(), 1);
    assert_eq!(complete(&mut table, new, OK)[0].context, 2);
}

#[test]
fn an_unsignaled_write_leaves_behind_its_send_only_where_order_is_kept() {
    for order in [true, false] {
        let (pool, generations) = (Pool::unregistered(1), Rc::default());
        let mut table = table(order, 4, &generations);
        post(&mut table, &pool, WrKind::Write, 1);
        let send = post(&mut table, &pool, WrKind::Send, 2);
        let out = complete(&mut table, send, OK);
        let contexts: Vec<u64> = out.iter().map(|r| r.context).collect();
        assert_eq!(contexts, if order { vec![1, 2] } else { vec![2] });
        assert_eq!(table.send_out(), u64::from(!order));
        drop(out);
        table.quarantine();
    }
}

#[test]
fn an_in_order_completion_retires_no_receive_and_nothing_younger() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 4, &generations);
    let recv = post(&mut table, &pool, WrKind::Recv, 1);
    let send = post(&mut table, &pool, WrKind::Send, 2);
    let younger = post(&mut table, &pool, WrKind::Send, 3);
    assert_eq!(complete(&mut table, send, OK).len(), 1);
    assert_eq!((table.send_out(), table.recv_out()), (1, 1));
    assert_eq!(complete(&mut table, younger, OK).len(), 1);
    assert_eq!(complete(&mut table, recv, OK).len(), 1);
}

#[test]
fn a_refused_post_comes_back_and_does_not_count_as_posted() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 4, &generations);
    let (one, two) =
        (post(&mut table, &pool, WrKind::Write, 1), post(&mut table, &pool, WrKind::Send, 2));
    let mut out = Vec::new();
    table.refuse(two, &mut out);
    table.refuse(one, &mut out);
    table.refuse(one, &mut out);
    assert_eq!(out.len(), 2);
    assert_eq!(table.queue_counts().0, QueueCounts::default());
    let three = post(&mut table, &pool, WrKind::Send, 3);
    assert_eq!(complete(&mut table, three, OK).len(), 1, "nothing refused is retired again");
}

#[test]
fn only_the_proof_of_its_own_queue_pair_opens_the_last_door() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(false, 4, &generations);
    post(&mut table, &pool, WrKind::Read, 1);
    post(&mut table, &pool, WrKind::Recv, 2);
    let mut out = Vec::new();
    let others = QpDestroyed::of(Epoch::next());
    assert!(table.reclaim(others, &mut out).is_err() && out.is_empty());
    let own = QpDestroyed::of(table.epoch());
    assert!(table.reclaim(own, &mut out).is_ok());
    assert!(out.len() == 2 && out.iter().all(|r| r.door == Door::Destroyed));
    let (send, recv) = table.queue_counts();
    assert_eq!((send.reclaimed, recv.reclaimed, table.send_out()), (1, 1, 0));
}

#[test]
fn a_table_that_is_dropped_with_work_in_flight_leaks_it_and_counts() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(false, 4, &generations);
    post(&mut table, &pool, WrKind::Read, 1);
    let before = leaked();
    drop(table);
    assert!(leaked() > before);
    assert_eq!(pool.used_bytes(), 4096, "the memory never comes back");
}

fn marker(table: &mut InFlight, pool: &Pool, queue: Queue) -> WrId {
    let memory = (queue == Queue::Recv).then(|| pool.take_slot().unwrap());
    table.admit_marker(queue, memory).unwrap()
}

#[test]
fn a_flushed_marker_gives_back_the_rest_of_its_own_queue_and_nothing_else() {
    for order in [true, false] {
        for queue in Queue::ALL {
            let (pool, generations) = (Pool::unregistered(1), Rc::default());
            let mut table = table(order, 8, &generations);
            for (context, kind) in
                [WrKind::Read, WrKind::Recv, WrKind::Write, WrKind::Recv].into_iter().enumerate()
            {
                post(&mut table, &pool, kind, context as u64);
            }
            let id = marker(&mut table, &pool, queue);
            let out = complete(&mut table, id, WcStatus::Flushed);
            assert!(out.iter().all(|r| r.door == Door::InOrder));
            let contexts: Vec<u64> = out.iter().map(|r| r.context).collect();
            let recv = queue == Queue::Recv;
            assert_eq!(contexts, if recv { [1, 3] } else { [0, 2] });
            let left = if recv { (2, 0) } else { (0, 2) };
            assert_eq!((table.send_out(), table.recv_out()), left);
            assert!(table.marker_flushed(queue));
            drop(out);
            assert!(complete(&mut table, id, WcStatus::Flushed).is_empty(), "stale by now");
            assert_eq!((table.stale(), pool.used_bytes()), (1, 2 * 4096));
            table.quarantine();
        }
    }
}

#[test]
fn a_marker_that_did_not_flush_proves_nothing_of_its_queue() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 4, &generations);
    post(&mut table, &pool, WrKind::Read, 1);
    for status in [OK, WcStatus::Error(10)] {
        let id = marker(&mut table, &pool, Queue::Send);
        assert!(complete(&mut table, id, status).is_empty());
    }
    assert!(table.send_out() == 1 && !table.marker_flushed(Queue::Send));
    table.quarantine();
}

#[test]
fn a_marker_that_is_still_out_keeps_its_memory_from_the_pool() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut first = table(true, 4, &generations);
    let refused = marker(&mut first, &pool, Queue::Recv);
    assert!(first.refuse_marker(refused).is_some(), "R3 gives it back");
    assert_eq!(pool.used_bytes(), 0);
    marker(&mut first, &pool, Queue::Recv);
    assert!(first.admit_marker(Queue::Recv, None).is_err(), "one a queue");
    assert!(first.reclaim(QpDestroyed::of(first.epoch()), &mut Vec::new()).is_ok());
    assert_eq!(pool.used_bytes(), 0, "R4 gives it back");
    let mut second = table(true, 4, &generations);
    marker(&mut second, &pool, Queue::Recv);
    let before = leaked();
    drop(second);
    assert!(leaked() > before && pool.used_bytes() > 0, "no door, no memory");
}

#[test]
fn a_full_table_gives_the_memory_back_instead_of_losing_it() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(false, 1, &generations);
    let id = post(&mut table, &pool, WrKind::Send, 1);
    let refused = table.admit(WrKind::Send, Memory::Buf(pool.take(1).unwrap()), 2);
    assert!(refused.is_err());
    drop((refused, complete(&mut table, id, OK)));
    assert_eq!(pool.used_bytes(), 0);
}

#[test]
fn an_unsignaled_write_whose_send_was_refused_waits_for_its_own_flush_or_the_destroy() {
    for flushed in [true, false] {
        let (pool, generations) = (Pool::unregistered(1), Rc::default());
        let mut table = table(true, 4, &generations);
        let write = post(&mut table, &pool, WrKind::Write, 1);
        let send = post(&mut table, &pool, WrKind::Send, 2);
        let mut out = Vec::new();
        table.refuse(send, &mut out);
        assert_eq!((out.len(), table.send_out()), (1, 1), "the prefix is out");
        if flushed {
            assert_eq!(complete(&mut table, write, WcStatus::Flushed).len(), 1);
        }
        assert!(table.reclaim(QpDestroyed::of(table.epoch()), &mut out).is_ok());
        assert_eq!((out.len(), table.send_out()), (if flushed { 1 } else { 2 }, 0));
    }
}

#[test]
fn a_completion_of_what_was_reported_as_refused_means_nothing() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 4, &generations);
    let id = post(&mut table, &pool, WrKind::Send, 1);
    table.refuse(id, &mut Vec::new());
    let next = post(&mut table, &pool, WrKind::Send, 2);
    assert_eq!(id.slot, next.slot, "the slot is in use again");
    assert!(complete(&mut table, id, OK).is_empty());
    assert_eq!((table.stale(), table.send_out()), (1, 1));
    drop(complete(&mut table, next, OK));
}

#[test]
fn a_send_that_overtakes_a_read_gives_back_only_itself_where_no_order_is_kept() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(false, 4, &generations);
    let read = post(&mut table, &pool, WrKind::Read, 1);
    let send = post(&mut table, &pool, WrKind::Send, 2);
    let first = complete(&mut table, send, OK);
    assert!(first.len() == 1 && first[0].context == 2, "the READ's buffer may still be written");
    assert_eq!(table.send_out(), 1);
    assert_eq!(complete(&mut table, read, OK)[0].context, 1);
}

#[test]
fn a_marker_flushed_behind_the_deadline_gives_back_its_queue_and_the_destroy_the_rest() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 4, &generations);
    post(&mut table, &pool, WrKind::Read, 1);
    post(&mut table, &pool, WrKind::Recv, 2);
    let id = marker(&mut table, &pool, Queue::Send);
    let mut out = complete(&mut table, id, WcStatus::Flushed);
    assert!(table.reclaim(QpDestroyed::of(table.epoch()), &mut out).is_ok());
    let doors: Vec<Door> = out.iter().map(|r| r.door).collect();
    assert_eq!(doors, [Door::InOrder, Door::Destroyed]);
}

#[test]
fn completions_of_a_dead_connection_mean_nothing_to_its_successor_or_neighbour() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut dead = table(true, 2, &generations);
    let ids = [post(&mut dead, &pool, WrKind::Read, 1), post(&mut dead, &pool, WrKind::Recv, 2)];
    assert!(dead.reclaim(QpDestroyed::of(dead.epoch()), &mut Vec::new()).is_ok());
    // The same slot of the reactor, the same slots of the table, perhaps the same number.
    let mut next = table(true, 2, &generations);
    post(&mut next, &pool, WrKind::Read, 3);
    post(&mut next, &pool, WrKind::Recv, 4);
    for id in ids {
        for table in [&mut next, &mut dead] {
            assert!(complete(table, id, OK).is_empty());
        }
    }
    assert_eq!((next.send_out(), next.recv_out(), next.stale()), (1, 1, 2));
    next.quarantine();
}

#[test]
fn a_receive_that_was_accepted_and_lost_comes_back_by_the_destroy_only() {
    let (pool, generations) = (Pool::unregistered(1), Rc::default());
    let mut table = table(true, 4, &generations);
    let first = post(&mut table, &pool, WrKind::Recv, 1);
    drop(complete(&mut table, first, OK));
    post(&mut table, &pool, WrKind::Recv, 2);
    let send = post(&mut table, &pool, WrKind::Send, 3);
    drop(complete(&mut table, send, WcStatus::Flushed));
    assert_eq!((table.recv_out(), table.queue_counts().1.posted), (1, 2));
    let mut out = Vec::new();
    assert!(table.reclaim(QpDestroyed::of(table.epoch()), &mut out).is_ok());
    assert!(out.len() == 1 && out[0].context == 2);
}
