//! One boot of one or two guests, in which scenarios run one after the other.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::disk::Disk;
use crate::guest::{Guest, Machine, Wire};
use crate::image::Image;
use crate::limits::{
    BOOT_TIMEOUT, BOOT_TRIES, CLEAN_UP_TIMEOUT, CONSOLE_TAIL_LINES, OTHER_GUEST_GRACE,
    POLL_INTERVAL, POWER_OFF_TIMEOUT,
};
use crate::needs;
use crate::scenario::{Role, Scenario};
use crate::setup::Setup;
use crate::share::{Report, Share};
use crate::volatile_disk::Loss;

/// How a scenario ended.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing was found wrong.
    Passed {
        /// Without the boot.
        took: Duration,
    },
    /// Something was.
    Failed {
        /// Why, in the words of the scenario or of the runner.
        reasons: Vec<String>,
        /// The last lines of each guest's console.
        consoles: Vec<(Role, Vec<String>)>,
        /// Everything that was kept.
        run: PathBuf,
    },
}

/// Where a guest stands in the current scenario.
#[derive(Debug)]
enum Stage {
    /// Until its agent says that it takes orders.
    Booting,
    /// Takes orders, has none.
    Idle,
    /// Has been ordered to run it.
    Running,
    Reported(Report),
    /// Killed on request.
    Gone,
}

#[derive(Debug)]
struct Place {
    guest: Guest,
    stage: Stage,
}

/// Guests that are on.
#[derive(Debug)]
pub struct Session {
    setup: Setup,
    image: Image,
    run: PathBuf,
    share: Share,
    places: Vec<Place>,
    disks: Vec<Disk>,
    reusable: bool,
}

impl Session {
    /// Switches the guests on; they boot while the caller goes on.
    ///
    /// # Errors
    /// When the image can't be made, a needed program can't be built or QEMU can't be started.
    pub fn start(setup: Setup, label: &str) -> Result<Self> {
        let image = Image::build(setup.series)?;
        let run = cache::new_run(label)?;
        let share = Share::create(run.join("share"))?;
        let programs =
            setup.needs.iter().map(|name| needs::program(name)).collect::<Result<Vec<_>>>()?;
        needs::install(&programs, &share.path().join("bin"), &share.path().join("lib"))?;
        let disks = setup
            .disks
            .iter()
            .enumerate()
            .map(|(index, spec)| Disk::create(&run, index, *spec))
            .collect::<Result<Vec<_>>>()?;
        let mut session =
            Self { setup, image, run, share, places: Vec::new(), disks, reusable: true };
        let wires = match session.setup.roles.len() {
            1 => vec![Wire::Alone],
            _ => Vec::from(Wire::pair()?),
        };
        for (role, wire) in session.setup.roles.clone().into_iter().zip(wires) {
            let machine = session.machine(role, wire);
            let guest = Guest::power_on(machine, &session.setup, &session.image)?;
            session.places.push(Place { guest, stage: Stage::Booting });
        }
        Ok(session)
    }

    fn machine(&self, role: Role, wire: Wire) -> Machine {
        let disks = match role {
            Role::Host => Vec::new(),
            Role::Target => {
                self.disks.iter().enumerate().flat_map(|(n, disk)| disk.arguments(n)).collect()
            }
        };
        let console = Some(self.run.join(format!("console.{role}.txt")));
        Machine { role, wire, disks, share: self.share.path().to_owned(), console }
    }

    /// Whether the guests are as they were after their boot.
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// What is kept of this session.
    pub fn run_folder(&self) -> &Path {
        &self.run
    }

