//! What a block contains: its disk, its number and the version that wrote it, all over its bytes.

/// Bytes of a block of every simulated disk.
pub(crate) const BLOCK: usize = 512;
/// The same as disks and commands count.
pub(crate) const BLOCK_BYTES: u64 = 512;

/// Which write a block's bytes come from; 0 is a block of zeroes.
pub(crate) type Version = u64;
/// The version of a block that was never written, or was zeroed.
pub(crate) const ZERO: Version = 0;

fn word(disk: u64, lba: u64, version: Version, index: u64) -> u64 {
    let mut x = version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= lba.wrapping_mul(0xc2b2_ae3d_27d4_eb4f) ^ disk << 56;
    x = x.wrapping_add(index.wrapping_mul(0x1656_67b1_9e37_79f9));
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Writes a block's bytes.
pub(crate) fn fill(block: &mut [u8], disk: u64, lba: u64, version: Version) {
    if version == ZERO {
        block.fill(0);
        return;
    }
    for (index, bytes) in block.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let value = if index == 0 { version } else { word(disk, lba, version, index as u64) };
        *bytes = value.to_le_bytes();
    }
}

/// The version of a block's bytes.
///
/// # Errors
/// The bytes are not a whole block of this number: how so.
pub(crate) fn read(block: &[u8], disk: u64, lba: u64) -> Result<Version, String> {
    let words = block.as_chunks::<8>().0;
    let first = words.first().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    for (index, bytes) in words.iter().enumerate() {
        let found = u64::from_le_bytes(*bytes);
        let wanted = match (first, index) {
            (ZERO, _) => 0,
            (version, 0) => version,
            (version, _) => word(disk, lba, version, index as u64),
        };
        if found != wanted {
            return Err(format!(
                "block {lba} begins like version {first} but has {found:#018x} at byte {}",
                index * 8
            ));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_another_block_disk_or_write_are_noticed() {
        let mut block = [0; BLOCK];
        fill(&mut block, 1, 7, 42);
        assert_eq!(read(&block, 1, 7), Ok(42));
        assert!(read(&block, 1, 8).is_err());
        assert!(read(&block, 0, 7).is_err());
        block[511] ^= 1;
        assert!(read(&block, 1, 7).is_err());
        let mut torn = [0; BLOCK];
        fill(&mut torn, 1, 7, 43);
        torn[..256].copy_from_slice(&block[..256]);
        assert!(read(&torn, 1, 7).is_err());
        assert_eq!(read(&[0; BLOCK], 1, 7), Ok(ZERO));
    }
}
