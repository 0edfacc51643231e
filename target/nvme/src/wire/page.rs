//! A window on a data structure that a host reads in parts.

/// Writes a structure into the part of it that was asked for, without building the whole.
#[derive(Debug)]
pub struct Page<'a> {
    out: &'a mut [u8],
    first: u64,
}

impl<'a> Page<'a> {
    /// The `out.len()` bytes from byte `first` of the structure; zeroes until they are written.
    pub fn new(out: &'a mut [u8], first: u64) -> Self {
        out.fill(0);
        Self { out, first }
    }

    /// Puts bytes at a position of the structure; what is out of the window is dropped.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let (skip, start) =
            if at < self.first { (self.first - at, 0) } else { (0, at - self.first) };
        let (Ok(skip), Ok(start)) = (usize::try_from(skip), usize::try_from(start)) else {
            return;
        };
        if let (Some(bytes), Some(out)) = (bytes.get(skip..), self.out.get_mut(start..)) {
            let len = bytes.len().min(out.len());
            out[..len].copy_from_slice(&bytes[..len]);
        }
    }

    /// Whether bytes `at .. at + len` of the structure touch the window.
    pub fn shows(&self, at: u64, len: u64) -> bool {
        let end = self.first.saturating_add(self.out.len() as u64);
        at < end && at.saturating_add(len) > self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn window_shows_what_a_whole_copy_would(
            len in 0usize..64, first in 0u64..96, at in 0u64..96,
            part in prop::collection::vec(1u8.., 0..64),
        ) {
            let mut whole = vec![0; 512];
            let start = usize::try_from(at).unwrap();
            whole[start..start + part.len()].copy_from_slice(&part);
            let mut out = vec![0xee; len];
            let mut page = Page::new(&mut out, first);
            page.put(at, &part);
            let shows = page.shows(at, part.len() as u64);
            let first = usize::try_from(first).unwrap();
            prop_assert_eq!(&out[..], &whole[first..first + len]);
            let seen = out.iter().any(|byte| *byte != 0);
            prop_assert_eq!(shows && !part.is_empty() && len > 0, seen);
        }
    }

    #[test]
    fn window_at_the_end_of_the_number_range_does_not_overflow() {
        let mut out = [1; 4];
        let mut page = Page::new(&mut out, u64::MAX);
        page.put(0, &[7; 8]);
        page.put(u64::MAX, &[7; 8]);
        assert!(!page.shows(0, 8));
        assert_eq!(out, [7; 4]);
    }
}
