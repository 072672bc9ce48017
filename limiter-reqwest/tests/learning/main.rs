//! What a `Pace` learns of servers that tell nothing, in virtual time. `-- --nocapture` shows the figures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]

mod line;
#[path = "../../../limiter-core/tests/support/random.rs"]
#[allow(dead_code)]
mod random;
mod run;
mod servers;

use limiter_reqwest::learn::Learning;
use run::{FAR, NEAR, Network, Outcome, Run};
use servers::Kind::{self, Bucket, Counters, Fixed, Log, Nginx};

/// Those that show within a second what a pace leads to.
const QUICK: [Kind; 10] =
    [Fixed(1), Log(1), Counters(1), Bucket(1), Bucket(2), Bucket(10), Bucket(100), Nginx(0), Nginx(5), Nginx(50)];
const SLOW: [Kind; 6] = [Fixed(10), Log(10), Counters(10), Fixed(60), Log(60), Counters(60)];
const SEEDS: u64 = 3;

fn line(what: &str, run: &Run, outcome: &Outcome) -> String {
    let Outcome { used, refused, refused_early, settled, .. } = outcome;
    let (used, refused) = (used * 100.0, refused * 100.0);
    let limit = format!("{:?} {:.3}/s", run.kind, run.rate);
    format!(
        "{what:10} {limit:19} used {used:5.1}%  refused {refused:4.2}%, early {refused_early:3}  settled {settled:5.1} s"
    )
}

/// Runs, prints and collects what misses the target.
#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn expect(&mut self, what: &str, run: &Run, used: f64, refused: f64) {
        self.expect_of(SEEDS, what, run, used, refused);
    }

    fn expect_of(&mut self, seeds: u64, what: &str, run: &Run, used: f64, refused: f64) {
        let outcome = run.outcomes(seeds);
        let line = line(what, run, &outcome);
        println!("{line}");
        // Not a number is no success either.
        if !(outcome.used >= used && outcome.refused <= refused) {
            self.0.push(line);
        }
    }

    fn check(self) {
        assert!(self.0.is_empty(), "short of the target:\n{}", self.0.join("\n"));
    }
}

#[test]
fn after_ten_seconds_a_hundredth_is_refused_at_most_and_nine_tenths_are_used() {
    let mut table = Table::default();
    for kind in QUICK {
        for rate in [10.0, 100.0, 1000.0] {
            // Whoever has no burst refuses for jitter; see `without_a_burst_jitter_costs`. Two counters admit N - 1.
            if (kind.has_no_burst() && rate > 100.0) || (kind == Counters(1) && rate < 100.0) {
                continue;
            }
            table.expect("", &Run::new(kind, rate), 0.9, 0.01);
        }
    }
    table.check();
}

/// A limit is found in about a hundred requests; by a dozen windows the echo of the first burst is gone.
fn time_to_find(run: &Run) -> f64 {
    10_f64.max(100.0 / run.rate).max(12.0 * run.kind.period())
}

#[test]
fn slow_limits_are_found_in_a_hundred_requests_or_a_dozen_windows() {
    let mut table = Table::default();
    let slow = |period: f64| if period > 10.0 { &[1.0, 10.0][..] } else { &[1.0, 10.0, 100.0] };
    let of_slow = SLOW.iter().flat_map(|kind| slow(kind.period()).iter().map(|rate| (*kind, *rate)));
    for (kind, rate) in QUICK.iter().filter(|kind| **kind != Counters(1)).map(|kind| (*kind, 1.0)).chain(of_slow) {
        let mut run = Run::new(kind, rate);
        run.grace.0 = time_to_find(&run);
        run.seconds = run.seconds.max(40.0 * kind.period());
        // Two counters of ten admit nine.
        let used = if kind == Counters(10) && rate == 1.0 { 0.85 } else { 0.9 };
        table.expect("slow", &run, used, 0.01);
    }
    table.check();
}

#[test]
fn until_a_slow_limit_is_found_refusals_are_few() {
    for (kind, rate) in [(Fixed(60), 1.0 / 6.0), (Log(60), 1.0 / 6.0), (Bucket(10), 1.0 / 6.0), (Fixed(60), 10.0)] {
        let mut run = Run::new(kind, rate);
        (run.seconds, run.grace.0) = (180.0, 180.0);
        let outcome = run.outcomes(SEEDS);
        println!("{}", line("early", &run, &outcome));
        let few = if rate < 1.0 { 20 } else { 60 };
        assert!(outcome.refused_early <= few, "{}", line("early", &run, &outcome));
    }
}

