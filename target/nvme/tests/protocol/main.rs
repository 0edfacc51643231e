//! Hosts of several kinds against queues and controllers, as a transport would join them.
#![allow(clippy::unwrap_used, reason = "a test that can't go on is to fail")]
#![allow(clippy::wildcard_enum_match_arm, reason = "whatever a test does not expect fails it")]

mod admin;
mod authentication;
mod capsule;
mod compare;
mod connect;
mod disconnect;
mod discovery;
mod errors;
mod hostile;
mod io;
mod keep_alive;
mod layout;
mod life;
mod pair;
