//! The search to its smallest bound, and searches that must find something.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

use model::limits::Bound;
use model::results;
use model::search::{Found, search};
use model::variant::{Close, Variant};
use sim::Behaviour;
use sim::behaviour::{AfterDestroy, PostInError};
use sim::rows;
use transport::marker::Method;

/// Half of the variants: tests run on two threads.
fn search_half(half: usize) {
    let mut searched = 0;
    for (place, variant) in Variant::all().into_iter().enumerate() {
        if place % 2 != half {
            continue;
        }
        let outcome = search(variant, Bound::SMALL);
        let found: Vec<String> =
            outcome.found.iter().map(|f| results::explain(variant, Bound::SMALL, f)).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
        assert!(!outcome.cut, "{variant}: the bound on states cut the search");
        // From the accept to the end there are at least this many actions one behind the other.
        assert!(outcome.depth >= 8 && outcome.states >= 200, "{variant}: {outcome:?}");
        searched += 1;
    }
    assert!(searched >= 24, "only {searched} variants");
}

#[test]
fn no_order_of_events_breaks_the_contract_on_the_first_half_of_the_variants() {
    search_half(0);
}

#[test]
fn no_order_of_events_breaks_the_contract_on_the_second_half_of_the_variants() {
    search_half(1);
}

fn abortive(row: &'static Behaviour) -> Variant {
    Variant { row, close: Close::Abortive, method: Method::Accounting, shared: false }
}

fn found(row: &'static Behaviour, bound: Bound) -> Vec<Found> {
    search(abortive(row), bound).found
}

fn names_rule(found: &[Found], rule: &str) -> bool {
    found.iter().any(|found| found.what.contains(rule))
}

/// A device that the capability table takes for one that keeps order, and that does not.
static OUT_OF_ORDER: Behaviour =
    Behaviour { name: "out-of-order", send_before_read: &[true], ..rows::MLX5 };

#[test]
fn a_device_that_keeps_no_order_where_the_table_says_so_is_found_out() {
    let bound = Bound { adversities: 0, ..Bound::SMALL };
    let found = found(&OUT_OF_ORDER, bound);
    assert!(names_rule(&found, "S1:"), "{found:?}");
}

/// A device whose lost requests a later completion seems to give back.
static LOSES: Behaviour = Behaviour {
    name: "loses",
    peer_disconnect: &[sim::behaviour::PeerDisconnect::Errors],
    post_send_in_error: &[PostInError::Flushed, PostInError::Lost],
    ..rows::MLX5
};

#[test]
fn a_device_that_loses_requests_where_the_table_says_it_does_not_is_found_out() {
    let found = found(&LOSES, Bound::SMALL);
    assert!(names_rule(&found, "S1:"), "{found:?}");
}

#[test]
fn the_path_that_is_told_shows_the_same_violation_again() {
    let found = found(&LOSES, Bound::SMALL);
    let lines = results::words(abortive(&LOSES), Bound::SMALL, &found[0].path);
    assert!(lines.iter().any(|line| line.starts_with("broken: S1:")), "{}", lines.join("\n"));
}

/// A device that dies of polls that the table allows.
static MUST_NOT_POLL: Behaviour =
    Behaviour { name: "must-not-poll", after_destroy: &[AfterDestroy::MustNotPoll], ..rows::MLX5 };

#[test]
fn a_device_that_must_not_be_polled_where_the_table_allows_it_is_found_out() {
    let found = found(&MUST_NOT_POLL, Bound::SMALL);
    assert!(names_rule(&found, "S11:"), "{found:?}");
}

/// A destroy that gives up and says 0, on a device of which the table believes everything.
static GIVES_UP: Behaviour = Behaviour {
    name: "gives-up",
    destroy_gives_up: true,
    destroy_takes: &[sim::limits::DESTROY_GIVES_UP_AFTER],
    ..rows::MLX5
};

#[test]
fn a_destroy_that_gave_up_is_found_out_where_its_answer_is_believed() {
    let found = found(&GIVES_UP, Bound { adversities: 0, ..Bound::SMALL });
    assert!(names_rule(&found, "S14:"), "{found:?}");
}

#[test]
fn the_same_search_comes_to_the_same_states() {
    let variant = Variant::by_name("siw-6.1", "orderly").unwrap();
    let (one, two) = (search(variant, Bound::SMALL), search(variant, Bound::SMALL));
    assert_eq!((one.states, one.transitions), (two.states, two.transitions));
}