#[test]
fn a_limit_that_changes_is_followed() {
    let mut table = Table::default();
    for kind in QUICK {
        for rate in [10.0, 100.0] {
            for factor in [0.5_f64, 2.0, 0.1, 10.0] {
                let (lowest, highest) = (rate * factor.min(1.0), rate * factor.max(1.0));
                if (kind.has_no_burst() && highest > 100.0) || (kind == Counters(1) && lowest < 50.0) {
                    continue;
                }
                let mut run = Run::new(kind, rate);
                run.changes = vec![(run.seconds / 2.0, factor)];
                run.seconds = run.seconds / 2.0 + 60_f64.max(2000.0 / (rate * factor));
                // A fall is felt at once; a rise shows at the next probe.
                run.grace.1 = if factor < 1.0 { 10_f64.max(100.0 / lowest) } else { 20_f64.max(400.0 / rate) };
                table.expect(&format!("times {factor}"), &run, 0.9, 0.01);
            }
        }
    }
    table.check();
}

/// As in `learning_servers`: 40 a second, then 20, then 40 again, each judged from ten seconds after it began.
fn changing(kind: Kind, late: f64) -> Run {
    let mut run = Run::new(kind, 40.0);
    (run.seconds, run.changes) = (100.0, vec![(30.0, 0.5), (60.0, 1.0)]);
    run.network = Network { round_trip: 0.001, late, ..NEAR };
    run
}

#[test]
fn ten_seconds_after_a_change_nine_tenths_are_used_also_by_who_is_late() {
    let mut table = Table::default();
    for kind in [Fixed(1), Counters(1), Log(1), Bucket(5), Nginx(5), Nginx(0)] {
        for late in [0.0, 0.000_5] {
            table.expect_of(40, &format!("late {late}"), &changing(kind, late), 0.9, 0.01);
        }
    }
    table.check();
}

#[test]
fn without_a_burst_being_late_costs_what_it_must() {
    // Late in sending, late on the way there, and the answer late to show it: each lengthens an interval.
    for (late, part) in [(0.000_5, 0.9), (0.001, 0.9), (0.002, 0.85)] {
        let mut run = changing(Nginx(0), late);
        run.changes.clear();
        let outcome = run.outcomes(40);
        println!("{}", line(&format!("late {late}"), &run, &outcome));
        let always = 1.0 / (1.0 + 3.0 * late * run.rate);
        assert!(outcome.refused <= 0.01 && outcome.used >= part * always, "{}", line("late", &run, &outcome));
    }
}

#[test]
fn a_network_with_jitter_and_few_callers_changes_nothing_for_limits_with_a_burst() {
    let mut table = Table::default();
    for kind in [Fixed(1), Log(1), Bucket(10), Bucket(100), Nginx(5), Nginx(50)] {
        for rate in [10.0, 100.0] {
            for callers in [16, 256] {
                let mut run = Run::new(kind, rate);
                run.network = FAR;
                run.network.callers = callers;
                table.expect(&format!("far {callers}"), &run, 0.9, 0.01);
            }
        }
    }
    table.check();
}

#[test]
fn without_a_burst_jitter_costs_what_it_must() {
    // An interval that always arrives longer than the server's must be longer by the jitter.
    for (kind, rate, jitter) in [(Nginx(0), 100.0, 0.002), (Bucket(1), 100.0, 0.002), (Nginx(0), 1000.0, 0.000_2)] {
        let mut run = Run::new(kind, rate);
        run.network.jitter = jitter;
        let outcome = run.outcomes(SEEDS);
        println!("{}", line("jitter", &run, &outcome));
        let always = 1.0 / (1.0 + rate * jitter);
        assert!(outcome.refused <= 0.01 && outcome.used >= 0.9 * always, "{}", line("jitter", &run, &outcome));
    }
}

#[test]
fn a_ceiling_is_never_left_and_a_floor_is_kept() {
    for kind in [Bucket(100), Fixed(1)] {
        let mut run = Run::new(kind, 50.0);
        run.learning = Learning::default().ceiling(5.0);
        let outcome = run.outcomes(SEEDS);
        assert!(outcome.fastest <= 5.0, "{outcome:?}");
        // Nothing refused, and all of what is allowed.
        assert!(outcome.refused == 0.0 && outcome.refused_early == 0 && outcome.used > 0.099, "{outcome:?}");
        // As fast as it is told to go at least, even where that is refused.
        run.learning = Learning::default().start(100.0).floor(100.0);
        let outcome = run.outcomes(1);
        assert!(outcome.fastest >= 100.0 && outcome.used > 0.8 && outcome.refused > 0.05, "{outcome:?}");
    }
}
