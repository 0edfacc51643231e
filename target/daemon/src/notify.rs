//! Word to systemd (sd_notify(3)); silence where nobody asked for it.

use std::time::Duration;

use sd_notify::NotifyState;

/// Characters of a status text: it is one line of `systemctl status`.
const STATUS_CHARS_MAX: usize = 200;

/// The daemon serves.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// What the daemon does now, for `systemctl status`.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// The daemon is on its way out.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

/// How often [`alive`] has to be called at least, where the unit has a `WatchdogSec=`.
///
/// Without one there is no need to wake up for it.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Feeds the watchdog.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

fn send(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::warn!(%error, "systemd does not hear us at NOTIFY_SOCKET");
    }
}

/// The protocol is lines of its own: a text with a newline could say anything else to systemd.
fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(STATUS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_text_can_not_say_more_than_a_status() {
        assert_eq!(one_line("a\nREADY=1\0"), "a READY=1 ");
        assert_eq!(one_line(&"x".repeat(1000)).len(), STATUS_CHARS_MAX);
    }
}
