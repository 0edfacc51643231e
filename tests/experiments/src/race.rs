//! One thread posts as fast as it can, another moves the queue pair to the error state.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use transport::device::{QueuePair, RecvDesc, SendDesc, SendOp};
use verbs::{Qp, probe};

use crate::case::{Case, Kernel, Lab, Outstanding, Provider};

/// Connections of the case.
const RUNS: usize = 10;
/// Posts of one connection at most.
const POSTS_MAX: usize = 20_000;
/// Sends without completion, beyond which the poster waits.
const SENDS_AHEAD_MAX: usize = 12;
/// Receives of one connection: nobody sends, so they stay until the move.
const RECVS_MAX: usize = 48;
/// From here on are the race's requests.
const FIRST: u64 = 0x10_0000;
/// Marks the id of a receive.
const RECV: u64 = 1 << 32;

/// A post, when it was made and what became of it.
struct Post {
    recv: bool,
    began: Instant,
    ended: Instant,
    taken: bool,
}

/// Requests that were taken, lost and completed twice.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    taken: usize,
    lost: usize,
    twice: usize,
}

/// Posts by when they were made, SENDs before receives.
#[derive(Default)]
struct Outcome {
    before: [Count; 2],
    overlapping: [Count; 2],
    after: [Count; 2],
}

/// The race, some hundred requests a connection.
pub(crate) fn race(lab: &mut Lab) -> Result<()> {
    let mut sum = Outcome::default();
    for run in 0..RUNS {
        let mut case = lab.begin("race with ERR", Outstanding::Receives)?;
        run_once(&mut case, Duration::from_micros(5000 + 3300 * u64::try_from(run)?), &mut sum)?;
        case.end.destroy()?;
    }
    let [before_sends, before_recvs] = sum.before;
    let before = before_sends.taken + before_recvs.taken;
    lab.table.row("posts before the move", "more than 100", before, before > 100);
    let lost = before_sends.lost + before_recvs.lost;
    lab.table.same("... lost", 0, lost);
    let all = sum.before.iter().chain(&sum.overlapping).chain(&sum.after);
    lab.table.same("completed twice", 0, all.map(|count| count.twice).sum());
    let seen = format!("{:?}", sum.overlapping);
    lab.table.row("posts during the move", "may be lost", seen, true);
    let [sends, recvs] = sum.after;
    let (send_rule, sends_ok, recv_rule, recvs_ok) = match (lab.provider, lab.kernel) {
        (Provider::Rxe, Kernel::V6_1) => {
            ("none lost", sends.lost == 0, "all lost", recvs.lost == recvs.taken)
        }
        (Provider::Rxe, Kernel::V6_12) => ("none lost", sends.lost == 0, "may be lost", true),
        (Provider::Siw, _) => {
            ("all lost", sends.lost == sends.taken, "all lost", recvs.lost == recvs.taken)
        }
    };
    lab.table.row("SENDs after the move", send_rule, format!("{sends:?}"), sends_ok);
    lab.table.row("receives after the move", recv_rule, format!("{recvs:?}"), recvs_ok);
    Ok(())
}

fn run_once(case: &mut Case, move_after: Duration, sum: &mut Outcome) -> Result<()> {
    let end = &mut case.end;
    let write = end.send_desc(0, SendOp::Write(end.remote), 64, true);
    let read = end.send_desc(0, SendOp::Read(end.remote), 4096, true);
    let recv = end.recv_desc(0);
    let mut qp = end.qp.take().expect("a case begins with its queue pair");
    // SAFETY: the mover is gone at the end of the scope, the queue pair is destroyed after it.
    let mover = unsafe { probe::mover(&qp) };
    let (stop, completed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut done = vec![0_u8; POSTS_MAX];
    let (posts, moved) = thread::scope(|scope| -> Result<_> {
        let poster = scope.spawn(|| post_all(&mut qp, [write, read], recv, &stop, &completed));
        let began = Instant::now();
        let mut moved: Option<(Instant, Instant)> = None;
        let mut result = Ok(());
        loop {
            while let Ok(Some(wc)) = probe::poll_raw(&mut end.cq) {
                count(&mut done, &completed, wc.wr_id);
            }
            match moved {
                None if began.elapsed() > move_after => {
                    let from = Instant::now();
                    result = mover.modify_to_error();
                    moved = Some((from, Instant::now()));
                }
                Some((_, to)) if to.elapsed() > Duration::from_millis(8) => break,
                None | Some(_) => {}
            }
        }
        stop.store(true, Ordering::Relaxed);
        let posts = poster.join().map_err(|_| anyhow::anyhow!("the poster panicked"))?;
        result?;
        Ok((posts, moved))
    })?;
    let settled = Instant::now() + Duration::from_millis(300);
    while Instant::now() < settled {
        while let Some(wc) = probe::poll_raw(&mut end.cq)? {
            count(&mut done, &completed, wc.wr_id);
        }
        thread::sleep(Duration::from_millis(1));
    }
    end.qp = Some(qp);
    let (from, to) = moved.expect("the loop ends after the move");
    for (post, &times) in posts.iter().zip(&done).filter(|(post, _)| post.taken) {
        let class = if post.ended < from {
            &mut sum.before
        } else if post.began > to {
            &mut sum.after
        } else {
            &mut sum.overlapping
        };
        let count = &mut class[usize::from(post.recv)];
        count.taken += 1;
        count.lost += usize::from(times == 0);
        count.twice += usize::from(times > 1);
    }
    Ok(())
}

fn count(done: &mut [u8], completed_sends: &AtomicUsize, wr_id: u64) {
    let slot = (wr_id & !RECV).checked_sub(FIRST).and_then(|at| usize::try_from(at).ok());
    if let Some(times) = slot.and_then(|at| done.get_mut(at)) {
        *times = times.saturating_add(1);
        completed_sends.fetch_add(usize::from(wr_id & RECV == 0), Ordering::Relaxed);
    }
}

/// Posts WRITEs, a READ in eight and a receive in four until told to stop.
fn post_all(
    qp: &mut Qp,
    sends: [SendDesc; 2],
    recv: RecvDesc,
    stop: &AtomicBool,
    completed_sends: &AtomicUsize,
) -> Vec<Post> {
    let mut posts = Vec::with_capacity(POSTS_MAX);
    let (mut recvs, mut taken_sends) = (0, 0_usize);
    while !stop.load(Ordering::Relaxed) && posts.len() < POSTS_MAX {
        let is_recv = posts.len() % 4 == 3 && recvs < RECVS_MAX;
        let ahead = taken_sends.saturating_sub(completed_sends.load(Ordering::Relaxed));
        if !is_recv && ahead > SENDS_AHEAD_MAX {
            thread::yield_now();
            continue;
        }
        let wr_id = FIRST + posts.len() as u64;
        let began = Instant::now();
        let taken = if is_recv {
            recvs += 1;
            let desc = RecvDesc { wr_id: wr_id | RECV, ..recv };
            // SAFETY: the entries' memory is never freed and its content matters to nobody.
            unsafe { qp.post_recv(&[desc]) }.is_ok()
        } else {
            let desc = SendDesc { wr_id, ..sends[usize::from(wr_id % 8 == 5)] };
            // SAFETY: as above.
            unsafe { qp.post_send(&[desc]) }.is_ok()
        };
        taken_sends += usize::from(taken && !is_recv);
        posts.push(Post { recv: is_recv, began, ended: Instant::now(), taken });
    }
    posts
}
