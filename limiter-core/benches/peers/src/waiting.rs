//! Many tasks wait for one key; one task acquires what is there.

mod subject;

use crate::{
    cpu,
    harness::{Ratios, Table, figure, median},
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Wake, Waker},
    time::Instant,
};
use subject::{Governor, LeakyBucket, OurKey, Ours, Subject, Yield};
use tokio::runtime::{Builder, Runtime};

const TASKS: u64 = 10_000;
const ACQUISITIONS: u64 = 2 * TASKS;
const PER_SECOND: u32 = 10_000;

/// Acquisitions a turn where none has to wait.
const FREE: u32 = 20_000;

pub fn run(rounds: usize, ratios: &mut Ratios) {
    eprintln!("waiting: some {} s", 20 * (rounds + 1));
    waiting(rounds, ratios);
    free(rounds, ratios);
}

fn waiting(rounds: usize, ratios: &mut Ratios) {
    // Each starts with a full burst: all but that many acquisitions wait.
    let after_burst = |burst: u64| Some((ACQUISITIONS - burst) as f64 / f64::from(PER_SECOND));
    let contestants = [
        Contestant::new(OURS, after_burst(100), || Ours::new("10000/s burst 100")),
        Contestant::new(GOVERNOR, after_burst(100), || Governor::new(PER_SECOND, 100)),
        Contestant::new("leaky-bucket, 10 each ms, max 100", after_burst(100), || LeakyBucket::new(10, 100)),
        Contestant::new("limiter, gcra, burst 10", after_burst(10), || Ours::new("10000/s burst 10")),
        Contestant::new("governor, burst 10", after_burst(10), || Governor::new(PER_SECOND, 10)),
        Contestant::new("limiter, gcra, burst 1", after_burst(1), || Ours::new("10000/s burst 1")),
        // A window's units come together, and as many more as soon as they have left it.
        Contestant::new("limiter, sliding_log 1000/100ms", Some(1.9), || Ours::new("sliding_log 1000/100ms")),
        Contestant::new("no limiter, the tasks yield", None, || Yield),
    ];
    let mut costs: Vec<Vec<Cost>> = contestants.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contestant, costs) in contestants.iter().zip(&mut costs) {
            costs.push((contestant.cost)());
        }
    }
    let of = |index: usize, what: fn(&Cost) -> f64| median(costs[index].iter().map(what).collect());

    let title = "10,000 tasks on one key, twice each, at 10,000/s; polls and CPU an acquisition, pairs out of order";
    let mut table = Table::new(title, &["polls", "CPU µs", "time", "granted", "resumed"]);
    for (index, contestant) in contestants.iter().enumerate() {
        let elapsed = of(index, |cost| cost.elapsed_s);
        let error = contestant.ideal_s.map(|ideal| format!("{:+.2}%", 100.0 * (elapsed / ideal - 1.0)));
        let order = contestant.ideal_s.map(|_| (contestant.order)());
        let pairs = |count: fn(&Order) -> u64| order.as_ref().map(|order| share_of_pairs(count(order)));
        table.row(
            contestant.name,
            [
                format!("{:.2}", of(index, |cost| cost.polls)),
                figure(of(index, |cost| cost.cpu_us)),
                error.unwrap_or_default(),
                pairs(|order| order.granted).unwrap_or_default(),
                pairs(|order| order.resumed).unwrap_or_default(),
            ],
        );
    }
    print!("{table}");
    let place = |name| contestants.iter().position(|contestant| contestant.name == name).expect("a contestant");
    let (ours, governor) = (place(OURS), place(GOVERNOR));
    ratios.add("waiting-polls", of(governor, |cost| cost.polls), of(ours, |cost| cost.polls));
    ratios.add("waiting-cpu", of(governor, |cost| cost.cpu_us), of(ours, |cost| cost.cpu_us));
}

const OURS: &str = "limiter, gcra, burst 100";
const GOVERNOR: &str = "governor until_ready, burst 100";

