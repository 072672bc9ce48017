//! One key's place in a shard: 32 bytes under the commonest quota.

use crate::{KeyState, Quota, algorithm::Cells};
use smallvec::smallvec;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) hash: u64,
    packed: Packed,
}

/// A state, small where it can be. `quota` is the fingerprint of what it was made under.
#[derive(Debug)]
enum Packed {
    /// One bucket, no block.
    Bucket { quota: u64, empty_at: u64 },
    /// Anything else.
    Full { quota: u64, state: Box<KeyState> },
}

impl Slot {
    pub(super) fn new(hash: u64, quota: u64, state: KeyState) -> Self {
        Self { hash, packed: Packed::new(quota, state) }
    }

    /// The quota the state was made under, by [`quota_id`].
    #[inline]
    pub(super) fn quota(&self) -> u64 {
        match self.packed {
            Packed::Bucket { quota, .. } | Packed::Full { quota, .. } => quota,
        }
    }

    /// The one bucket of a state made under this quota, if that is all it is.
    #[inline]
    pub(super) fn as_bucket_mut(&mut self, id: u64) -> Option<&mut u64> {
        match &mut self.packed {
            Packed::Bucket { quota, empty_at } if *quota == id => Some(empty_at),
            _ => None,
        }
    }

    /// The state made under this quota where it is one that never fits a bucket's place.
    #[inline]
    pub(super) fn as_state_mut(&mut self, id: u64) -> Option<&mut KeyState> {
        match &mut self.packed {
            Packed::Full { quota, state }
                if *quota == id && !matches!(state.cells, Cells::Gcra(ref cells) if cells.len() == 1) =>
            {
                Some(state)
            }
            _ => None,
        }
    }

    /// The state, moved out: [`put`](Self::put) it back.
    #[inline]
    pub(super) fn take(&mut self) -> KeyState {
        match &mut self.packed {
            Packed::Bucket { empty_at, .. } => bucket(*empty_at),
            Packed::Full { state, .. } => std::mem::take(state),
        }
    }

    #[inline]
    pub(super) fn put(&mut self, quota: u64, new: KeyState) {
        match (&mut self.packed, as_bucket(&new)) {
            (Packed::Full { quota: of, state }, None) => {
                *of = quota;
                **state = new;
            }
            (packed, Some(empty_at)) => *packed = Packed::Bucket { quota, empty_at },
            (packed, None) => *packed = Packed::new(quota, new),
        }
    }

    pub(super) fn is_idle(&self, quota: &Quota, now: crate::Timestamp) -> bool {
        match &self.packed {
            Packed::Bucket { empty_at, .. } => bucket(*empty_at).is_idle(quota, now),
            // One that is on its way through a decision was moved out, and is put back.
            Packed::Full { state, .. } => !state.is_untouched() && state.is_idle(quota, now),
        }
    }
}

impl Packed {
    fn new(quota: u64, state: KeyState) -> Self {
        match as_bucket(&state) {
            Some(empty_at) => Self::Bucket { quota, empty_at },
            None => Self::Full { quota, state: Box::new(state) },
        }
    }
}

/// What tells a quota's states from another's inside a slot.
#[inline]
pub(super) fn quota_id(quota: &Quota) -> u64 {
    quota.fingerprint()
}

fn bucket(empty_at: u64) -> KeyState {
    KeyState { blocked_until: 0, reserved: 0, changed_at: 0, cells: Cells::Gcra(smallvec![empty_at]) }
}

#[inline]
fn as_bucket(state: &KeyState) -> Option<u64> {
    match (&state.cells, state.blocked_until, state.reserved, state.changed_at) {
        (Cells::Gcra(cells), 0, 0, 0) => match cells.as_slice() {
            &[empty_at] => Some(empty_at),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_32_bytes() {
        assert_eq!(size_of::<Slot>(), 32);
    }
}
