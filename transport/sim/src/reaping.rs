//! A reaper's job in virtual time.

use transport::reaper::{Job, Outcome};
use transport::time::Now;

use crate::cm::SimStack;
use crate::fabric::Fabric;
use crate::limits::DESTROY_GIVES_UP_AFTER;
use crate::oracle::Delay;

/// A job that a reaper has begun: its effect comes at its end, and so does its answer.
#[must_use = "a job that is not run destroys nothing"]
pub struct Reaping {
    fabric: Fabric,
    job: Job<SimStack>,
    began: Now,
    ready: Now,
}

impl Fabric {
    /// Begins a job. How long it takes is drawn now.
    pub fn reaping(&self, job: Job<SimStack>) -> Reaping {
        let mut world = self.lock();
        let began = world.now;
        let takes = match &job {
            Job::DestroyQp { id, .. } => {
                let conn = id.conn;
                let row = world.devices[world.conns[conn].device].row;
                let gives_up = |takes| row.destroy_gives_up && takes >= DESTROY_GIVES_UP_AFTER;
                let (name, axis) = ("how long the destroy takes", row.destroy_takes);
                let mut takes = world.axis_by(name, axis, gives_up);
                if world.calm {
                    takes = row.destroy_takes[0];
                }
                let gives_up = gives_up(takes);
                world.conns[conn].destroy_began = true;
                world.conns[conn].destroy_gives_up = gives_up;
                takes
            }
            Job::Refuse { .. } | Job::Disconnect { .. } | Job::DestroyId { .. } => {
                world.delay(Delay::DestroyId).unwrap_or_default()
            }
        };
        drop(world);
        Reaping { fabric: self.clone(), job, began, ready: began + takes }
    }
}

impl Reaping {
    /// When it ends.
    #[must_use]
    pub fn ready_at(&self) -> Now {
        self.ready
    }

    /// Ends it: the fabric's time must be [`Self::ready_at`] or later.
    #[must_use]
    pub fn run(self) -> Option<Outcome> {
        let Self { fabric, job, began, .. } = self;
        let before = fabric.lock().destroys;
        // The call begins when the job does, and everything after the destroy is its end.
        let clock = || {
            let world = fabric.lock();
            if world.destroys == before { began } else { world.now }
        };
        job.run(&clock)
    }
}