    /// Runs one scenario in all guests. Takes at most the boot's time limit, the scenario's and
    /// the clean-up's together.
    pub fn run(&mut self, scenario: &Scenario) -> Outcome {
        let started = Instant::now();
        let reasons = match self.drive(scenario) {
            Ok(()) => self.judge(),
            Err(error) => {
                self.reusable = false;
                vec![format!("{error:#}")]
            }
        };
        for place in &mut self.places {
            if matches!(place.stage, Stage::Reported(_)) {
                place.stage = Stage::Idle;
            }
        }
        if reasons.is_empty() {
            return Outcome::Passed { took: started.elapsed() };
        }
        let consoles = self.places.iter().map(|place| console_tail(&place.guest)).collect();
        Outcome::Failed { reasons, consoles, run: self.run.clone() }
    }

    /// What the guests' reports say against the scenario.
    fn judge(&mut self) -> Vec<String> {
        let mut reasons = Vec::new();
        for place in &self.places {
            let role = place.guest.role();
            match &place.stage {
                Stage::Reported(report) => {
                    if report.dirty {
                        self.reusable = false;
                        reasons.push(format!("{role}: left something behind, see its console"));
                    }
                    if report.status != 0 {
                        reasons.extend(report.reasons.iter().map(|why| format!("{role}: {why}")));
                    }
                    if report.status != 0 && report.reasons.is_empty() {
                        reasons.push(format!("{role}: exit status {}", report.status));
                    }
                }
                Stage::Gone => self.reusable = false,
                Stage::Booting | Stage::Idle | Stage::Running => {
                    self.reusable = false;
                    reasons.push(format!("{role}: did not finish"));
                }
            }
        }
        reasons
    }

