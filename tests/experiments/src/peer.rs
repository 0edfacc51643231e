//! The other end: a process of its own, which can be stopped and killed.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, process};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use transport::device::{
    AcceptParams, CmEvent, CmId, ConnectRequest, ListenEvent, QueuePair, Stack,
};
use verbs::Verbs;

use crate::end::{CM_TIMEOUT, End, SUCCESS, wait_readable};
use crate::memory::{LOCAL_AT, READABLE_BYTES, REMOTE_AT};

/// What the peer does on request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// `rdma_disconnect`.
    Disconnect,
    /// Its own queue pair to the error state, no CM.
    Error,
    /// WRITEs to our memory, one after the other, until one fails.
    Write,
}

/// The peer process.
pub(crate) struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it; it listens when this returns. It posts two receives, and no more.
    pub(crate) fn start(addr: SocketAddr) -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args(["peer", &addr.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("a piped stdin")?;
        let answers = BufReader::new(child.stdout.take().context("a piped stdout")?);
        let mut peer = Self { child, orders, answers };
        peer.await_line("listening")?;
        Ok(peer)
    }

    /// Waits for a line of the peer's.
    pub(crate) fn await_line(&mut self, wanted: &str) -> Result<()> {
        ensure!(
            !self.answers.buffer().is_empty()
                || wait_readable(self.answers.get_ref().as_fd(), CM_TIMEOUT)?,
            "the peer does not say '{wanted}'"
        );
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.trim() == wanted, "the peer says '{}', not '{wanted}'", line.trim());
        Ok(())
    }

    /// Gives an order; it is carried out when this returns.
    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        writeln!(self.orders, "{order:?}")?;
        self.orders.flush()?;
        self.await_line("done")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        Ok(kill_process(pid, signal)?)
    }

    /// SIGSTOP.
    pub(crate) fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Killed already or not: it is ours until `wait` has taken it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peer process itself: never returns to its caller's work.
pub(crate) fn run(addr: SocketAddr) -> Result<()> {
    let stack = Verbs::open()?;
    let listener = stack.listen(addr, 4, 0)?;
    say("listening")?;
    let request = next_request(&stack)?;
    let private_data = request.private_data;
    let mut end = End::new(request.id, false)?;
    end.learn(&private_data)?;
    end.memory.fill(REMOTE_AT, READABLE_BYTES);
    end.recv(0x9000)?;
    end.recv(0x9001)?;
    end.id.accept(&AcceptParams {
        private_data: &end.hello(),
        responder_resources: request.responder_resources,
        initiator_depth: request.initiator_depth,
        rnr_retry_count: 7,
    })?;
    ensure!(end.until(CM_TIMEOUT, |end| end.cm.contains(&CmEvent::Established))?, "no connection");
    drop(listener);
    say("connected")?;
    serve(&mut end)?;
    // The kernel takes everything down, as for any process that ends.
    process::exit(0);
}

fn serve(end: &mut End) -> Result<()> {
    let stdin = io::stdin();
    let mut writing = false;
    let mut answered = false;
    loop {
        end.look()?;
        if end.disconnected() && !answered {
            // A peer that answers a disconnect; it fails when we asked for it ourselves.
            let _ = end.id.disconnect();
            answered = true;
        }
        if writing {
            writing = write_once(end)?;
        }
        let patience = Duration::from_millis(if writing { 0 } else { 2 });
        if !wait_readable(stdin.as_fd(), patience)? {
            continue;
        }
        let mut line = String::new();
        if stdin.lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim() {
            "Disconnect" => {
                end.id.disconnect()?;
                answered = true;
            }
            "Error" => end.qp().modify_to_error()?,
            "Write" => writing = true,
            other => bail!("no order '{other}'"),
        }
        say("done")?;
    }
}

/// One WRITE of a count, waited for; says whether to go on.
fn write_once(end: &mut End) -> Result<bool> {
    let count = end.memory.read_word(LOCAL_AT) + 1;
    end.memory.write_word(LOCAL_AT, count);
    end.done.clear();
    if end.write(0x9500, 8, true).is_err() {
        return Ok(false);
    }
    let completed = end.until(Duration::from_millis(500), |end| end.status(0x9500).is_some())?;
    Ok(completed && end.status(0x9500) == Some(SUCCESS))
}

fn next_request(stack: &Verbs) -> Result<ConnectRequest<Verbs>> {
    let deadline = Instant::now() + CM_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(ListenEvent::Request(request)) = stack.next_event()? {
            return Ok(request);
        }
        wait_readable(stack.event_fd(), Duration::from_millis(100))?;
    }
    bail!("no connection request")
}

#[allow(clippy::print_stdout, reason = "the pipe to the process that experiments")]
fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(io::stdout().flush()?)
}
