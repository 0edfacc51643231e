//! The Diffie-Hellman groups of DH-HMAC-CHAP: finite fields of RFC 7919.

use core::fmt;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd, Resize};
use zeroize::{Zeroize, Zeroizing};

use super::check::Check;
use super::primes;

/// A group; `Null` for an exchange without Diffie-Hellman.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// No Diffie-Hellman: who listens may try keys at home.
    Null,
    /// 2048 bits.
    Ffdhe2048,
    /// 3072 bits.
    Ffdhe3072,
    /// 4096 bits.
    Ffdhe4096,
    /// 6144 bits.
    Ffdhe6144,
    /// 8192 bits.
    Ffdhe8192,
}

impl Group {
    /// Each of them, the cheapest first.
    pub const ALL: [Self; 6] = [
        Self::Null,
        Self::Ffdhe2048,
        Self::Ffdhe3072,
        Self::Ffdhe4096,
        Self::Ffdhe6144,
        Self::Ffdhe8192,
    ];

    /// Its number on the wire.
    pub const fn id(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Ffdhe2048 => 1,
            Self::Ffdhe3072 => 2,
            Self::Ffdhe4096 => 3,
            Self::Ffdhe6144 => 4,
            Self::Ffdhe8192 => 5,
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ffdhe2048 => 2048,
            Self::Ffdhe3072 => 3072,
            Self::Ffdhe4096 => 4096,
            Self::Ffdhe6144 => 6144,
            Self::Ffdhe8192 => 8192,
        }
    }

    /// Bytes of a public value and of the shared one; 0 for `Null`.
    pub const fn len_bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// Bits of a private exponent: no fewer than RFC 7919 Appendix A asks for, in whole words.
    const fn exponent_bits(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ffdhe2048 => 256,
            Self::Ffdhe3072 => 320,
            Self::Ffdhe4096 | Self::Ffdhe6144 => 384,
            Self::Ffdhe8192 => 448,
        }
    }

    /// Bytes of entropy that a private exponent takes.
    pub(crate) const fn exponent_bytes(self) -> usize {
        self.exponent_bits() as usize / 8
    }

    fn prime(self) -> Option<Odd<BoxedUint>> {
        let text = match self {
            Self::Null => return None,
            Self::Ffdhe2048 => primes::FFDHE2048,
            Self::Ffdhe3072 => primes::FFDHE3072,
            Self::Ffdhe4096 => primes::FFDHE4096,
            Self::Ffdhe6144 => primes::FFDHE6144,
            Self::Ffdhe8192 => primes::FFDHE8192,
        };
        let prime = BoxedUint::from_be_hex(text, self.bits()).into_option()?;
        Odd::new(prime).into_option()
    }

    /// 2 to the exponent: what the other side gets to see. Empty for `Null`.
    pub(crate) fn public(self, exponent: &Exponent) -> Vec<u8> {
        let Some(prime) = self.prime() else { return Vec::new() };
        let two = BoxedUint::from(2u64).resize(self.bits());
        self.power(two, exponent, prime).to_vec()
    }

    /// What both sides share: the other's value to the exponent.
    ///
    /// The prime is safe, so that values other than 0, 1 and p - 1 have a large order.
    ///
    /// # Errors
    /// The value is no element of the group, or generates a small one.
    pub(crate) fn shared(
        self,
        exponent: &Exponent,
        theirs: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Check> {
        if theirs.len() != self.len_bytes() {
            return Err(Check::ValueLength);
        }
        let Some(prime) = self.prime() else { return Ok(Zeroizing::default()) };
        let value = BoxedUint::from_be_slice(theirs, self.bits());
        let value = value.map_err(|_| Check::ValueLength)?;
        let one = BoxedUint::one().resize(self.bits());
        let last = prime.as_ref().wrapping_sub(&one);
        if value <= one || value >= last {
            return Err(Check::ValueRange);
        }
        Ok(self.power(value, exponent, prime))
    }

    /// Takes the same time for every exponent of the group.
    fn power(
        self,
        base: BoxedUint,
        exponent: &Exponent,
        prime: Odd<BoxedUint>,
    ) -> Zeroizing<Vec<u8>> {
        let params = BoxedMontyParams::new_vartime(prime);
        let base = BoxedMontyForm::new(base, &params);
        let mut power = base.pow_bounded_exp(&exponent.0, self.exponent_bits()).retrieve();
        let bytes = Zeroizing::new(power.to_be_bytes().to_vec());
        power.zeroize();
        bytes
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Ffdhe2048 => "ffdhe2048",
            Self::Ffdhe3072 => "ffdhe3072",
            Self::Ffdhe4096 => "ffdhe4096",
            Self::Ffdhe6144 => "ffdhe6144",
            Self::Ffdhe8192 => "ffdhe8192",
        })
    }
}

