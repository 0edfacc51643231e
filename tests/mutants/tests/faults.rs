//! The list of faults against the tree as it is.

use std::path::Path;

use mutants::fault::Fault;

fn checkout() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_fault_still_fits_the_file_it_is_for() {
    let faults = Fault::all(&checkout()).expect("the list can be read");
    assert!(faults.len() >= 25, "{} faults are too few", faults.len());
    for fault in faults {
        let text = std::fs::read_to_string(checkout().join(&fault.file)).expect(&fault.file);
        if let Err(error) = fault.apply(&text) {
            panic!("{error}");
        }
    }
}
