//! The known word that a mistyped one was probably meant to be.

/// The nearest of `known`, when it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // LIMIT: the comparison is quadratic; no key or name of ours is longer than 64 characters.
    if word.chars().count() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            (strsim::osa_distance(&word, &plain), candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| {
            // A word of two letters of which one is wrong is another word.
            let len = candidate.chars().count();
            len > 2 && *distance <= (len / 3).max(1)
        })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let known = ["queue_depth", "queues", "log", "nqn", "in_capsule", "a"];
        let cases = [
            ("queue_dept", Some("queue_depth")),
            ("queue-depth", Some("queue_depth")),
            ("Queues", Some("queues")),
            ("nnq", Some("nqn")),
            ("logs", Some("log")),
            ("bananas", None),
            ("", None),
            ("b", None),
        ];
        for (word, near) in cases {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(nearest(&"queues".repeat(100_000), known), None);
    }
}
