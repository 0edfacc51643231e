//! The form of an input of the queue and controller targets, for seeds and for reading.
//!
//! One byte of settings, then steps: a byte that says which, two 16-bit numbers (bytes that came
//! after the SQE; bytes of data), the 64 bytes of the SQE, the data. A step cut short by the end of
//! the input is a capsule cut short.

use crate::input::Input;

/// Bits of a step's first byte.
pub mod op {
    /// Finish with a failure what the command asks for, not with success.
    pub const FAIL: u8 = 1;
    /// Keep what the command asks for undone until a later step.
    pub const HOLD: u8 = 1 << 1;
    /// First finish the oldest command that was kept.
    pub const RELEASE: u8 = 1 << 2;
    /// Abandon, as when a controller is reset, and don't answer.
    pub const ABANDON: u8 = 1 << 3;
    /// Not a capsule but a change of state, which the SQE's first byte selects.
    pub const STATE: u8 = 1 << 4;
}

/// One step.
pub struct Record<'a> {
    /// Bits of [`op`].
    pub op: u8,
    /// Bytes after the SQE, as the transport counts them.
    pub came: u16,
    /// The SQE, or less.
    pub sqe: &'a [u8],
    /// What a fetch brings.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn read(input: &mut Input<'a>) -> Option<Self> {
        let op = input.byte()?;
        let came = input.short();
        let len = input.short();
        let sqe = input.bytes(64);
        Some(Self { op, came, sqe, data: input.bytes(usize::from(len)) })
    }

    /// Appends the step to an input.
    pub fn write(&self, input: &mut Vec<u8>) {
        let len = u16::try_from(self.data.len()).unwrap_or(u16::MAX);
        input.push(self.op);
        input.extend_from_slice(&self.came.to_le_bytes());
        input.extend_from_slice(&len.to_le_bytes());
        input.extend_from_slice(self.sqe);
        input.extend_from_slice(&self.data[..usize::from(len)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_back_as_it_was_written() {
        let mut bytes = Vec::new();
        Record { op: 3, came: 0x1234, sqe: &[7; 64], data: &[8; 300] }.write(&mut bytes);
        let mut input = Input::new(&bytes);
        let read = Record::read(&mut input).unwrap();
        assert_eq!(
            (read.op, read.came, read.sqe, read.data),
            (3, 0x1234, &[7; 64][..], &[8; 300][..])
        );
        assert!(Record::read(&mut input).is_none());
    }
}
