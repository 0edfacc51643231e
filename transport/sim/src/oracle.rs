//! Who decides: everything that may go one way or another is asked here, and nowhere else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A call of the target that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Call {
    /// `rdma_listen` and what goes before it.
    Listen,
    /// Asking an id for its device.
    Device,
    /// `rdma_accept`.
    Accept,
    /// `rdma_reject`.
    Reject,
    /// `rdma_disconnect`.
    Disconnect,
    /// `ibv_alloc_pd`.
    AllocPd,
    /// `ibv_reg_mr`.
    RegMr,
    /// `ibv_create_cq`.
    CreateCq,
    /// `rdma_create_qp`.
    CreateQp,
    /// `ibv_post_send`.
    PostSend,
    /// `ibv_post_recv`.
    PostRecv,
    /// `ibv_modify_qp`.
    Modify,
    /// `ibv_destroy_qp`.
    Destroy,
    /// `ibv_req_notify_cq`.
    Arm,
    /// `ibv_poll_cq`: the completion queue is of no more use.
    Poll,
}

impl Call {
    /// Every call, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Listen,
        Self::Device,
        Self::Accept,
        Self::Reject,
        Self::Disconnect,
        Self::AllocPd,
        Self::RegMr,
        Self::CreateCq,
        Self::CreateQp,
        Self::PostSend,
        Self::PostRecv,
        Self::Modify,
        Self::Destroy,
        Self::Arm,
        Self::Poll,
    ];

    /// Its name in the C interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "rdma_listen",
            Self::Device => "rdma_get_device",
            Self::Accept => "rdma_accept",
            Self::Reject => "rdma_reject",
            Self::Disconnect => "rdma_disconnect",
            Self::AllocPd => "ibv_alloc_pd",
            Self::RegMr => "ibv_reg_mr",
            Self::CreateCq => "ibv_create_cq",
            Self::CreateQp => "rdma_create_qp",
            Self::PostSend => "ibv_post_send",
            Self::PostRecv => "ibv_post_recv",
            Self::Modify => "ibv_modify_qp",
            Self::Destroy => "ibv_destroy_qp",
            Self::Arm => "ibv_req_notify_cq",
            Self::Poll => "ibv_poll_cq",
        }
    }
}

/// Something that takes time, or never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Delay {
    /// A connection request's way.
    Request,
    /// A message's way, or an RDMA operation's.
    Wire,
    /// From execution to completion.
    Completion,
    /// A flushed completion.
    Flush,
    /// An event of a connection's id. May never come.
    CmEvent,
    /// An asynchronous event. May never come.
    AsyncEvent,
    /// An event of a completion channel. Comes late at worst.
    CompEvent,
    /// What reaches the peer of our accept, reject or disconnect.
    Peer,
    /// A reaper's `ibv_destroy_qp`.
    DestroyQp,
    /// A reaper's `rdma_destroy_id` or `rdma_disconnect`.
    DestroyId,
}

impl Delay {
    /// Number of kinds.
    pub const COUNT: usize = 10;

    /// It may be held back for ever.
    #[must_use]
    pub fn may_be_never(self) -> bool {
        match self {
            Self::CmEvent | Self::AsyncEvent => true,
            Self::Request
            | Self::Wire
            | Self::Completion
            | Self::Flush
            | Self::CompEvent
            | Self::Peer
            | Self::DestroyQp
            | Self::DestroyId => false,
        }
    }
}

/// The lengths that a delay can have; one more option means never.
pub const DELAYS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_micros(20),
    Duration::from_micros(300),
    Duration::from_millis(4),
    Duration::from_millis(60),
    Duration::from_millis(900),
    Duration::from_secs(6),
];

/// What is asked. The first option is always the ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Which of the enabled happenings goes next.
    Next,
    /// How long it takes: an index into [`DELAYS`], and one past it for never.
    Delay(Delay),
    /// Whether a call goes well (0) or fails (1).
    Fault(Call),
    /// How an axis of a provider's row turns out, where it leaves a choice.
    Axis(&'static str),
    /// Whether the adversary does something of its own (1) or not (0), by its name.
    Mischief(&'static str),
}

/// Decides.
pub trait Oracle: Send {
    /// One of `options` (at least 1): a number below it.
    fn choose(&mut self, question: Question, options: usize) -> usize;
}

/// A small generator whose whole state is one number (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `sides` (at least 1).
    pub fn below(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.bits() % sides).unwrap_or(0)
    }

    /// True in `permille` of 1000 cases.
    pub fn permille(&mut self, permille: u16) -> bool {
        self.below(1000) < usize::from(permille)
    }
}

