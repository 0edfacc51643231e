//! One guest: a QEMU process of ours, its console, and its power switch.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::process::{Pid, Signal, kill_process};

use crate::image::Image;
use crate::limits::{CONSOLE_TAIL_BYTES, POLL_INTERVAL, WIRE_BUFFER_BYTES};
use crate::scenario::Role;
use crate::setup::{Accel, Setup};
use crate::tsc;

/// How the guest's network card is connected.
#[derive(Debug)]
pub enum Wire {
    /// To nothing outside of the guest.
    Alone,
    /// To one other guest, by UDP on the loopback: frames are lost when the other one stops, and
    /// never push back, as on a real wire. QEMU inherits the socket.
    Pair(UdpSocket),
}

impl Wire {
    /// Both ends of a new link.
    ///
    /// # Errors
    /// When the loopback has no free port.
    pub fn pair() -> Result<[Self; 2]> {
        let ends = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
        ends[0].connect(ends[1].local_addr()?)?;
        ends[1].connect(ends[0].local_addr()?)?;
        for end in &ends {
            // The system's usual 208 KiB hold 90 frames: a single guest's burst of READ responses
            // has a thousand, and rxe recovers from loss in seconds. Only root may have more.
            if set_socket_recv_buffer_size_force(end, WIRE_BUFFER_BYTES).is_err() {
                set_socket_recv_buffer_size(end, WIRE_BUFFER_BYTES)?;
            }
            fcntl_setfd(end, FdFlags::empty())?;
        }
        Ok(ends.map(Self::Pair))
    }

    fn argument(&self) -> String {
        match self {
            Self::Alone => "user,id=wire,restrict=on".to_owned(),
            Self::Pair(socket) => {
                format!("dgram,id=wire,local.type=fd,local.str={}", socket.as_raw_fd())
            }
        }
    }
}

/// Everything a guest is started with; the same again after a power cut.
#[derive(Debug)]
pub struct Machine {
    /// What it is for.
    pub role: Role,
    /// Its network.
    pub wire: Wire,
    /// QEMU's arguments for its disks.
    pub disks: Vec<String>,
    /// The folder shared with it.
    pub share: PathBuf,
    /// Its console is written there; a shell has none, but the terminal.
    pub console: Option<PathBuf>,
}

impl Machine {
    /// QEMU's command line.
    ///
    /// # Errors
    /// When the time-stamp counter can't be measured.
    pub fn command(&self, setup: &Setup, image: &Image, boot: u32) -> Result<Command> {
        // QEMU goes when the thread that started it goes: no guest outlives its runner.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-machine", "q35", "-display", "none", "-nodefaults", "-no-reboot"]);
        command.args(["-m", &setup.memory_mib().to_string()]);
        command.args(["-smp", &setup.cpus.to_string()]);
        command.args(accel_arguments(setup.accel));
        command.arg("-kernel").arg(&image.kernel);
        command.arg("-initrd").arg(&image.initramfs);
        command.args(["-append", &self.kernel_arguments(setup, boot)?]);
        match &self.console {
            Some(file) => command
                .args(["-chardev", &format!("file,id=console,append=on,path={}", file.display())]),
            None => command.args(["-chardev", "stdio,id=console,signal=off"]),
        };
        command.args(["-serial", "chardev:console"]);
        let share = self.share.display();
        command.args(["-fsdev", &format!("local,id=lab,security_model=none,path={share}")]);
        command.args(["-device", "virtio-9p-pci,fsdev=lab,mount_tag=lab"]);
        command.args(["-device", "virtio-rng-pci"]);
        let mac_end = match self.role {
            Role::Target => 1,
            Role::Host => 2,
        };
        command.args(["-netdev", &self.wire.argument()]);
        command.args([
            "-device",
            &format!("virtio-net-pci,netdev=wire,romfile=,mac=52:54:00:00:00:0{mac_end}"),
        ]);
        command.args(&self.disks);
        Ok(command)
    }

