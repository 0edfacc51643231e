//! The targets.

mod authentication;
mod daemon;
mod fabric;
mod queues;
mod text;

pub(crate) use authentication::authentication;
pub(crate) use daemon::control_request;
pub(crate) use fabric::{cm_private_data, sgl, wr_id};
pub(crate) use queues::{controller, queue_connect, queue_io};
pub(crate) use text::{config_environment, config_text, names};