/// How hostile a walk is. Drawn from the seed (swarm): a random subset of faults, each with a
/// random rate, so that some runs see only one kind and others many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of 1000 calls of each kind, how many fail.
    pub faults: [u16; Call::ALL.len()],
    /// Of 1000 delays of each kind, how many are drawn from all lengths instead of the two
    /// shortest.
    pub slow: [u16; Delay::COUNT],
    /// Of 1000 delays that may be never, how many are.
    pub never: u16,
    /// Of 1000 chances, how many the adversary takes: events twice, spurious events, stale
    /// completions.
    pub mischief: u16,
}

impl Plan {
    /// Nothing fails, nothing is slow.
    pub const CALM: Self =
        Self { faults: [0; Call::ALL.len()], slow: [0; Delay::COUNT], never: 0, mischief: 0 };

    /// A random subset of faults, each with a random rate.
    #[must_use]
    pub fn drawn(dice: &mut Dice) -> Self {
        let mut plan = Self::CALM;
        let rate = |dice: &mut Dice, share: usize, most: usize| {
            let drawn = if dice.below(share) == 0 { 1 + dice.below(most) } else { 0 };
            u16::try_from(drawn).unwrap_or(0)
        };
        for fault in &mut plan.faults {
            *fault = rate(dice, 6, 20);
        }
        for slow in &mut plan.slow {
            *slow = rate(dice, 3, 200);
        }
        plan.never = rate(dice, 4, 200);
        plan.mischief = rate(dice, 2, 30);
        plan
    }
}

/// A seeded walk.
#[derive(Clone, Debug)]
pub struct Seeded {
    dice: Dice,
    plan: Plan,
}

impl Seeded {
    /// A walk whose plan is drawn from the seed too.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::drawn(&mut dice);
        Self { dice, plan }
    }

    /// A walk with a plan of the caller's.
    #[must_use]
    pub fn with_plan(seed: u64, plan: Plan) -> Self {
        Self { dice: Dice::new(seed), plan }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn delay(&mut self, delay: Delay, options: usize) -> usize {
        let never = DELAYS.len();
        if options > never && self.dice.permille(self.plan.never) {
            return never;
        }
        let slow = self.dice.permille(self.plan.slow[delay as usize]);
        self.dice.below(if slow { never } else { 3 })
    }
}

impl Oracle for Seeded {
    fn choose(&mut self, question: Question, options: usize) -> usize {
        if options <= 1 {
            return 0;
        }
        match question {
            Question::Next | Question::Axis(_) => self.dice.below(options),
            Question::Delay(delay) => self.delay(delay, options).min(options - 1),
            Question::Fault(call) => {
                usize::from(self.dice.permille(self.plan.faults[call as usize]))
            }
            Question::Mischief(_) => {
                if self.dice.permille(self.plan.mischief) {
                    1 + self.dice.below(options - 1)
                } else {
                    0
                }
            }
        }
    }
}

/// One answered question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// How many options there were.
    pub options: usize,
    /// Which one was taken.
    pub taken: usize,
}

#[derive(Debug, Default)]
struct Tape {
    choices: Vec<usize>,
    answers: Vec<Answer>,
}

/// A list of choices, played back; when it is used up the first option is taken. What was asked
/// is recorded, so any run can be played again: clones share the record.
#[derive(Clone, Debug, Default)]
pub struct Script {
    tape: Arc<Mutex<Tape>>,
}

impl Script {
    /// Plays these choices.
    #[must_use]
    pub fn new(choices: Vec<usize>) -> Self {
        Self { tape: Arc::new(Mutex::new(Tape { choices, answers: Vec::new() })) }
    }

    fn lock(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked and answered so far, questions with one option left out.
    #[must_use]
    pub fn answers(&self) -> Vec<Answer> {
        self.lock().answers.clone()
    }
}

impl Oracle for Script {
    fn choose(&mut self, question: Question, options: usize) -> usize {
        if options <= 1 {
            return 0;
        }
        let mut tape = self.lock();
        let taken = tape.choices.get(tape.answers.len()).copied().unwrap_or(0).min(options - 1);
        tape.answers.push(Answer { question, options, taken });
        taken
    }
}

/// Decides as `inner` does and records it, so that a seeded run can be played as a [`Script`].
pub struct Recording<O> {
    inner: O,
    record: Script,
}

impl<O: Oracle> Recording<O> {
    /// Records what `inner` decides into `record`.
    pub fn new(inner: O, record: Script) -> Self {
        Self { inner, record }
    }
}

impl<O: Oracle> Oracle for Recording<O> {
    fn choose(&mut self, question: Question, options: usize) -> usize {
        if options <= 1 {
            return 0;
        }
        let taken = self.inner.choose(question, options).min(options - 1);
        self.record.lock().answers.push(Answer { question, options, taken });
        taken
    }
}
