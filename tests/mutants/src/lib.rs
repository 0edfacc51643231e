//! Deliberate faults in the shipped close path and ownership: each is applied to a copy of the
//! tree, alone, and the checks are run until one of them fails. A fault that none of them notices
//! is a hole in the checks.

pub mod check;
pub mod fault;
pub mod table;
pub mod tree;
