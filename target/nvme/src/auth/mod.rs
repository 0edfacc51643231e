//! In-band authentication: DH-HMAC-CHAP, one-way and mutual (NVMe Base 2.0 §8.13).
//!
//! A queue whose host has [`Credentials`] takes nothing but Authentication Send and Receive until
//! one exchange has succeeded on it. The exchange itself is a table of states that is given
//! messages and gives messages; what takes long or needs chance is [`Work`], which the caller runs
//! where it disturbs nobody.
//!
//! What the host learns of a failure is the standard's code; which check it was is a [`Check`] for
//! our own log. No type here shows a secret in its `Debug` form, and secrets are overwritten when
//! they are dropped. Nothing that depends on a secret is compared with `==`.

mod check;
mod credentials;
mod exchange;
mod group;
mod hash;
mod key;
mod message;
mod primes;
mod work;

pub use check::Check;
pub use credentials::{Credentials, Policy};
pub use exchange::Event;
pub(crate) use exchange::Exchange;
pub use group::Group;
pub use hash::Hash;
pub use key::{Key, KeyError};
pub use message::Message;
pub use work::{Computed, Work};
