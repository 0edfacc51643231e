//! The admin socket.

use sluice::control::{Reply, Request, Response, VERSION};
use sluice::status::Inspect;

struct Nothing;

impl Inspect for Nothing {
    fn status(&self) -> sluice::status::Status {
        panic!("a refused request looks at nothing")
    }

    fn drains(&self, _query: sluice::drains::DrainQuery) -> sluice::drains::DrainList {
        panic!("a refused request looks at nothing")
    }
}

/// One line of a client.
pub(crate) fn control_request(bytes: &[u8]) {
    match Request::from_line(bytes) {
        Ok(request) => assert_eq!(Request::from_line(&request.to_line()), Ok(request)),
        Err(error) => {
            let response = Response::to_request(Err(error.clone()), &Nothing);
            assert_eq!(response.version, VERSION);
            assert_eq!(response.reply, Reply::Error(error));
            let line = response.to_line();
            let newlines = line.iter().filter(|byte| **byte == b'\n').count();
            assert!(newlines == 1 && line.last() == Some(&b'\n'), "an answer is one line");
        }
    }
}
