//! What a layer adds to the service behind it, beside tower_governor.

mod instructions;
mod million;
mod subject;

use crate::harness::{Ratios, Table, figure, median};
use std::time::Instant;
use subject::{NAMES, Subject};

/// Calls a turn.
const CALLS: usize = 20_000;

pub fn run(rounds: usize, ratios: &mut Ratios) {
    eprintln!("layer: some {} s", 20 + 6 * rounds);
    added(rounds, ratios);
    million::run(rounds, ratios);
}

/// Makes `calls` calls of one subject: for those who count its instructions from outside.
pub fn calls(name: &str, calls: usize) -> Result<(), String> {
    (subject::named(name).ok_or_else(|| format!("no such subject: {name}"))?.calls)(calls);
    Ok(())
}

fn added(rounds: usize, ratios: &mut Ratios) {
    let mut subjects: Vec<Subject> = NAMES.into_iter().filter_map(subject::named).collect();
    let mut turns = vec![Vec::new(); subjects.len()];
    for turn in 0..=16 * rounds {
        for (subject, figures) in subjects.iter_mut().zip(&mut turns) {
            let nanos = nanos(subject);
            if turn > 0 {
                figures.push(nanos); // the first warms up
            }
        }
    }
    let nanos: Vec<f64> = turns.into_iter().map(median).collect();
    let instructions = instructions::of_a_call(&NAMES);

    let mut table = Table::new(
        "A request of one key through a layer, over a service that does nothing",
        &["ns", "ns added", "instructions", "added"],
    );
    for (place, subject) in subjects.iter().enumerate() {
        let counted = |count: &Vec<f64>| [figure(count[place]), figure(count[place] - count[0])];
        let [count, added] = instructions.as_ref().map_or_else(Default::default, counted);
        table.row(subject.name, [figure(nanos[place]), figure(nanos[place] - nanos[0]), count, added]);
    }
    print!("{table}");
    if instructions.is_none() {
        println!("No valgrind, no instructions.\n");
    }
    // Ours, and the peer's, by their place.
    for (name, ours, peer) in
        [("layer-admitted", 1, 4), ("layer-with-fields", 2, 5), ("layer-denied", 3, 6), ("layer-without-verdict", 7, 4)]
    {
        ratios.add(name, nanos[peer] - nanos[0], nanos[ours] - nanos[0]);
        if let Some(counts) = &instructions {
            ratios.add(format!("{name}-instructions"), counts[peer] - counts[0], counts[ours] - counts[0]);
        }
    }
}

fn nanos(subject: &mut Subject) -> f64 {
    let start = Instant::now();
    (subject.calls)(CALLS);
    start.elapsed().as_nanos() as f64 / CALLS as f64
}
