//! What the one process that is alone with a file does before anybody uses it.

use super::{
    chain::{self, Chain},
    file::Alone,
    head::Head,
    layout::{Layout, header},
    map::Map,
    owner::Owner,
    record::Record,
    slot,
    words::Words,
};

/// Ends every step that was cut short; after a reboot also drops what no longer makes sense.
pub(super) fn restore(map: &Map, layout: &Layout, me: Owner, found: Alone) {
    let words = Words::new(map.words(), layout);
    for record in (0..layout.records()).map(|index| Record::new(words, index)) {
        let owner = record.owner();
        if owner != Owner::NOBODY {
            record.take_over(owner, me); // whoever it was: nobody else is here
        }
    }
    if found == Alone::NewBoot {
        check_slots(words);
    }
    if layout.overflow_slots().all(|slot| words.tag(slot) == 0) {
        words.store(header::OVERFLOW_USED, 0);
    }
}

/// A machine that lost power may have written some pages and not others: slots that cannot be read are freed, tags and
/// claims are made anew from the slots.
fn check_slots(words: Words<'_>) {
    let layout = words.layout;
    (0..layout.blocks).for_each(|block| words.store(layout.claim(block), 0));
    for index in 0..layout.slots() {
        let first = words.get(layout.slot(index) + slot::FIRST);
        let chains: Vec<Chain> = slot::chains(words, index).collect();
        let makes_sense = match slot::look(words, index) {
            slot::Look::State(found) => first != 0 && found.stored_quota().is_some(),
            _ => false,
        };
        if makes_sense && claim_all(words, index, &chains) {
            words.set_tag(index, first);
        } else {
            words.set_tag(index, 0);
            let head = words.head(index);
            let free = if head.is_owned() { Head::from_word(0) } else { head };
            words.set_head(index, free.next_free());
            chain::free_all(words, index, &chains);
        }
    }
}

/// Claims the blocks of a slot; whether none of them is another's.
fn claim_all(words: Words<'_>, slot: usize, chains: &[Chain]) -> bool {
    chains
        .iter()
        .flat_map(|chain| chain.blocks(words))
        .all(|block| words.swap(words.layout.claim(block as usize), 0, slot as u64 + 1))
}
