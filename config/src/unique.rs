//! What may appear only once in a configuration.

use std::collections::BTreeMap;

use crate::diagnostic::Place;
use crate::walk::{Field, Walk};

/// Values met so far, each with the place where it was met first.
pub(crate) struct Unique<K> {
    noun: &'static str,
    met: BTreeMap<K, Place>,
    repeated: bool,
}

impl<K: Ord> Unique<K> {
    /// `noun` is what the values are called in a message.
    pub(crate) fn new(noun: &'static str) -> Self {
        Self { noun, met: BTreeMap::new(), repeated: false }
    }

    /// Whether any value was met twice.
    pub(crate) fn repeated(&self) -> bool {
        self.repeated
    }

    /// Notes a value; one that was met before is an error at `field`.
    pub(crate) fn note(&mut self, walk: &mut Walk<'_>, field: &Field, value: K, shown: &str) {
        let place = walk.place(field);
        if let Some(first) = self.met.get(&value) {
            let space = if shown.is_empty() { "" } else { " " };
            let message = format!("the {}{space}{shown} is used twice", self.noun);
            self.repeated = true;
            let help = format!("the first is {}", first.short());
            walk.error(field, message, &help);
        } else {
            self.met.insert(value, place);
        }
    }
}
