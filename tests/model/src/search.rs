//! Breadth-first search over paths.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::limits::Bound;
use crate::player::{Budget, Player};
use crate::stage::Stage;
use crate::variant::Variant;

/// Violations that a search keeps; the first is a shortest one.
const FOUND_MAX: usize = 5;

/// A rule that was broken, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What, in words.
    pub what: String,
    /// The choices that lead to it.
    pub path: Vec<u8>,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was searched.
    pub variant: Variant,
    /// States that differ.
    pub states: usize,
    /// Steps between them.
    pub transitions: usize,
    /// Actions on the longest way.
    pub depth: usize,
    /// States from which the end was played out.
    pub ends: usize,
    /// Processor time that it took.
    pub took: Duration,
    /// The bound on states ended it.
    pub cut: bool,
    /// What was broken, shortest way first; at most a few.
    pub found: Vec<Found>,
}

/// Processor time of this thread: a search that shares its machine is not slower for it.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A state: its parent, and the choices that lead from there to here.
struct Node {
    parent: u32,
    first: u32,
    count: u16,
    depth: u16,
}

struct Tree {
    nodes: Vec<Node>,
    choices: Vec<u8>,
}

impl Tree {
    fn path(&self, node: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = node;
        while at != 0 {
            let Node { parent, first, count, .. } = self.nodes[at];
            let first = first as usize;
            parts.push(first..first + usize::from(count));
            at = parent as usize;
        }
        parts.into_iter().rev().flat_map(|part| self.choices[part].iter().copied()).collect()
    }

    fn add(&mut self, parent: usize, choices: &[u8], depth: u16) {
        let first = u32::try_from(self.choices.len()).expect("fewer choices than 2^32");
        self.choices.extend_from_slice(choices);
        self.nodes.push(Node {
            parent: u32::try_from(parent).expect("fewer states than 2^32"),
            first,
            count: u16::try_from(choices.len()).expect("a step asks little"),
            depth,
        });
    }
}

/// Plays a path to its end: every action of it.
pub(crate) fn replay<'a>(stage: &'a Stage, path: &[u8]) -> Player<'a> {
    let mut player = Player::new(stage, path);
    while player.choices().len() < path.len() && player.step().is_some() {}
    player
}

/// Searches a variant to the bound.
#[must_use]
pub fn search(variant: Variant, bound: Bound) -> Outcome {
    Search::new(variant, bound).run()
}

struct Search {
    variant: Variant,
    bound: Bound,
    tree: Tree,
    seen: HashMap<u64, Vec<Budget>>,
    ended: HashSet<u64>,
    transitions: usize,
    found: Vec<Found>,
}

impl Search {
    fn new(variant: Variant, bound: Bound) -> Self {
        let tree = Tree { nodes: Vec::new(), choices: Vec::new() };
        let (seen, ended) = (HashMap::new(), HashSet::new());
        Self { variant, bound, tree, seen, ended, transitions: 0, found: Vec::new() }
    }

    fn run(mut self) -> Outcome {
        let began = cpu_time();
        let mut stage = Stage::new(self.variant, self.bound);
        self.tree.add(0, &[], 0);
        self.roots(&stage);
        let mut next = 1;
        let mut cut = false;
        while next < self.tree.nodes.len() && self.found.len() < FOUND_MAX {
            if self.tree.nodes.len() > self.bound.states {
                cut = true;
                break;
            }
            self.expand(&stage, next);
            next += 1;
            if stage.is_worn() {
                stage = Stage::new(self.variant, self.bound);
            }
        }
        let depth = self.tree.nodes.last().map_or(0, |node| usize::from(node.depth));
        Outcome {
            variant: self.variant,
            states: self.tree.nodes.len() - 1,
            transitions: self.transitions,
            depth,
            ends: self.ended.len(),
            took: cpu_time().saturating_sub(began),
            cut,
            found: self.found,
        }
    }

    /// The ways through the start: the posts and the accept may fail too.
    fn roots(&mut self, stage: &Stage) {
        self.siblings(|search, path| {
            let player = Player::new(stage, path);
            let taken = player.choices().taken_from(0);
            search.arrive(player, 0, 0, &taken);
            taken
        });
    }

    /// Every action from a state, and every way that each one goes.
    fn expand(&mut self, stage: &Stage, node: usize) {
        let path = self.tree.path(node);
        let from = path.len();
        let player = replay(stage, &path);
        let actions = player.actions();
        // The run that said what there is takes the first one itself.
        let mut ready = Some(player);
        for action in actions {
            if self.found.len() >= FOUND_MAX {
                break;
            }
            self.siblings(|search, answers| {
                let mut player = ready.take().unwrap_or_else(|| replay(stage, &path));
                player.choices().extend(&[action.byte()]);
                player.choices().extend(answers);
                let stepped = player.step();
                debug_assert_eq!(stepped, Some(action));
                let mut taken = player.choices().taken_from(from);
                search.transitions += 1;
                search.arrive(player, node, from, &taken);
                taken.split_off(1)
            });
        }
        if let Some(mut player) = ready {
            player.clear();
        }
    }

    /// Tries every way to answer what is asked: like an odometer, the last answer counts fastest.
    fn siblings(&mut self, mut play: impl FnMut(&mut Self, &[u8]) -> Vec<(u8, u8)>) {
        let mut answers: Vec<u8> = Vec::new();
        loop {
            let mut taken = play(self, &answers);
            while let Some((answer, options)) = taken.pop() {
                if answer + 1 < options {
                    taken.push((answer + 1, options));
                    break;
                }
            }
            if taken.is_empty() || self.found.len() >= FOUND_MAX {
                return;
            }
            answers = taken.into_iter().map(|(answer, _)| answer).collect();
        }
    }

    /// A run has come somewhere: is it new, is anything broken, and does it end well from here?
    fn arrive(&mut self, mut player: Player<'_>, parent: usize, from: usize, taken: &[(u8, u8)]) {
        let choices: Vec<u8> = taken.iter().map(|(answer, _)| *answer).collect();
        let full = |search: &Self| {
            let mut path = search.tree.path(parent);
            debug_assert!(parent == 0 || path.len() == from);
            path.extend_from_slice(&choices);
            path
        };
        let broken = player.violations();
        if !broken.is_empty() {
            self.found.push(Found { what: broken.join("; "), path: full(self) });
            player.clear();
            return;
        }
        let budget = player.budget();
        let known = self.seen.entry(player.fingerprint()).or_default();
        if known.iter().any(|known| known.covers(&budget)) {
            player.clear();
            return;
        }
        known.retain(|known| !budget.covers(known));
        known.push(budget);
        let depth = self.tree.nodes[parent].depth + 1;
        self.tree.add(parent, &choices, depth);
        if !self.ended.insert(player.fingerprint_of_end()) {
            player.clear();
            return;
        }
        let broken = player.end();
        if !broken.is_empty() {
            let what = format!("{} (when only time passes from here)", broken.join("; "));
            self.found.push(Found { what, path: full(self) });
        }
    }
}
