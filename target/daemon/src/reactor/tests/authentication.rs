//! Hosts that have to show who they are.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nvme::Sqe;
use nvme::admin::fctype;
use sim::Host;

use crate::reactor::tests::bed::{Bed, GUARDED, KEY_BYTE, Plan, SUBNQN};
use crate::reactor::tests::host::HostQueue;

/// SECP, SPSP1 and SPSP0 of DH-HMAC-CHAP.
const PROTOCOL: u32 = 0xe901_0100;
/// Authentication Required, not to be retried.
const REQUIRED: u16 = 0x4191;

/// What is logged, for a test to read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn guarded(bed: &mut Bed, host: &Host) -> HostQueue {
    let mut queue = HostQueue::dial(bed, host, 0, 0, 32);
    let response = queue.nvme_connect(bed, (0, 32), (SUBNQN, GUARDED), (0xffff, 5000)).unwrap();
    assert_eq!((response.status, response.result >> 16), (0, 2), "ATR");
    queue
}

fn authentication(bed: &mut Bed, queue: &mut HostQueue, kind: u8, len: u32) -> u16 {
    let mut sqe = queue.command(Sqe::FABRICS, len);
    sqe.nsid = u32::from(kind).into();
    sqe.cdw10 = PROTOCOL.into();
    sqe.cdw11 = len.into();
    queue.send(bed, &sqe);
    queue.responses().pop().expect("an answer").status
}

#[test]
fn wrong_key_is_told_to_the_log_and_no_secret_with_it() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut bed = Bed::new(&Plan::default());
        let host = bed.host(1);
        let mut queue = guarded(&mut bed, &host);
        let get = queue.command(Sqe::FABRICS, 0);
        queue.send(&mut bed, &get);
        assert_eq!(queue.responses().pop().unwrap().status, REQUIRED);
        // Negotiate: SHA-256 and ffdhe2048, which is computed.
        let mut negotiate = [0; 72];
        (negotiate[7], negotiate[8], negotiate[10], negotiate[11]) = (1, 1, 1, 1);
        (negotiate[12], negotiate[42]) = (1, 1);
        queue.put(&negotiate);
        let status = authentication(&mut bed, &mut queue, fctype::AUTHENTICATION_SEND, 72);
        assert_eq!(status, 0);
        let status = authentication(&mut bed, &mut queue, fctype::AUTHENTICATION_RECEIVE, 4096);
        assert_eq!(status, 0);
        assert_eq!(host.read(&queue.memory, 0, 2), [1, 1], "a challenge");
        // A reply of the right form, with a response that takes no key.
        let mut reply = [0x11; 16 + 64 + 256];
        reply[..16].fill(0);
        (reply[0], reply[1], reply[6], reply[11]) = (1, 2, 32, 1);
        queue.put(&reply);
        let len = u32::try_from(reply.len()).unwrap();
        let status = authentication(&mut bed, &mut queue, fctype::AUTHENTICATION_SEND, len);
        assert_eq!(status, 0);
        let status = authentication(&mut bed, &mut queue, fctype::AUTHENTICATION_RECEIVE, 4096);
        assert_eq!(status, 0);
        let failure = host.read(&queue.memory, 0, 8);
        assert_eq!((&failure[..2], &failure[6..]), (&[0, 0xf1][..], &[1, 1][..]));
        assert!(queue.is_connected(), "the host has a moment");
        bed.run(Duration::from_secs(5));
        assert!(!queue.is_connected(), "and no more");
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the host's response is wrong"), "{text}");
    let secret = [KEY_BYTE; 4];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for shown in [hex, format!("{secret:?}").replace(['[', ']'], ""), "1dXV".to_owned()] {
        assert!(!text.to_lowercase().contains(&shown.to_lowercase()), "{shown} in {text}");
    }
}

#[test]
fn host_that_does_not_authenticate_itself_is_closed() {
    let mut bed = Bed::new(&Plan::default());
    let host = bed.host(1);
    let queue = guarded(&mut bed, &host);
    // Its keep-alive timeout of 5 s does not count meanwhile.
    bed.run(Duration::from_secs(55));
    assert!(queue.is_connected());
    bed.run(Duration::from_secs(10));
    assert!(!queue.is_connected());
}
