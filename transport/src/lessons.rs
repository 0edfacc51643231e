//! How the close of other targets failed, and what makes each failure impossible here.
//!
//! This module holds text only. Every entry says what went wrong elsewhere, where that can be read
//! (`SPDK #n` is an issue of spdk/spdk, other projects by name), and the type, line or test of ours
//! that stands against it. The links break the documentation's build when what they name goes away;
//! names of tests, lab scenarios and files are checked by `transport/tests/evidence.rs`.
//!
//! # Work requests that never come back
//!
//! - **A marker that never completes.** SPDK #640 and #704 (X722, rxe), Ceph PR 25447, rdma-core PR
//!   1218: a drain posted one last work request and waited for it; the provider took it and forgot
//!   it. Others waited for a fixed time instead, then counted. Here counting is the rule
//!   ([`Method::Accounting`]), a marker goes only where its row flushes it
//!   ([`DrainCaps::marker_send`]), and one that was accepted moves no deadline:
//!   `a_marker_without_room_is_tried_again_and_one_that_was_answered_is_not`.
//! - **A refused marker taken for an empty queue.** The kernel's SRP target releases at once when
//!   its marker can't be posted. From user space cxgb4, erdma and mana refuse while completions are
//!   pending: [`Posted::Refused`] says nothing, and the flush goes on.
//! - **A queue pair that never leaves RTS.** SPDK #1840, #3300 (E810): the disconnect call returned
//!   0, nothing was flushed, the target could not be ended. Here our own [`Step::ModifyToError`]
//!   comes first, whoever closes; the wait has a bound of its own ([`DrainCaps::t_f`]) inside
//!   [`CLOSE_TIMEOUT`]; then the queue pair is destroyed with everything still out.
//!   `a_provider_that_never_flushes_is_destroyed_at_its_deadline`.
//! - **Unsignaled work that ends in silence.** What completed before the move to ERR never says so,
//!   and pure counting hangs. Here a later completion retires it where the queue keeps order
//!   ([`DrainCaps::sq_in_order`]), and elsewhere everything is signaled
//!   ([`DrainCaps::signal_all`]): `every_row_waits_no_longer_than_the_stated_bound`.
//! - **A READ lost in CLOSING.** siw forgets an outstanding READ when the disconnect call comes
//!   first. [`State::Closing`] is entered with an empty send queue only, and an abortive close on
//!   iWARP never disconnects: `an_abortive_close_disconnects_after_err_and_never_on_iwarp`.
//! - **A refused list that was posted after all.** siw's doorbell fails with every request left in
//!   the ring. [`Accepted::Unknown`] gives nothing back; the entries wait for a completion or for
//!   the destroy.
//! - **The flush raises no event.** bnxt_re makes flushed completions while it is polled.
//!   [`Drain::timeout`] asks for polls of its own ([`FLUSH_POLL_FIRST`]), events or not.
//!
//! # Completions that come too late, twice, or for nobody
//!
//! - **A completion of a destroyed queue pair.** SPDK #903, PR 3859: it was looked up by the queue
//!   pair's number, and asserted on or followed into freed memory. Here an id is kind, slot and
//!   generation ([`WrId`]), an unknown one has no effect but a count ([`InFlight::stale`]):
//!   `a_late_completion_of_an_earlier_use_of_the_slot_means_nothing`.
//! - **Counting on the provider to drop them.** UCX's order (ERR, LAST_WQE, destroy) needs a
//!   destroy that cleans the completion queue, which rxe and siw do not do; libfabric destroys
//!   first and reads the leftovers afterwards, which frees nothing it may touch on qedr. Each row
//!   says what becomes of them ([`AfterDestroy`]); where polling is fatal a connection has its
//!   completion queue for itself ([`DrainCaps::private_lane`]).
//! - **The opcode of a failed completion.** SPDK commit 50a438d3bc: it is undefined. [`Wc`] has no
//!   opcode; what a work request was stands in its id ([`IdKind`]).
//! - **A request completed twice, or on two lists.** SPDK #414, #2541, #3463: errors of the data's
//!   and the response's work request each completed the command; a split READ put it back twice. A
//!   [`Retired`] is made once, from the entry that is removed in the same step
//!   ([`InFlight::complete`]), and is moved from there: `a_completion_gives_the_memory_back_once`.
//! - **The first error ends the poll loop.** SPDK #3277: other connections of the queue starved. An
//!   error inside a batch is only noted ([`Connection::handle_completion`]); the close is decided
//!   behind the batch ([`Connection::settle`]). No verb is called for a completion, `ibv_query_qp`
//!   nowhere: the [`QueuePair`] trait does not have it.
//!   `a_close_in_the_middle_of_a_batch_retires_all_of_it`.
//! - **Woken by traffic only.** SPDK #3328: what waited for a work request was looked at again when
//!   some completion came, so that an idle connection hung. Nothing waits inside the transport: a
//!   post without room is refused at once ([`NoRoom`]), and a drain names its next moment
//!   ([`Drain::timeout`]).
//!
//! # Memory that is freed too early, or never
//!
//! - **A timer that frees what a queue still names.** SPDK #1086, commits 961cd6ab7e and
//!   85ff3fcea6: after four seconds undrained queue pairs were freed with their requests. Here a
//!   deadline frees nothing. It leads to the destroy, and only a destroy that succeeded makes the
//!   [`QpDestroyed`] that [`InFlight::reclaim`] asks for:
//!   `only_the_proof_of_its_own_queue_pair_opens_the_last_door`.
//! - **A destroy that failed, or was believed too much.** rxe's kernel half returns 0 after it gave
//!   up waiting for references; EIO during a removal comes before the hardware is stopped, and an
//!   environment variable turns it into success. [`DestroyFailure`] knows both,
//!   [`Step::Quarantine`] gives the memory up for ever, nobody calls destroy again:
//!   `a_failed_destroy_quarantines_and_never_reclaims`.
//! - **Destroyed twice, freed by two.** SPDK #851, #857, #858, #1889: a failed accept or create was
//!   cleaned up by callee and caller. [`QueuePair::destroy`] takes the queue pair,
//!   [`Connection::create`] hands the id back when it fails, and each step is taken once. The case
//!   `verb_after_the_destroy_began` does not compile.
//! - **Freed with disk I/O outstanding, or not closed because of it.** SPDK #851, #1507, #2937 and
//!   a hung disk that kept a connection open: the two waits are one from another. The queue pair
//!   goes; [`State::Reclaiming`] waits for the disk, whose operation owns its [`Buf`]:
//!   `a_hung_disk_keeps_the_slot_but_not_the_queue_pair`.
//! - **Deregistered under a flush.** The region lives in every [`Buf`] of it, so it goes when the
//!   last one came back: [`Pool`].
//! - **Receives that leak one by one.** SPDK #1507, #2937: every disconnect lost the receive that
//!   an unanswered command held, until the shared queue was empty. posted is the sum of what came
//!   back by each door and what is out ([`QueueCounts::in_flight`]), checked at each end and
//!   reported ([`DrainReport`]).
//! - **No memory for the close.** What a close needs is there from the start: [`Steps`] is an
//!   array, the receive marker's buffer is put aside by [`Connection::create_with`], jobs have
//!   their room.
//!
//! - **No room for the answer.** SPDK #3195: nobody looked at the send queue's depth before the
//!   response was posted. The table is as large as the queues and says [`NoRoom`] before a post; a
//!   completion queue's entries are claimed before a queue pair is made ([`Lane::claim`]), since
//!   one that overflows loses completions for ever.
//! - **Bytes of an earlier command.** A message shorter than its command was run on what the last
//!   one left. [`Door::Completed`] carries the bytes received, and the command is read from no more
//!   than those.
//!
//! # Shared receives
//!
//! - **Destroyed with completions unpolled.** SPDK #903: LAST_WQE_REACHED came, the queue pair
//!   went, a receive's completion was still queued. [`State::SrqWait`] polls behind the event and
//!   before the destroy: `shared_receives_are_polled_for_after_last_wqe_and_before_the_destroy`.
//! - **An event that does not come, or lies.** rxe and siw never send it, bnxt_re on any error:
//!   [`LastWqe`], `a_last_wqe_that_is_a_hint_needs_two_quiet_polls`,
//!   `a_last_wqe_that_never_comes_costs_its_deadline_or_a_grace_where_it_is_never_sent`.
//! - **Freed with the queue pair.** A shared receive is nobody's until it completes: a destroyed
//!   queue pair frees none ([`SharedInFlight`], [`SrqDestroyed`]). The case
//!   `shared_receives_need_their_own_proof` does not compile.
//! - **A slow disk holds all receives.** SPDK #2180: not even Connect came through. The daemon has
//!   no shared queue, and posts another buffer at once in place of the one a disk keeps
//!   ([`RecvBuf`]).
//!
//! # Events, threads and ids
//!
//! - **Acknowledged too late, or too early.** SPDK #3118, #3347, perftest PR 60: an event that was
//!   read and not acknowledged blocks the destroy on the same thread for ever; acknowledging first
//!   freed the connection under its reader. [`CmId::next_event`] and [`Device::next_async_event`]
//!   copy and acknowledge before they return; what comes out holds a [`Token`], no pointer.
//! - **Reading and destroying at once.** rdma-core PR 1182. Each connection has an event channel of
//!   its own, read by its reactor only while [`Connection::watches_cm`]; the id is destroyed later,
//!   by a reaper ([`Job::DestroyId`]).
//! - **A message with a pointer to a connection.** SPDK #1075, and again #3541. Threads exchange
//!   [`Token`]s; a reaper gets the queue pair itself, by move ([`Job::DestroyQp`]), so nobody can
//!   post during the destroy (Mooncake PR 1903).
//! - **Lists walked by a thread that does not own them.** SPDK #1086, #2765: a shutdown walked the
//!   connections of other threads. A [`Connection`] counts its generations in an `Rc`, so the
//!   compiler keeps it on the thread of its reactor; what must leave is a [`Job`]. The case
//!   `connection_stays_on_its_reactor` does not compile.
//! - **Waiting for the CM.** tgt holds a reference for TIMEWAIT_EXIT, which iWARP never sends.
//!   Others wait for DISCONNECTED. Here [`CmEvent::TimewaitExit`] is one more cause to close, and
//!   [`Input::Timeout`] alone reaches the destroy:
//!   `no_order_of_events_breaks_the_contract_or_hangs_a_close`.
//! - **An event in the wrong state.** libfabric #12362 (UNREACHABLE on an established id), SPDK
//!   #622 (TIMEWAIT_EXIT first): every event is legal in every state
//!   ([`Connection::handle_cm_event`]).
//! - **The disconnect call's result.** SPDK #1697, #1704: EINVAL stopped the teardown.
//!   [`Job::Disconnect`] has no [`Outcome`]: nothing can wait for it.
//! - **No disconnect at all.** SPDK #1096, #2467: the host noticed by its keep-alive. On InfiniBand
//!   and RoCE every close sends it, behind ERR.
//! - **An error event without a close.** The connection was marked and dropped its requests in
//!   silence. [`Cause::QueuePairError`] closes like any other.
//! - **Closed before it is gone.** SPDK #1096: the queue id was free while the old queue pair
//!   drained. [`Connection::is_finished`] comes behind the destroy and the disk.
//! - **A handler that waits for itself.** Linux commit 19c91acf3274: a target's fatal-error handler
//!   waited for the work queue it ran on. Here no handler waits: it notes a cause, and what can
//!   sleep is a [`Job`].
//! - **Closes that pile up.** Linux commit 2acf70ade79d: queues were released in the background
//!   while hosts came back at once, until memory ran out. A closing connection holds its place
//!   until [`Connection::is_finished`]: `connections_spread_and_are_bounded_until_they_are_gone`.
//! - **A destroy that blocks everybody.** siw 10 s, rxe 50 s, cxgb4 60 s: [`Reapers`] start another
//!   thread when none is idle:
//!   `a_stuck_destroy_takes_a_thread_and_not_the_turn_of_the_others`.
//! - **A wait without an end.** SPDK #3671, #2765 (recursion over callbacks at shutdown). Every
//!   state that waits has a deadline or a reaper or the disk ([`Awaited`]); [`Drain::handle`]
//!   returns [`Steps`] and calls nobody.
//!
//! # Devices that fail or leave
//!
//! - **Removal that waits for us.** SPDK #1184, #2786, #3010, #3139. [`Cause::DeviceRemoved`] is an
//!   ordinary close, as verbs still work; the daemon ends itself when the kernel still waits for a
//!   descriptor that librdmacm keeps: `tests/lab/scenarios/device_removed.sh`.
//! - **Waiting for flushes of a dead device.** [`Cause::DeviceFatal`] and
//!   [`Cause::CompletionQueueError`] skip the wait, not the destroy:
//!   `a_device_that_dies_in_srq_wait_is_not_waited_for`.
//! - **A queue pair that outlives its controller, or its listener.** SPDK #3885, #1520, #2948: what
//!   is needed of a listener is copied at the accept ([`ConnectRequest`]), and slots are looked up
//!   by generation.

#[cfg(doc)]
use crate::{
    caps::{AfterDestroy, DrainCaps, LastWqe},
    cause::Cause,
    connection::{Connection, NoRoom},
    device::{Accepted, CmEvent, CmId, ConnectRequest, Device, QueuePair, Token, Wc},
    drain::{Awaited, Drain, Input, State, Step, Steps},
    in_flight::{InFlight, QueueCounts},
    lane::Lane,
    limits::{CLOSE_TIMEOUT, FLUSH_POLL_FIRST},
    marker::{Method, Posted},
    pool::{Buf, Pool, RecvBuf},
    proof::{DestroyFailure, QpDestroyed, SrqDestroyed},
    reaper::{Job, Outcome, Reapers},
    report::DrainReport,
    shared_receives::SharedInFlight,
    wr::{Door, IdKind, Retired, WrId},
};
