//! The oracle of the search: a path of choices, and what else could have been chosen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sim::{Oracle, Question};

#[derive(Debug, Default)]
struct Tape {
    path: Vec<u8>,
    /// Taken so far, and out of how many.
    taken: Vec<(u8, u8)>,
    /// Adversities that may yet befall the run.
    left: u8,
    /// Nothing branches any more: the ordinary option is taken.
    frozen: bool,
}

/// A path that is played, then the first option of whatever is asked. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    tape: Arc<Mutex<Tape>>,
}

impl Choices {
    fn lock(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with this path, and so many adversities at most.
    pub fn restart(&self, path: &[u8], adversities: u8) {
        let mut tape = self.lock();
        tape.path.clear();
        tape.path.extend_from_slice(path);
        tape.taken.clear();
        (tape.left, tape.frozen) = (adversities, false);
    }

    /// Plays these choices next.
    pub fn extend(&self, path: &[u8]) {
        self.lock().path.extend_from_slice(path);
    }

    /// From here on nothing branches.
    pub fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// One of `options` (at least 1).
    pub fn pick(&self, options: usize) -> usize {
        let mut tape = self.lock();
        if options <= 1 || tape.frozen {
            return 0;
        }
        let options = u8::try_from(options).unwrap_or(u8::MAX);
        let next = tape.path.get(tape.taken.len()).copied().unwrap_or(0).min(options - 1);
        tape.taken.push((next, options));
        usize::from(next)
    }

    /// The path's next byte as it is: an action. What else could have been is the search's to know.
    pub fn step(&self) -> Option<u8> {
        let mut tape = self.lock();
        let byte = *tape.path.get(tape.taken.len())?;
        tape.taken.push((byte, byte.saturating_add(1)));
        Some(byte)
    }

    /// How much of the path was played, choices beyond it included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().taken.len()
    }

    /// Nothing was chosen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The choices from the given place on, and out of how many each was taken.
    #[must_use]
    pub fn taken_from(&self, place: usize) -> Vec<(u8, u8)> {
        self.lock().taken.get(place..).unwrap_or(&[]).to_vec()
    }

    /// Adversities that may yet befall the run.
    #[must_use]
    pub fn left(&self) -> u8 {
        self.lock().left
    }

    /// One of them does.
    pub fn spend(&self) {
        let mut tape = self.lock();
        tape.left = tape.left.saturating_sub(1);
    }
}

impl Oracle for Choices {
    fn choose(&mut self, question: Question, options: usize) -> usize {
        match question {
            // The driver takes happenings in any order, which is every delay there is.
            Question::Delay(_) | Question::Next => 0,
            Question::Axis(_) => self.pick(options),
            Question::Fault(_) | Question::Mischief(_) => {
                if self.left() == 0 {
                    return 0;
                }
                let taken = self.pick(options);
                if taken > 0 {
                    self.spend();
                }
                taken
            }
        }
    }
}
