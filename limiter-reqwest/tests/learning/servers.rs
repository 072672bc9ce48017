//! Servers in virtual time, one a kind of limit. Instants are microseconds.

use std::collections::VecDeque;

const SECOND: u64 = 1_000_000;

/// What refuses requests, and for what it would never do so.
pub(crate) trait Server {
    fn admits(&mut self, now: u64) -> bool;

    /// From now on another rate, in requests a second; what was counted stays.
    fn change(&mut self, rate: f64);
}

/// A kind of limit, without its rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Windows of so many seconds that begin at any phase.
    Fixed(u64),
    /// Never more than the limit in any so many seconds.
    Log(u64),
    /// Two counters, the former window's weighted by how much of it is still in sight.
    Counters(u64),
    /// A bucket that holds so many requests; GCRA and a leaky bucket (a meter) decide the same.
    Bucket(u64),
    /// `limit_req` with this `burst=`, `nodelay`: counts in thousandths of a request, on a clock of milliseconds.
    Nginx(u64),
}

impl Kind {
    /// `phase`, below 1, is where in its window the server is.
    pub(crate) fn server(self, rate: f64, phase: f64) -> Box<dyn Server> {
        let phased = |period: u64| (phase * (period * SECOND) as f64) as u64;
        match self {
            Kind::Fixed(period) => Box::new(Fixed { rate, period, phase: phased(period), window: 0, count: 0.0 }),
            Kind::Log(period) => Box::new(Log { rate, period, log: VecDeque::new() }),
            Kind::Counters(period) => {
                Box::new(Counters { rate, period, phase: phased(period), window: 0, count: 0.0, former: 0.0 })
            }
            Kind::Bucket(burst) => Box::new(Bucket { rate, burst: burst as f64, level: burst as f64, at: 0 }),
            Kind::Nginx(burst) => Box::new(Nginx { rate, burst, excess: 0.0, last: None }),
        }
    }

    /// The longest time before the server shows that a pace is too much, beside its bursts; in seconds.
    pub(crate) fn period(self) -> f64 {
        match self {
            Kind::Fixed(period) | Kind::Log(period) | Kind::Counters(period) => period as f64,
            Kind::Bucket(_) | Kind::Nginx(_) => 0.0,
        }
    }

    /// Whether it refuses what comes a little earlier than the interval.
    pub(crate) fn has_no_burst(self) -> bool {
        matches!(self, Kind::Bucket(1) | Kind::Nginx(0))
    }
}

/// Whole requests a period.
fn limit(rate: f64, period: u64) -> f64 {
    (rate * period as f64).round().max(1.0)
}

struct Fixed {
    rate: f64,
    period: u64,
    phase: u64,
    window: u64,
    count: f64,
}

impl Server for Fixed {
    fn admits(&mut self, now: u64) -> bool {
        let window = (now + self.phase) / (self.period * SECOND);
        if window != self.window {
            (self.window, self.count) = (window, 0.0);
        }
        let admitted = self.count + 1.0 <= limit(self.rate, self.period);
        self.count += f64::from(u8::from(admitted));
        admitted
    }

    fn change(&mut self, rate: f64) {
        self.rate = rate;
    }
}

struct Log {
    rate: f64,
    period: u64,
    log: VecDeque<u64>,
}

impl Server for Log {
    fn admits(&mut self, now: u64) -> bool {
        while self.log.front().is_some_and(|at| at + self.period * SECOND <= now) {
            self.log.pop_front();
        }
        let admitted = self.log.len() as f64 + 1.0 <= limit(self.rate, self.period);
        if admitted {
            self.log.push_back(now);
        }
        admitted
    }

    fn change(&mut self, rate: f64) {
        self.rate = rate;
    }
}

struct Counters {
    rate: f64,
    period: u64,
    phase: u64,
    window: u64,
    count: f64,
    former: f64,
}

impl Server for Counters {
    fn admits(&mut self, now: u64) -> bool {
        let period = self.period * SECOND;
        let (window, passed) = ((now + self.phase) / period, (now + self.phase) % period);
        if window != self.window {
            self.former = if window == self.window + 1 { self.count } else { 0.0 };
            (self.window, self.count) = (window, 0.0);
        }
        let in_sight = 1.0 - passed as f64 / period as f64;
        let admitted = self.former * in_sight + self.count + 1.0 <= limit(self.rate, self.period);
        self.count += f64::from(u8::from(admitted));
        admitted
    }

    fn change(&mut self, rate: f64) {
        self.rate = rate;
    }
}

struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: u64,
}

impl Server for Bucket {
    fn admits(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.at) as f64 / SECOND as f64;
        self.at = now;
        self.level = (self.level + passed * self.rate).min(self.burst);
        let admitted = self.level >= 1.0 - 1e-9;
        self.level -= f64::from(u8::from(admitted));
        admitted
    }

    fn change(&mut self, rate: f64) {
        self.rate = rate;
    }
}

struct Nginx {
    rate: f64,
    burst: u64,
    /// In thousandths of a request.
    excess: f64,
    last: Option<u64>,
}

impl Server for Nginx {
    fn admits(&mut self, now: u64) -> bool {
        let now = now / 1000;
        let Some(last) = self.last else {
            self.last = Some(now);
            return true;
        };
        let drained = ((self.rate * 1000.0).round() * (now - last) as f64 / 1000.0).floor();
        let excess = (self.excess - drained + 1000.0).max(0.0);
        if excess > self.burst as f64 * 1000.0 {
            return false;
        }
        (self.excess, self.last) = (excess, Some(now));
        true
    }

    fn change(&mut self, rate: f64) {
        self.rate = rate;
    }
}
