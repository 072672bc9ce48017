//! When the next request may go: the slots, and the stops after a refusal.

use super::{
    Learning,
    estimate::{Estimate, Stop},
    windows::Windows,
};
use limiter_core::Timestamp;
use std::time::Duration;

/// From this interval down, timers are too coarse to keep it, and servers that refuse for such jitter are beyond help.
const FINE: f64 = 0.01;
/// What a late request may catch up with there.
const SLACK: f64 = 0.01;
/// How many requests the average lateness is taken over, and the part of an interval that may be made up for.
const LAG_OVER: f64 = 128.0;
const LAG_MOST: f64 = 0.5;
/// The part by which what a request usually takes is moved by one that took longer or less.
const USUAL_STEP: f64 = 0.05;

/// One limit that is being learned: told what was sent and how it was answered, it says when the next may go.
///
/// See the [module](super) for an example and for how it works. It asks for nothing but calls in the order of what
/// happens; a `now` that steps back is taken as if it stood still.
#[derive(Clone, Debug)]
pub struct Pace {
    settings: Learning,
    estimate: Estimate,
    /// Instants are kept as seconds after the first.
    origin: Option<Timestamp>,
    /// When the next may go; and when it might, had the last not been on its way for longer than usual.
    next: f64,
    due: f64,
    last: f64,
    stopped: Option<Stopped>,
    /// How late requests go on the average: what that costs is made up for.
    lag: f64,
    /// How long requests usually take to be answered.
    usual: Option<f64>,
    windows: Windows,
    /// What was sent before belongs to an earlier stop.
    resumed: f64,
}

/// A request on its way, to be handed back with its outcome.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    at: f64,
    rate: f64,
    /// It went as soon as it might: its sender would use a faster pace.
    paced: bool,
    trial: bool,
}

/// From a refusal to the next request that is admitted.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    stop: Stop,
    /// When the newest refusal was heard of, and how long nothing is sent then.
    since: f64,
    wait: f64,
    /// When the server's window ends, and with it the stop; and whether that is relied on, or tried before.
    end: Option<f64>,
    is_relied_on: bool,
    /// The server has named the pause.
    named: bool,
    /// One request is on its way, to see.
    trial: bool,
}

impl Pace {
    /// Begins to learn.
    #[must_use]
    pub fn new(settings: Learning) -> Self {
        let estimate = Estimate::new(settings);
        Self {
            settings,
            estimate,
            origin: None,
            next: 0.0,
            due: 0.0,
            last: 0.0,
            stopped: None,
            lag: 0.0,
            usual: None,
            windows: Windows::new(),
            resumed: 0.0,
        }
    }