    /// Until every guest has reported, one has failed, or time is up.
    fn drive(&mut self, scenario: &Scenario) -> Result<()> {
        let file = format!("{}.sh", scenario.name);
        std::fs::copy(&scenario.path, self.share.path().join("scenarios").join(file))
            .context("the scenario's file")?;
        self.wait_for_boot()?;
        let order = format!("run {} {}", scenario.name, scenario.timeout.as_secs());
        for place in &mut self.places {
            self.share.order(place.guest.role(), &order)?;
            place.stage = Stage::Running;
        }
        // The agent enforces the scenario's limit; this one is for a guest that hangs.
        let mut deadline = Instant::now() + scenario.timeout + CLEAN_UP_TIMEOUT;
        let mut failed = false;
        loop {
            self.look_at_guests(scenario, &order)?;
            self.answer_requests()?;
            let waiting = self.places.iter().filter(|place| !is_over(&place.stage)).count();
            if waiting == 0 {
                return Ok(());
            }
            if !failed && self.places.iter().any(|place| has_failed(&place.stage)) {
                failed = true;
                deadline = deadline.min(Instant::now() + OTHER_GUEST_GRACE);
            }
            if Instant::now() > deadline {
                if failed {
                    return Ok(());
                }
                bail!(
                    "time limit: no answer {} s after its start",
                    (scenario.timeout + CLEAN_UP_TIMEOUT).as_secs()
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn wait_for_boot(&mut self) -> Result<()> {
        while self.places.iter().any(|place| matches!(place.stage, Stage::Booting)) {
            for place in &mut self.places {
                check_boot(place, &self.share, &self.setup, &self.image)?;
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn look_at_guests(&mut self, scenario: &Scenario, order: &str) -> Result<()> {
        for place in &mut self.places {
            let role = place.guest.role();
            match place.stage {
                Stage::Booting => {
                    check_boot(place, &self.share, &self.setup, &self.image)?;
                    if matches!(place.stage, Stage::Idle) {
                        self.share.order(role, order)?;
                        place.stage = Stage::Running;
                    }
                }
                Stage::Running => match self.share.report(&scenario.name, role) {
                    Some(report) => place.stage = Stage::Reported(report),
                    None => check_alive(place)?,
                },
                Stage::Idle | Stage::Reported(_) | Stage::Gone => {}
            }
        }
        Ok(())
    }

    fn answer_requests(&mut self) -> Result<()> {
        for ask in self.share.asks()? {
            let words: Vec<&str> = ask.words.iter().map(String::as_str).collect();
            let answer = match self.grant(&words) {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            self.share.answer(&ask, &answer)?;
        }
        Ok(())
    }

    fn grant(&mut self, words: &[&str]) -> Result<()> {
        let (verb, role) = match words {
            [verb, role, ..] => (*verb, role.parse::<Role>()?),
            _ => bail!("a request is a verb and a guest"),
        };
        let place = self
            .places
            .iter_mut()
            .find(|place| place.guest.role() == role)
            .with_context(|| format!("this scenario has no {role}"))?;
        match (verb, &words[2..]) {
            ("kill", []) => {
                place.guest.kill()?;
                place.stage = Stage::Gone;
            }
            ("pause", []) => place.guest.pause()?,
            ("resume", []) => place.guest.resume()?,
            ("power_cut", loss) => {
                let loss = match loss {
                    [] | ["lose-all"] => Loss::All,
                    ["lose-some", seed] => Loss::Some { seed: seed.parse().context("the seed")? },
                    other => bail!("{other:?}: lose-all or lose-some SEED"),
                };
                place.guest.kill()?;
                place.stage = Stage::Booting;
                if role == Role::Target {
                    self.disks.iter().try_for_each(|disk| disk.power_cut(loss))?;
                }
                place.guest.power_on_again(&self.setup, &self.image)?;
            }
            (verb, rest) => bail!("no request '{verb}' with {rest:?}"),
        }
        Ok(())
    }

    /// Powers the guests off. What is kept of the run is the consoles, logs and results.
    pub fn end(mut self, keep_disks: bool) -> Result<()> {
        for place in &mut self.places {
            if matches!(place.stage, Stage::Booting | Stage::Running | Stage::Gone) {
                place.guest.kill()?;
            } else {
                self.share.order(place.guest.role(), "poweroff")?;
            }
        }
        let deadline = Instant::now() + POWER_OFF_TIMEOUT;
        for place in &mut self.places {
            place.guest.wait_until(deadline)?;
        }
        self.share.slim()?;
        if !keep_disks {
            for index in 0..self.disks.len() {
                std::fs::remove_file(self.run.join(format!("scratch{index}.img")))?;
            }
        }
        Ok(())
    }
}

fn is_over(stage: &Stage) -> bool {
    matches!(stage, Stage::Reported(_) | Stage::Gone)
}

fn has_failed(stage: &Stage) -> bool {
    matches!(stage, Stage::Reported(report) if report.status != 0)
}

fn check_boot(place: &mut Place, share: &Share, setup: &Setup, image: &Image) -> Result<()> {
    if !matches!(place.stage, Stage::Booting) {
        return Ok(());
    }
    // QUIRK(QEMU 7.2): on some days every second boot with four CPUs, on others none dies of an
    // "int3" while the kernel patches itself: another CPU still runs what was there before.
    // Nothing of ours runs yet, so another boot hides nothing.
    if place.guest.ended()?.is_some()
        && let Some(words) = place.guest.panic()
        && place.guest.starts() < BOOT_TRIES
    {
        eprintln!("lab: {} died while it booted, and boots again: {words}", place.guest.role());
        return place.guest.boot_again(setup, image);
    }
    check_alive(place)?;
    if share.ready(place.guest.role()) == Some(place.guest.boots()) {
        place.stage = Stage::Idle;
    } else if place.guest.started().elapsed() > BOOT_TIMEOUT {
        bail!("{} took more than {} s to boot", place.guest.role(), BOOT_TIMEOUT.as_secs());
    }
    Ok(())
}

fn check_alive(place: &mut Place) -> Result<()> {
    let Some(status) = place.guest.ended()? else { return Ok(()) };
    let role = place.guest.role();
    match place.guest.panic() {
        Some(words) => bail!("{role} died: {words}"),
        None => bail!("{role} ended before the scenario did: QEMU's {status}"),
    }
}

fn console_tail(guest: &Guest) -> (Role, Vec<String>) {
    let mut lines = guest.console();
    let surplus = lines.len().saturating_sub(CONSOLE_TAIL_LINES);
    (guest.role(), lines.split_off(surplus))
}