/// A private exponent, used for one exchange.
pub(crate) struct Exponent(BoxedUint);

impl Exponent {
    /// From [`Group::exponent_bytes`] random bytes; its highest bit is set.
    pub(crate) fn new(entropy: &mut [u8]) -> Self {
        if let Some(first) = entropy.first_mut() {
            *first |= 0x80;
        }
        Self(BoxedUint::from_be_slice_vartime(entropy))
    }
}

impl Drop for Exponent {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Exponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exponent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// floor(2^bits e), by its series, with guard bits.
    fn e(bits: u32) -> BoxedUint {
        let precision = bits.next_multiple_of(64) + 192;
        let mut term = BoxedUint::one().resize(precision).shl(bits + 128);
        let mut sum = BoxedUint::zero_with_precision(precision);
        let mut k = 1u64;
        while !bool::from(term.is_zero()) {
            sum = sum.wrapping_add(&term);
            let divisor = BoxedUint::from(k).to_nz().into_option().unwrap();
            term = term.div_rem_vartime(&divisor).0;
            k += 1;
        }
        sum.shr(128)
    }

    #[test]
    fn primes_are_those_of_rfc_7919() {
        let offsets = [560_316u64, 2_625_351, 5_736_041, 15_705_020, 10_965_728];
        for (group, x) in Group::ALL.into_iter().skip(1).zip(offsets) {
            let b = group.bits();
            let one = BoxedUint::one().resize(b);
            let middle = e(b - 130).wrapping_add(BoxedUint::from(x)).resize(b).shl(64);
            // 2^b vanishes in b bits.
            let zero = BoxedUint::zero_with_precision(b);
            let prime = zero.wrapping_sub(one.shl(b - 64)).wrapping_add(&middle);
            let prime = prime.wrapping_sub(&one);
            assert_eq!(group.prime().unwrap().get(), prime, "{group}");
        }
    }

    #[test]
    fn both_sides_come_to_the_same_value() {
        for group in Group::ALL.into_iter().skip(1) {
            let exponent = |byte: u8| Exponent::new(&mut vec![byte; group.exponent_bytes()]);
            let (ours, theirs) = (exponent(3), exponent(0x71));
            let public = group.public(&theirs);
            assert_eq!(public.len(), group.len_bytes());
            let here = group.shared(&ours, &public).unwrap();
            let there = group.shared(&theirs, &group.public(&ours)).unwrap();
            assert!(*here == *there && here.len() == group.len_bytes(), "{group}");
        }
    }

    #[test]
    fn values_outside_the_group_are_refused() {
        let group = Group::Ffdhe2048;
        let exponent = Exponent::new(&mut [7; 32]);
        let number = |last: u8| {
            let mut bytes = vec![0; 256];
            bytes[255] = last;
            bytes
        };
        let prime = group.prime().unwrap().get().to_be_bytes();
        let mut last = prime.to_vec();
        last[255] -= 1;
        for bad in [number(0), number(1), last, prime.to_vec(), vec![0xff; 256]] {
            assert_eq!(group.shared(&exponent, &bad).unwrap_err(), Check::ValueRange);
        }
        assert!(group.shared(&exponent, &number(2)).is_ok());
        for len in [0, 255, 257] {
            let value = vec![2; len];
            assert_eq!(group.shared(&exponent, &value).unwrap_err(), Check::ValueLength);
        }
        assert_eq!(format!("{exponent:?}"), "Exponent");
    }
}
