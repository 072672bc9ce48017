//! One rate of a bucket or of a fixed window, without a block: one compare-and-swap of the slot's head.

use super::{
    core::Core,
    packed::Packed,
    slot::{BASE, FINGERPRINT, FIRST, IS_PACKED, META, SECOND},
    words::Name,
};
use crate::{
    Clock, Decision, Rate,
    algorithm::{Mode, decide_one},
    quota::Plan,
    store::Demand,
};

impl Core {
    /// The decision on a key whose state lies packed in a head; `None` where it does not, or no longer can.
    #[inline]
    pub(super) fn decide_packed(&self, demand: &Demand<'_>, clock: Option<&dyn Clock>, mode: Mode) -> Option<Decision> {
        let [rate] = demand.quota.rates() else { return None };
        match demand.quota.plan() {
            Plan::Gcra(meters) => self.swap(meters.first()?, rate, demand, clock, mode),
            Plan::FixedWindow(meters) => self.swap(meters.first()?, rate, demand, clock, mode),
            _ => None,
        }
    }

    #[inline]
    fn swap<M: Packed>(
        &self,
        meter: &M,
        rate: &Rate,
        demand: &Demand<'_>,
        clock: Option<&dyn Clock>,
        mode: Mode,
    ) -> Option<Decision> {
        let name = self.name(demand.scope, demand.key);
        let words = self.words();
        let slot = words.places(name).find(|slot| words.tag(*slot) == name.first)?;
        let at = words.layout.slot(slot);
        loop {
            let head = words.head(slot);
            if !head.is_settled()
                || words.get(at + META) & IS_PACKED == 0
                || words.get(at + FINGERPRINT) != demand.quota.fingerprint()
                || (Name { first: words.get(at + FIRST), second: words.get(at + SECOND) }) != name
            {
                return None;
            }
            // All of this was read after the head, and holds as long as its generation does.
            let base = words.get(at + BASE);
            let mut state = M::unpack(base, head.payload());
            let decision = decide_one(meter, rate, &mut state, self.time(clock), demand.cost, mode);
            let next = head.with_payload(M::pack(base, &state)?);
            let holds = if next == head { words.head(slot) == head } else { words.swap_head(slot, head, next) };
            if holds {
                return Some(decision);
            }
        }
    }
}