fn share_of_pairs(inverted: u64) -> String {
    let pairs = (ACQUISITIONS * (ACQUISITIONS - 1) / 2) as f64;
    if inverted == 0 { "0".to_owned() } else { format!("{inverted} ({:.3}%)", 100.0 * inverted as f64 / pairs) }
}

struct Contestant {
    name: &'static str,
    /// The seconds it should take.
    ideal_s: Option<f64>,
    cost: Box<dyn Fn() -> Cost>,
    order: Box<dyn Fn() -> Order>,
}

impl Contestant {
    fn new<S: Subject>(name: &'static str, ideal_s: Option<f64>, make: impl Fn() -> S + Copy + 'static) -> Self {
        Self { name, ideal_s, cost: Box::new(move || cost(make)), order: Box::new(move || order(make)) }
    }
}

/// What a turn took.
struct Cost {
    /// An acquisition.
    polls: f64,
    /// An acquisition.
    cpu_us: f64,
    /// From the first request to the last grant.
    elapsed_s: f64,
}

fn cost<S: Subject>(make: impl Fn() -> S) -> Cost {
    let (runtime, subject) = (runtime(), make());
    let (polls, last_ns) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (start, cpu_before) = (Instant::now(), cpu::used());
    runtime.block_on(async {
        let task = |_| {
            let (subject, polls, last_ns) = (subject.clone(), Arc::clone(&polls), Arc::clone(&last_ns));
            tokio::spawn(async move {
                let mut mine = 0;
                for _ in 0..ACQUISITIONS / TASKS {
                    let mut acquire = pin!(subject.acquire());
                    poll_fn(|cx| {
                        mine += 1;
                        acquire.as_mut().poll(cx)
                    })
                    .await;
                }
                last_ns.fetch_max(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                polls.fetch_add(mine, Ordering::Relaxed);
            })
        };
        let tasks: Vec<_> = (0..TASKS).map(task).collect();
        for task in tasks {
            task.await.expect("a task panicked");
        }
    });
    let cpu_us = (cpu::used() - cpu_before).as_secs_f64() * 1e6;
    let each = |sum: f64| sum / ACQUISITIONS as f64;
    Cost {
        polls: each(polls.load(Ordering::Relaxed) as f64),
        cpu_us: each(cpu_us),
        elapsed_s: last_ns.load(Ordering::Relaxed) as f64 / 1e9,
    }
}

/// Pairs of acquisitions of which the later was served first.
struct Order {
    granted: u64,
    /// The same by when the runtime let the tasks go on.
    resumed: u64,
}

/// A turn in which the requests' order is certain: each is put, by its first poll, under one lock.
fn order<S: Subject>(make: impl Fn() -> S) -> Order {
    let (runtime, subject) = (runtime(), make());
    let queue = Arc::new(Mutex::new(0_u64));
    let clock = Arc::new(AtomicU64::new(0));
    let mut served: Vec<Served> = runtime.block_on(async {
        let task = |_| {
            let (subject, queue, clock) = (subject.clone(), Arc::clone(&queue), Arc::clone(&clock));
            tokio::spawn(async move {
                let first = served::<S>(&subject, &queue, &clock).await;
                [first, served::<S>(&subject, &queue, &clock).await]
            })
        };
        let tasks: Vec<_> = (0..TASKS).map(task).collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.expect("a task panicked"));
        }
        all
    });
    served.sort_unstable_by_key(|served| served.place);
    let inverted = |by: fn(&Served) -> u64| inversions(&mut served.iter().map(by).collect::<Vec<u64>>());
    Order { granted: inverted(|served| served.granted), resumed: inverted(|served| served.resumed) }
}

/// When an acquisition was asked for and served, in counts of one clock each.
struct Served {
    place: u64,
    granted: u64,
    resumed: u64,
}