    /// How long the next request has to wait; `None` where the answer to one that is on its way decides that.
    #[must_use]
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let now = self.seconds(now);
        // Never longer than from now on, should the clock have stepped back.
        let wait = match &self.stopped {
            Some(stopped) if stopped.trial => return None,
            Some(stopped) => (stopped.since + stopped.wait - now).min(stopped.wait),
            None => (self.next - now).min(2.0 / self.estimate.rate()),
        };
        // A microsecond is the finest that a `Timestamp` tells.
        Some(if wait > 0.0 { duration(wait).saturating_add(Duration::from_micros(1)) } else { Duration::ZERO })
    }

    /// A request goes now, whether or not it had to [`wait`](Self::wait). Each is to be followed by one of
    /// [`admitted`](Self::admitted), [`refused`](Self::refused) and [`lost`](Self::lost).
    #[must_use = "the outcome is told with it"]
    pub fn sent(&mut self, now: Timestamp) -> Sent {
        let first = self.origin.is_none();
        self.origin.get_or_insert(now);
        let now = self.seconds(now);
        let interval = 1.0 / self.estimate.rate();
        let late = now - self.next;
        let paced = first || late <= interval.max(SLACK / 2.0);
        if interval < FINE {
            self.next = self.next.max(now - SLACK).min(now) + interval;
        } else {
            if paced && !first && self.stopped.is_none() {
                self.lag += ((now - self.due).clamp(0.0, interval) - self.lag) / LAG_OVER;
            }
            self.next = now + interval - self.lag.min(interval * LAG_MOST);
        }
        self.due = self.next;
        self.last = now;
        if first {
            self.estimate.begin(now);
        } else if !paced && self.stopped.is_none() {
            self.estimate.idle(late - interval);
        }
        let trial = self.stopped.as_mut().is_some_and(|stopped| !std::mem::replace(&mut stopped.trial, true));
        Sent { at: now, rate: self.estimate.rate(), paced, trial }
    }

    /// The server did not refuse it for its rate: it answered, with whatever else.
    pub fn admitted(&mut self, now: Timestamp, sent: Sent) {
        let now = self.seconds(now);
        self.arrived(now, &sent);
        self.estimate.count();
        self.windows.count(sent.at);
        match self.stopped {
            Some(stopped) if sent.trial => {
                self.stopped = None;
                self.resumed = sent.at;
                let shown = self.windows.limit(stopped.stop.first);
                self.estimate.resume(sent.at, &stopped.stop, shown);
                if !stopped.is_relied_on && !stopped.named {
                    self.windows.stop_ended(stopped.stop.last, sent.at);
                }
                self.next = now.max(sent.at + 1.0 / self.estimate.rate());
            }
            None if sent.paced && sent.at >= self.resumed => self.estimate.grow(now, sent.rate),
            _ => {}
        }
    }

    /// The server counted `sent` before `now`, maybe only just then: if that is later than usual, so is the next.
    fn arrived(&mut self, now: f64, sent: &Sent) {
        let took = now - sent.at;
        let usual = self.usual.get_or_insert(took);
        let excess = (took - *usual).max(0.0);
        let step = USUAL_STEP * usual.max(1e-4);
        *usual += (took - *usual).clamp(-step, step);
        let interval = 1.0 / self.estimate.rate();
        if sent.at >= self.last && interval >= FINE {
            self.next = self.next.max(self.due + excess.min(interval));
        }
    }

    /// The server refused it for its rate, and named a pause or not.
    pub fn refused(&mut self, now: Timestamp, sent: Sent, pause: Option<Duration>) {
        let now = self.seconds(now);
        let longest = self.settings.longest_pause();
        let wait = |otherwise: f64| pause.map_or(otherwise, |pause| pause.as_secs_f64()).min(longest);
        match &mut self.stopped {
            None if sent.at < self.resumed => {}
            None => {
                let stop = Stop { first: sent.at, last: sent.at, rate: sent.rate, refusals: 1, streak: 1 };
                let mut end_of = || self.windows.end_of(sent.at, 2.0 * self.estimate.stops());
                let (end, is_relied_on) = if pause.is_none() { end_of() } else { None }.unzip();
                let is_relied_on = is_relied_on == Some(true);
                let part = if is_relied_on { 1.0 } else { 0.5 };
                let otherwise = end.map_or(1.0 / self.estimate.rate(), |end| part * (end - now).max(0.0));
                let (wait, named) = (wait(otherwise), pause.is_some());
                self.stopped = Some(Stopped { stop, since: now, wait, end, is_relied_on, named, trial: false });
            }
            Some(stopped) => {
                stopped.stop.refusals = stopped.stop.refusals.saturating_add(1);
                stopped.stop.last = stopped.stop.last.max(sent.at);
                stopped.named |= pause.is_some();
                if sent.trial {
                    stopped.stop.streak = stopped.stop.streak.saturating_add(1);
                    stopped.trial = false;
                    let otherwise = match stopped.end.take() {
                        Some(end) if !stopped.is_relied_on => (end - now).max(0.0),
                        Some(_) => {
                            (self.windows, stopped.is_relied_on) = (Windows::new(), false);
                            1.0 / self.estimate.rate()
                        }
                        None => (2.0 * stopped.wait).max(1.0 / self.estimate.rate()),
                    };
                    stopped.wait = wait(otherwise);
                    stopped.since = now;
                }
            }
        }
    }

    /// Nobody knows how it was answered: it was given up, or found no connection.
    pub fn lost(&mut self, sent: Sent) {
        if let Some(stopped) = self.stopped.as_mut().filter(|_| sent.trial) {
            stopped.trial = false;
        }
    }

    /// The pace now, in requests a second. During a stop, the one that it began with.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.estimate.rate()
    }

    /// The best guess of the server's limit, in requests a second; `None` before the first refusal.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        self.estimate.limit()
    }

    /// Whether the server has just refused a request and none was admitted since.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    fn seconds(&self, now: Timestamp) -> f64 {
        now.saturating_since(self.origin.unwrap_or(now)).as_secs_f64()
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn at(seconds: f64) -> Timestamp {
        BEGIN.saturating_add(duration(seconds))
    }

    /// Sends as soon as it may, `n` times, each admitted at once; when the last went.
    fn admit(pace: &mut Pace, from: f64, n: u32) -> f64 {
        (0..n).fold(from, |now, _| {
            let now = now + pace.wait(at(now)).unwrap().as_secs_f64();
            let sent = pace.sent(at(now));
            pace.admitted(at(now), sent);
            now
        })
    }

    /// As one is refused: when, and the wait from then on.
    fn refuse(pace: &mut Pace, from: f64, pause: Option<Duration>) -> (f64, f64) {
        let now = from + pace.wait(at(from)).unwrap().as_secs_f64();
        let sent = pace.sent(at(now));
        pace.refused(at(now), sent, pause);
        (now, pace.wait(at(now)).unwrap().as_secs_f64())
    }

    #[test]
    fn each_refusal_in_a_row_doubles_the_pause_up_to_the_longest() {
        let mut pace = Pace::new(Learning::default().max_pause(Duration::from_secs(6)));
        let (mut now, mut waits) = (0.0, Vec::new());
        for _ in 0..5 {
            let (refused, wait) = refuse(&mut pace, now, None);
            waits.push(wait.round());
            now = refused;
        }
        assert_eq!(waits, [1.0, 2.0, 4.0, 6.0, 6.0]);
        assert!(pace.is_stopped() && pace.limit().is_none());
        admit(&mut pace, now, 1);
        assert!(!pace.is_stopped() && pace.limit().is_some() && pace.rate() < 1.0);
    }

    #[test]
    fn a_pause_that_the_server_names_is_kept_up_to_the_longest() {
        let mut pace = Pace::new(Learning::default());
        let (now, wait) = refuse(&mut pace, 0.0, Some(Duration::from_secs(30)));
        assert!((30.0..30.1).contains(&wait), "{wait}");
        let (_, wait) = refuse(&mut pace, now, Some(Duration::from_secs(1 << 40)));
        assert!((600.0..600.1).contains(&wait), "{wait}");
    }

    #[test]
    fn one_request_at_a_time_goes_while_the_server_refuses() {
        let mut pace = Pace::new(Learning::default());
        let (now, wait) = refuse(&mut pace, 0.0, None);
        let trial = pace.sent(at(now + wait));
        assert_eq!(pace.wait(at(now + wait + 3600.0)), None);
        // One that was given up is as if it had not been sent.
        pace.lost(trial);
        assert_eq!(pace.wait(at(now + wait)), Some(Duration::ZERO));
    }

    #[test]
    fn what_was_sent_before_a_stop_ended_begins_no_other() {
        let mut pace = Pace::new(Learning::default());
        let (mut now, mut sent) = (admit(&mut pace, 0.0, 30), Vec::new());
        for _ in 0..4 {
            now += pace.wait(at(now)).unwrap().as_secs_f64();
            sent.push(pace.sent(at(now)));
        }
        for sent in &sent[..2] {
            pace.refused(at(now), *sent, None);
        }
        now = admit(&mut pace, now, 1);
        let rate = pace.rate();
        for sent in &sent[2..] {
            pace.refused(at(now), *sent, None);
        }
        assert!(!pace.is_stopped());
        assert_eq!(pace.rate(), rate);
    }

    #[test]
    fn who_sends_less_than_the_pace_learns_nothing_from_being_admitted() {
        let mut pace = Pace::new(Learning::default());
        for i in 0..100 {
            let now = at(f64::from(i) * 10.0);
            assert_eq!(pace.wait(now), Some(Duration::ZERO));
            let sent = pace.sent(now);
            pace.admitted(now, sent);
        }
        assert!(pace.rate() < 2.0, "{}", pace.rate());
    }

    #[test]
    fn after_an_answer_that_took_longer_than_usual_the_next_waits_as_much_longer() {
        let mut pace = Pace::new(Learning::default().start(10.0).ceiling(10.0).floor(10.0));
        let mut now = 0.0;
        let mut go = |took: f64| {
            let sent = pace.sent(at(now));
            pace.admitted(at(now + took), sent);
            now += took;
            let wait = pace.wait(at(now)).unwrap().as_secs_f64();
            now += wait;
            took + wait
        };
        for _ in 0..20 {
            assert!((0.099..0.101).contains(&go(0.001)));
        }
        // Maybe it arrived late: from then on, an interval.
        assert!((0.129..0.131).contains(&go(0.031)));
        // What that cost is made up for by and by, not by the next alone.
        assert!((0.098..0.1).contains(&go(0.001)));
    }

    #[test]
    fn what_being_late_costs_is_made_up_for_on_the_average() {
        let mut pace = Pace::new(Learning::default().start(10.0).ceiling(10.0).floor(10.0));
        let mut now = 0.0;
        let mut send = |count: u32| {
            let begun = now;
            for _ in 0..count {
                now += pace.wait(at(now)).unwrap().as_secs_f64() + 0.02;
                let sent = pace.sent(at(now));
                pace.admitted(at(now), sent);
            }
            (now - begun) / f64::from(count)
        };
        assert!((0.11..0.121).contains(&send(20)), "too soon");
        send(1000);
        let interval = send(100);
        assert!((0.0999..0.1001).contains(&interval), "{interval}");
    }

    #[test]
    fn an_idle_hour_lowers_no_estimate() {
        let mut pace = Pace::new(Learning::default());
        let now = admit(&mut pace, 0.0, 30);
        let (now, _) = refuse(&mut pace, now, None);
        let now = admit(&mut pace, now, 200);
        let (now, _) = refuse(&mut pace, now, None);
        let mut busy = pace.clone();
        for (pace, idle) in [(&mut busy, 0.0), (&mut pace, 3600.0)] {
            let now = admit(pace, now, 200);
            let now = admit(pace, now + idle, 200);
            let (now, _) = refuse(pace, now, None);
            admit(pace, now, 1);
        }
        let (busy, idle) = (busy.limit().unwrap(), pace.limit().unwrap());
        assert!((0.95..1.05).contains(&(idle / busy)), "{busy} {idle}");
    }

    #[test]
    fn a_clock_that_steps_back_delays_by_two_intervals_at_most() {
        let mut pace = Pace::new(Learning::default());
        let now = admit(&mut pace, 1e6, 30);
        for back in [1.0, 3600.0, 1e7] {
            assert!(pace.wait(at(now - back)).unwrap().as_secs_f64() <= 2.0 / pace.rate() + 1e-5);
        }
        let sent = pace.sent(at(now - 3600.0));
        pace.refused(at(now - 7200.0), sent, None);
        assert!(pace.wait(at(now - 9000.0)).unwrap().as_secs_f64() <= 2.0 / pace.rate() + 1e-5);
        admit(&mut pace, now - 9000.0, 10);
        assert!(pace.rate().is_finite() && pace.rate() > 0.0);
    }

    #[test]
    fn settings_that_make_no_sense_panic_nowhere() {
        let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 1e-300];
        for (start, floor, ceiling) in odd.iter().flat_map(|a| odd.iter().flat_map(move |b| odd.map(|c| (*a, *b, c)))) {
            let learning = Learning::default().start(start).floor(floor).ceiling(ceiling).max_pause(Duration::MAX);
            let mut pace = Pace::new(learning);
            let now = admit(&mut pace, 0.0, 20);
            let (now, _) = refuse(&mut pace, now, Some(Duration::MAX));
            let sent = pace.sent(at(now));
            pace.refused(Timestamp::MAX, sent, None);
            assert!(pace.wait(Timestamp::MIN).is_some());
            admit(&mut pace, now, 20);
            assert!(pace.rate().is_finite() && pace.rate() > 0.0, "{learning:?}");
        }
    }
}