    fn kernel_arguments(&self, setup: &Setup, boot: u32) -> Result<String> {
        // An oops is a failure at once: it panics, and a panic ends QEMU.
        let mut line = format!(
            "console=ttyS0 quiet loglevel=4 oops=panic panic=-1 mitigations=off nokaslr \
             no_timer_check lab.role={} lab.device={} lab.boot={boot}",
            self.role, setup.device
        );
        match setup.accel {
            // Under load the guest measures its counter up to six times wrong, and its timers run
            // ahead: an emulated counter ticks as the host's does, so it is told.
            Accel::Tcg => {
                let khz = tsc::khz()?;
                line += &format!(" tsc=reliable tsc_early_khz={khz} lpj={}", khz * 4);
            }
            Accel::Icount => line += " random.trust_cpu=off",
            Accel::Kvm => {}
        }
        if self.console.is_none() {
            line += " lab.shell";
        }
        Ok(line)
    }
}

fn accel_arguments(accel: Accel) -> &'static [&'static str] {
    match accel {
        // Five-level page tables (la57) only cost time. QUIRK(QEMU 7.2): two of about fifteen
        // guests died in or behind the slab allocator with a kernel pointer's bits in EFLAGS
        // (3d622202 beside RDI ..3d622200), which points at its cmpxchg16b (cx16); none of five
        // without.
        Accel::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max,la57=off,cx16=off"],
        Accel::Kvm => &["-accel", "kvm", "-cpu", "host"],
        Accel::Icount => &[
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=0,sleep=off",
            "-rtc",
            "base=2026-01-01T00:00:00,clock=vm",
            "-seed",
            "1",
            "-cpu",
            "max,la57=off,cx16=off,-rdrand,-rdseed",
        ],
    }
}

/// A running guest; killed when dropped.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    child: Child,
    boots: u32,
    /// Of this boot.
    starts: u32,
    started: Instant,
}

impl Guest {
    /// Switches it on.
    ///
    /// # Errors
    /// When QEMU can't be started.
    pub fn power_on(machine: Machine, setup: &Setup, image: &Image) -> Result<Self> {
        let child = spawn(&machine, setup, image, 1)?;
        Ok(Self { machine, child, boots: 1, starts: 1, started: Instant::now() })
    }

    /// Switches it on again after [`Guest::kill`].
    ///
    /// # Errors
    /// When QEMU can't be started.
    pub fn power_on_again(&mut self, setup: &Setup, image: &Image) -> Result<()> {
        self.child = spawn(&self.machine, setup, image, self.boots + 1)?;
        self.boots += 1;
        self.starts = 1;
        self.started = Instant::now();
        Ok(())
    }

    /// Switches it on again because it died before it took orders: the same boot once more.
    ///
    /// # Errors
    /// When QEMU can't be started.
    pub fn boot_again(&mut self, setup: &Setup, image: &Image) -> Result<()> {
        self.child = spawn(&self.machine, setup, image, self.boots)?;
        self.starts += 1;
        self.started = Instant::now();
        Ok(())
    }

    /// How often this boot was tried.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.machine.role
    }

    /// How often it was switched on.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// When it was switched on last.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// QEMU's exit status, once it has ended by itself.
    ///
    /// # Errors
    /// When the system doesn't know.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Gone at once, as by a power cut.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// It stands still: no CPU, no timer, no packet.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// It goes on where it stood still.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process has a pid")?, signal)?)
    }

    /// Waits for QEMU's end until `deadline`, then kills it.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<()> {
        while self.ended()?.is_none() {
            if Instant::now() > deadline {
                self.kill()?;
                bail!("{} did not power off", self.role());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// The end of its console as lines without carriage returns.
    pub fn console(&self) -> Vec<String> {
        self.machine.console.as_deref().map(console_lines).unwrap_or_default()
    }

    /// Why the kernel says it died, if it did: its last words are of the last boot.
    pub fn panic(&self) -> Option<String> {
        self.console().into_iter().rfind(|line| line.contains("Kernel panic"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_)))
            && let Err(error) = self.kill()
        {
            eprintln!("lab: QEMU {} may still run: {error}", self.child.id());
        }
    }
}

fn spawn(machine: &Machine, setup: &Setup, image: &Image, boot: u32) -> Result<Child> {
    let log = machine.console.as_deref().map(|console| console.with_extension("qemu.txt"));
    let mut command = machine.command(setup, image, boot)?;
    if let Some(log) = log {
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    }
    command.spawn().context("starting qemu-system-x86_64: run tests/lab/install")
}

fn console_lines(file: &Path) -> Vec<String> {
    let tail = || -> Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(CONSOLE_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tail().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(|line| line.replace('\r', "")).collect()
}
