//! Turns, medians and tables.

use crate::cpu;
use std::{
    fmt, hint,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Runs `work(ops)` on each of `threads` threads, which start together, each on a processor of its own, and go on until
/// all have been timed; nanoseconds an operation and thread.
pub fn nanos(threads: usize, ops: usize, work: &(dyn Fn(usize) + Sync)) -> f64 {
    let (ready, timed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (ready, timed) = (&ready, &timed);
    let worker = |number: usize| {
        cpu::pin(number);
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < threads {
            hint::spin_loop();
        }
        let start = Instant::now();
        work(ops);
        let nanos = start.elapsed().as_nanos() as f64 / ops as f64;
        timed.fetch_add(1, Ordering::SeqCst);
        while timed.load(Ordering::SeqCst) < threads {
            work(100); // the others are still to meet somebody
        }
        nanos
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || worker(number))).collect();
        let each: Vec<f64> = workers.into_iter().map(|worker| worker.join().expect("a worker panicked")).collect();
        each.iter().sum::<f64>() / each.len() as f64
    })
}

/// Random numbers, the same in every run (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A figure in few digits.
pub fn figure(value: f64) -> String {
    match value.abs() {
        below if below < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A table in Markdown.
pub struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Self {
        let head = std::iter::once("").chain(head.iter().copied()).map(str::to_owned).collect();
        Self { title: title.to_owned(), head, rows: Vec::new() }
    }

    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| lines().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).map(|column| width(column).unwrap_or(0)).collect();
        writeln!(f, "{}\n", self.title)?;
        for (number, row) in lines().enumerate() {
            for (column, &width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                if column == 0 { write!(f, "| {cell:<width$} |")? } else { write!(f, " {cell:>width$} |")? }
            }
            writeln!(f)?;
            if number == 0 {
                let dashes = |(column, _): (usize, &usize)| if column == 0 { "---" } else { "---:" };
                writeln!(f, "| {} |", widths.iter().enumerate().map(dashes).collect::<Vec<_>>().join(" | "))?;
            }
        }
        writeln!(f)
    }
}

/// The lines that end a run: the peer's figure by ours.
#[derive(Default)]
pub struct Ratios(Vec<(String, f64)>);

impl Ratios {
    pub fn add(&mut self, name: impl Into<String>, peer: f64, ours: f64) {
        self.0.push((name.into(), peer / ours));
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, ratio)| writeln!(f, "ratio {name} {ratio:.2}"))
    }
}