async fn served<S: Subject>(subject: &S, queue: &Mutex<u64>, clock: &Arc<AtomicU64>) -> Served {
    let mut acquire = pin!(subject.acquire());
    let mut asked: Option<(u64, Arc<Stamp>)> = None;
    poll_fn(|cx| {
        let (polled, (place, stamp), was_first) = match asked.take() {
            Some((place, stamp)) => {
                let waker = Waker::from(Arc::clone(&stamp));
                (acquire.as_mut().poll(&mut std::task::Context::from_waker(&waker)), (place, stamp), false)
            }
            None => {
                let stamp = Arc::new(Stamp::new(cx.waker(), clock));
                let waker = Waker::from(Arc::clone(&stamp));
                let mut queue = queue.lock().expect("the queue");
                *queue += 1;
                let polled = acquire.as_mut().poll(&mut std::task::Context::from_waker(&waker));
                stamp.note_if(polled.is_ready());
                (polled, (*queue, stamp), true)
            }
        };
        if polled.is_pending() {
            asked = Some((place, stamp));
            return Poll::Pending;
        }
        let resumed = clock.fetch_add(1, Ordering::SeqCst);
        let granted = if S::GRANTS_WHEN_IT_WAKES || was_first { stamp.noted() } else { resumed };
        Poll::Ready(Served { place, granted, resumed })
    })
    .await
}

/// A waker that notes when it was last used.
struct Stamp {
    inner: Waker,
    clock: Arc<AtomicU64>,
    noted: AtomicU64,
}

impl Stamp {
    fn new(inner: &Waker, clock: &Arc<AtomicU64>) -> Self {
        Self { inner: inner.clone(), clock: Arc::clone(clock), noted: AtomicU64::new(0) }
    }

    fn note_if(&self, is_now: bool) {
        if is_now {
            self.noted.store(self.clock.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    fn noted(&self) -> u64 {
        self.noted.load(Ordering::SeqCst)
    }
}

impl Wake for Stamp {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note_if(true);
        self.inner.wake_by_ref();
    }
}

/// Pairs that stand the wrong way round, counted while sorting.
fn inversions(values: &mut [u64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut count = inversions(left) + inversions(right);
    let mut later = 0;
    for value in left.iter() {
        later += right[later..].iter().take_while(|&other| other < value).count();
        count += later as u64;
    }
    values.sort_unstable();
    count
}

/// An acquire that finds its units there.
fn free(rounds: usize, ratios: &mut Ratios) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (handle, limiter) = (OurKey::new("1000000000/s"), Ours::new("1000000000/s"));
    let (fair, unfair) = (LeakyBucket::new(1 << 40, 1 << 50), LeakyBucket::unfair(1 << 40, 1 << 50));
    let governor = Governor::new(1_000_000_000, u32::MAX);
    let names = [
        "limiter, one key's handle",
        "limiter, by key",
        "leaky-bucket",
        "leaky-bucket, not fair",
        "governor until_ready",
    ];
    let mut figures = [const { Vec::new() }; 5];
    for _ in 0..80 * rounds {
        figures[0].push(free_nanos(&runtime, &handle));
        figures[1].push(free_nanos(&runtime, &limiter));
        figures[2].push(free_nanos(&runtime, &fair));
        figures[3].push(free_nanos(&runtime, &unfair));
        figures[4].push(free_nanos(&runtime, &governor));
    }
    let figures = figures.map(median);
    let mut table = Table::new("An acquire that need not wait", &["ns"]);
    for (name, nanos) in names.iter().zip(figures) {
        table.row(name, [figure(nanos)]);
    }
    print!("{table}");
    ratios.add("acquire-free", figures[2], figures[0]);
    ratios.add("acquire-free-by-key", figures[2], figures[1]);
}

fn free_nanos<S: Subject>(runtime: &Runtime, subject: &S) -> f64 {
    runtime.block_on(async {
        let start = Instant::now();
        for _ in 0..FREE {
            subject.acquire().await;
        }
        start.elapsed().as_nanos() as f64 / f64::from(FREE)
    })
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversions_are_counted_by_pairs() {
        assert_eq!(inversions(&mut [1, 2, 3, 4]), 0);
        assert_eq!(inversions(&mut [4, 3, 2, 1]), 6);
        assert_eq!(inversions(&mut [2, 1, 4, 3, 5]), 2);
        assert_eq!(inversions(&mut [1, 1, 1]), 0);
    }
}
