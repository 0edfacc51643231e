//! Who gets memory for commands, and who waits for it.
//!
//! A lane has two stores: one for I/O, one that only Connect and admin commands use. First come,
//! first served among those that may have more. Who may is decided by what is free: of the store
//! for I/O a connection may hold as much as it leaves to others, so that one that lets its buffers
//! lie keeps half at most, two keep two thirds, and a newcomer always finds some. Of the reserve
//! it may hold one buffer at a time.

use std::collections::VecDeque;

use block::Engine;
use transport::device::Stack;
use transport::pool::{Account, Buf, Pool};

use crate::disk_buf::DiskBuf;
use crate::reactor::Reactor;
use crate::reactor::command::{Command, Stage};

/// A connection with commands that wait for memory.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    conn: usize,
    generation: u32,
}

/// Registered memory and the connections that wait for it.
pub(crate) struct Store {
    pub(crate) pool: Pool,
    waiting: VecDeque<Waiter>,
}

impl Store {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, waiting: VecDeque::new() }
    }

    /// Makes room for `connections` that wait: a command that does allocates nothing.
    pub(crate) fn prepare(&mut self, connections: usize) {
        self.waiting.reserve(connections.saturating_sub(self.waiting.len()));
    }

    /// A buffer of `len` bytes, if this connection may have one more and there is one.
    fn take(&self, len: usize, share: &Share) -> Taken {
        let held = share.account.bytes();
        let free = self.pool.total_bytes() - self.pool.used_bytes();
        let most = match share.bound {
            Bound::OneBuffer => 0,
            Bound::AsMuchAsIsFree => free,
        };
        if held > 0 && held + len > most {
            return Taken::TooMuch;
        }
        self.pool.take_for(len, &share.account).map_or(Taken::NoRoom, Taken::Buf)
    }
}

enum Taken {
    Buf(Buf),
    /// The connection holds as much as it may.
    TooMuch,
    /// There is none.
    NoRoom,
}

/// How much of a store one connection may hold. One buffer is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    OneBuffer,
    AsMuchAsIsFree,
}

/// What a connection holds of a store, and which of its commands wait there.
pub(crate) struct Share {
    bound: Bound,
    account: Account,
    waiting: VecDeque<usize>,
    /// It is among the store's waiting connections.
    queued: bool,
}

impl Share {
    fn new(bound: Bound, depth: usize) -> Self {
        let waiting = VecDeque::with_capacity(depth);
        Self { bound, account: Account::default(), waiting, queued: false }
    }

    /// Of the store for I/O, for a queue of `depth` commands.
    pub(crate) fn of_data(depth: usize) -> Self {
        Self::new(Bound::AsMuchAsIsFree, depth)
    }

    /// Of the reserve, for a queue of `depth` commands.
    pub(crate) fn of_reserve(depth: usize) -> Self {
        Self::new(Bound::OneBuffer, depth)
    }
}

impl<S: Stack, E: Engine<DiskBuf>> Reactor<S, E> {
    /// Begins a command that needs a buffer.
    pub(crate) fn begin(&mut self, c: usize, command: Command) {
        let conn = &mut self.conns[c];
        let (reserved, len) = (conn.is_reserved(), command.len);
        let generation = conn.generation;
        let i = conn.commands.insert(command);
        let lane = &mut self.lanes[conn.lane];
        let (store, share) = if reserved {
            (&mut lane.reserve, &mut conn.reserve)
        } else {
            (&mut lane.data, &mut conn.data)
        };
        // Behind those that wait already: a small one never overtakes a large one for ever.
        if store.waiting.is_empty()
            && let Taken::Buf(buf) = store.take(len, share)
        {
            return self.got_buffer(c, i, buf);
        }
        conn.commands[i].stage = Stage::Buffer;
        share.waiting.push_back(i);
        if !share.queued {
            share.queued = true;
            store.waiting.push_back(Waiter { conn: c, generation });
        }
        // Those in front may only be waiting for their own: the end of the tick looks.
        self.touch(c);
    }

    /// Serves those that wait for memory.
    pub(crate) fn serve_waiting(&mut self) {
        for index in 0..self.lanes.capacity() {
            for reserved in [true, false] {
                while let Some((c, i, buf)) = self.next_waiting(index, reserved) {
                    self.got_buffer(c, i, buf);
                    self.touch(c);
                }
            }
        }
    }

    /// The next command that gets its buffer. Connections take turns; one that holds as much as it
    /// may is passed over.
    fn next_waiting(&mut self, index: usize, reserved: bool) -> Option<(usize, usize, Buf)> {
        let lane = self.lanes.get_mut(index)?;
        let store = if reserved { &mut lane.reserve } else { &mut lane.data };
        for _ in 0..store.waiting.len() {
            let waiter = store.waiting.pop_front()?;
            let Waiter { conn: c, generation } = waiter;
            let Some(conn) = self.conns.get_mut(c).filter(|x| x.generation == generation) else {
                continue;
            };
            let share = if reserved { &mut conn.reserve } else { &mut conn.data };
            // Those of a connection that ends are gone.
            let waits = |i: &usize| conn.commands.get(*i).filter(|x| x.stage == Stage::Buffer);
            while share.waiting.front().is_some_and(|i| waits(i).is_none()) {
                share.waiting.pop_front();
            }
            let Some((i, command)) = share.waiting.front().and_then(|i| Some((*i, waits(i)?)))
            else {
                share.queued = false;
                continue;
            };
            match store.take(command.len, share) {
                Taken::TooMuch => store.waiting.push_back(waiter),
                Taken::NoRoom => {
                    store.waiting.push_front(waiter);
                    return None;
                }
                Taken::Buf(buf) => {
                    share.waiting.pop_front();
                    share.queued = !share.waiting.is_empty();
                    if share.queued {
                        store.waiting.push_back(waiter);
                    }
                    return Some((c, i, buf));
                }
            }
        }
        None
    }
}
