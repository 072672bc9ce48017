//! A slot's first word. It alone says who may touch the slot, and every step begins and ends with a compare-and-swap of it.
//!
//! Owned by nobody, it holds a generation, which every change but that of the 48 bits beside it moves on, so that a
//! compare-and-swap succeeds only where key, quota and everything else in the slot are still what they were.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head(u64);

const OWNED: u64 = 1 << 63;
const LIVE: u64 = 1 << 62;
const GENERATION: u64 = (1 << 62) - (1 << PAYLOAD_BITS);
const PAYLOAD: u64 = (1 << PAYLOAD_BITS) - 1;

/// The bits of a record's number, where a step owns the slot.
const RECORD_BITS: u32 = 16;

/// The bits of a packed state.
pub(super) const PAYLOAD_BITS: u32 = 48;

impl Head {
    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// Owned by the step of this number, of this record.
    pub(super) fn owned_by(record: usize, step: u64) -> Self {
        Self(OWNED | (step << RECORD_BITS) & (LIVE - 1) | record as u64)
    }

    #[inline]
    pub(super) fn is_owned(self) -> bool {
        self.0 & OWNED != 0
    }

    /// The record of the step that owns the slot.
    pub(super) fn record(self) -> usize {
        usize::try_from(self.0 & ((1 << RECORD_BITS) - 1)).unwrap_or(usize::MAX)
    }

    /// Whether the slot holds a key and nobody owns it.
    #[inline]
    pub(super) fn is_settled(self) -> bool {
        self.0 & (OWNED | LIVE) == LIVE
    }

    /// Whether the slot holds no key and nobody owns it.
    pub(super) fn is_free(self) -> bool {
        self.0 & (OWNED | LIVE) == 0
    }

    #[inline]
    pub(super) fn payload(self) -> u64 {
        self.0 & PAYLOAD
    }

    /// The same generation with another packed state.
    #[inline]
    pub(super) fn with_payload(self, payload: u64) -> Self {
        Self((self.0 & !PAYLOAD) | (payload & PAYLOAD))
    }

    fn next_generation(self) -> u64 {
        (self.0 & GENERATION).wrapping_add(1 << PAYLOAD_BITS) & GENERATION
    }

    /// The head after a change of a slot that then holds a key.
    pub(super) fn next_live(self, payload: u64) -> Self {
        Self(LIVE | self.next_generation() | (payload & PAYLOAD))
    }

    /// The head after the slot was freed.
    pub(super) fn next_free(self) -> Self {
        Self(self.next_generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_move_on_and_come_round_without_touching_the_rest() {
        let mut head = Head::from_word(0);
        assert!(head.is_free());
        for i in 0..40_000_u64 {
            let next = head.next_live(i);
            assert!(next.is_settled() && next.payload() == i && next != head);
            assert_eq!(next.with_payload(7).payload(), 7);
            head = if i % 3 == 0 { next.next_free() } else { next };
            assert!(head.is_free() == (i % 3 == 0) && !head.is_owned());
        }
        let owned = Head::owned_by(200, u64::MAX);
        assert!(owned.is_owned() && !owned.is_settled() && !owned.is_free());
        assert_eq!(owned.record(), 200);
        assert_ne!(Head::owned_by(200, 1), Head::owned_by(200, 2));
    }
}
