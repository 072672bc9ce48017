//! States that fit the 48 bits beside a generation, counted from a base that the slot keeps.

use super::head::PAYLOAD_BITS;
use crate::algorithm::{Counted, FixedWindow, Gcra, Meter};

/// A meter whose state is decided on by one compare-and-swap.
pub(super) trait Packed: Meter {
    /// A base that this state and those to come can be counted from, and some that were before.
    fn base(state: &Self::State) -> u64;

    /// `None` where the state lies too far from the base.
    fn pack(base: u64, state: &Self::State) -> Option<u64>;

    fn unpack(base: u64, payload: u64) -> Self::State;
}

impl Packed for Gcra {
    fn base(empty_at: &u64) -> u64 {
        empty_at.saturating_sub(1 << (PAYLOAD_BITS - 1))
    }

    #[inline]
    fn pack(base: u64, empty_at: &u64) -> Option<u64> {
        empty_at.checked_sub(base).filter(|ticks| ticks >> PAYLOAD_BITS == 0)
    }

    #[inline]
    fn unpack(base: u64, payload: u64) -> u64 {
        base.wrapping_add(payload)
    }
}

/// The low bits are the count, the others the window.
const COUNT_BITS: u32 = 32;
const INDEX_BITS: u32 = PAYLOAD_BITS - COUNT_BITS;

impl Packed for FixedWindow {
    fn base(counted: &Counted) -> u64 {
        counted.index.saturating_sub(1 << (INDEX_BITS - 1))
    }

    #[inline]
    fn pack(base: u64, counted: &Counted) -> Option<u64> {
        let index = counted.index.checked_sub(base).filter(|index| index >> INDEX_BITS == 0)?;
        (counted.count >> COUNT_BITS == 0).then_some(index << COUNT_BITS | counted.count)
    }

    #[inline]
    fn unpack(base: u64, payload: u64) -> Counted {
        Counted { index: base.wrapping_add(payload >> COUNT_BITS), count: payload & ((1 << COUNT_BITS) - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_the_same() {
        for empty_at in [0, 1, 1 << 47, 1 << 51, u64::MAX / 2, u64::MAX] {
            let base = Gcra::base(&empty_at);
            assert_eq!(Gcra::unpack(base, Gcra::pack(base, &empty_at).unwrap()), empty_at);
        }
        for counted in [Counted::default(), Counted { index: 3 << 50, count: u64::from(u32::MAX) }] {
            let base = FixedWindow::base(&counted);
            assert_eq!(FixedWindow::unpack(base, FixedWindow::pack(base, &counted).unwrap()), counted);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Gcra::pack(10, &9), None);
        assert_eq!(Gcra::pack(10, &(10 + (1 << 48))), None);
        assert_eq!(FixedWindow::pack(0, &Counted { index: 1 << 16, count: 0 }), None);
        assert_eq!(FixedWindow::pack(0, &Counted { index: 0, count: 1 << 32 }), None);
    }
}
