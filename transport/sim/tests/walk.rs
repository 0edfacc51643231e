//! Seeded walks: one seed, one run; and every run can be played again from its choices.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod bed;

use bed::pass;
use sim::oracle::{Dice, Recording};
use sim::peer::ConnectParams;
use sim::{Behaviour, Fabric, Oracle, Plan, Script, Seeded, rows};
use transport::device::{
    AcceptParams, CmId, CompletionQueue, Device, ListenEvent, QpCaps, QueuePair, RecvDesc, Sge,
    Stack, Token, Wc,
};

/// A target that accepts, posts receives, polls and destroys; a peer that sends and leaves.
/// Whatever fails is given up.
fn walk(row: &'static Behaviour, oracle: Box<dyn Oracle>, memory: &mut [u8]) -> Vec<String> {
    let fabric = Fabric::new(oracle);
    fabric.record(true);
    play(&fabric, row, memory);
    fabric.trace()
}

fn play(fabric: &Fabric, row: &'static Behaviour, memory: &mut [u8]) -> Option<()> {
    let node = fabric.add_node("target");
    let address = bed::TARGET.parse().ok()?;
    fabric.add_device(node, row, std::net::SocketAddr::ip(&address));
    let stack = fabric.stack(node);
    let listener = stack.listen(address, 16, 0).ok()?;
    let host = fabric.add_host("10.0.0.2".parse().ok()?);
    let peer = host.connect(address, ConnectParams::default());
    pass(fabric, 20_000);
    let ListenEvent::Request(request) = stack.next_event().ok()?? else { return None };
    let id = request.id;
    let device = id.device().ok()?;
    let pd = device.alloc_pd().ok()?;
    let start = std::ptr::NonNull::new(memory.as_mut_ptr())?;
    // SAFETY: the caller's slice outlives the region, which is dropped at this function's end.
    let mr = unsafe { device.reg_mr(&pd, start, memory.len(), false) }.ok()?;
    let mut cq = device.create_cq(64).ok()?;
    let caps = QpCaps { send_wr_max: 4, recv_wr_max: 8, recv_sge_max: 1 };
    let mut qp = device.create_qp(&id, &pd, &cq, caps, Token(7)).ok()?;
    let none = Sge { addr: 0, len: 0, lkey: 0 };
    let lkey = sim::SimDevice::lkey(&mr);
    for wr_id in 0..8 {
        let addr = start.as_ptr().expose_provenance() as u64 + wr_id * 64;
        let list = [RecvDesc { wr_id, sges: [Sge { addr, len: 64, lkey }, none] }];
        // SAFETY: the region is mapped and nobody looks at it before the destroy.
        let _ = unsafe { qp.post_recv(&list) };
    }
    let params = AcceptParams {
        private_data: &[],
        responder_resources: 0,
        initiator_depth: 1,
        rnr_retry_count: 7,
    };
    let _ = id.accept(&params);
    let mut out = [Wc::EMPTY; 16];
    for turn in 0..5 {
        peer.post_send(&[turn; 32], u64::from(turn));
        pass(fabric, 300);
        let _ = cq.poll(&mut out);
        while let Ok(Some(_)) = id.next_event() {}
    }
    peer.disconnect();
    let _ = qp.modify_to_error();
    pass(fabric, 10_000);
    let _ = cq.poll(&mut out);
    if qp.destroy(&id).is_err() {
        // What a failed destroy may still touch stays registered.
        std::mem::forget(mr);
        std::mem::forget(id);
    }
    drop(listener);
    Some(())
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let mut memory = vec![0; 4096];
    let mut traces = std::collections::BTreeSet::new();
    for seed in 0..40 {
        for row in rows::ALL {
            let one = walk(row, Box::new(Seeded::new(seed)), &mut memory);
            let two = walk(row, Box::new(Seeded::new(seed)), &mut memory);
            assert_eq!(one, two, "seed {seed} on {}", row.name);
            traces.insert(one);
        }
    }
    assert!(traces.len() > 200, "only {} different runs: the seed decides nothing", traces.len());
}

#[test]
fn a_recorded_run_plays_again_from_its_choices() {
    let mut memory = vec![0; 4096];
    for seed in 0..20 {
        let record = Script::default();
        let recording = Recording::new(Seeded::new(seed), record.clone());
        let one = walk(&rows::UNKNOWN, Box::new(recording), &mut memory);
        let choices = record.answers().iter().map(|answer| answer.taken).collect();
        let two = walk(&rows::UNKNOWN, Box::new(Script::new(choices)), &mut memory);
        assert_eq!(one, two, "seed {seed}");
    }
}

#[test]
fn plans_differ_and_leave_most_kinds_of_faults_out() {
    let plans: Vec<Plan> = (0..200).map(|seed| Plan::drawn(&mut Dice::new(seed))).collect();
    let kinds: usize = plans.iter().map(|p| p.faults.iter().filter(|f| **f > 0).count()).sum();
    assert!((200..1000).contains(&kinds), "{kinds} kinds of faults in 200 plans");
    assert!(plans.iter().any(|plan| plan.mischief == 0) && plans.iter().any(|p| p.never > 0));
}
