//! Events, for the `metrics` crate.
//!
//! Labels are the host and what tells the cases apart, never a key or a path. Whoever asks many hosts may want to leave
//! the host out, by a layer of its recorder.

use crate::Event;
use limiter_core::Error;
use metrics::{counter, histogram};

/// Times are in seconds.
pub(crate) fn event(event: &Event<'_>) {
    let host = event.host().to_owned();
    match event {
        Event::Waited { wait, .. } => {
            histogram!("limiter_client_wait_seconds", "host" => host).record(wait.as_secs_f64());
        }
        Event::Refused { status, .. } => {
            counter!("limiter_client_refused_total", "host" => host, "status" => status.as_u16().to_string())
                .increment(1);
        }
        Event::Paused { pause, reason, .. } => {
            histogram!("limiter_client_pause_seconds", "host" => host, "reason" => reason.to_string())
                .record(pause.as_secs_f64());
        }
        Event::Resent { .. } => counter!("limiter_client_resent_total", "host" => host).increment(1),
        Event::GaveUp { error, .. } => {
            counter!("limiter_client_not_sent_total", "host" => host, "reason" => of_error(error)).increment(1);
        }
    }
}

fn of_error(error: &Error) -> &'static str {
    match error {
        Error::WaitTooLong { .. } => "wait too long",
        Error::TimedOut { .. } => "timed out",
        Error::QueueFull { .. } => "queue full",
        Error::NeverFits { .. } => "never fits",
        Error::Closed => "closed",
        Error::Store(_) => "store failed",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PauseReason;
    use metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };
    use reqwest::StatusCode;
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    /// A line for each measure: its name, its labels, its value.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Line(String, Lines);

    impl Line {
        fn of(key: &Key, lines: &Lines) -> Arc<Self> {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::new(Self(format!("{} {}", key.name(), labels.join(" ")), lines.clone()))
        }

        fn write(&self, value: f64) {
            self.1.0.lock().unwrap().push(format!("{} {value}", self.0));
        }
    }

    impl CounterFn for Line {
        fn increment(&self, value: u64) {
            self.write(value as f64);
        }

        fn absolute(&self, _: u64) {}
    }

    impl HistogramFn for Line {
        fn record(&self, value: f64) {
            self.write(value);
        }
    }

    impl Recorder for Lines {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Line::of(key, self))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Line::of(key, self))
        }
    }

    #[test]
    fn every_event_is_measured_by_host_and_case() {
        let (lines, host, half) = (Lines::default(), "a.example", Duration::from_millis(500));
        let error = Error::WaitTooLong { needed: 2 * half, allowed: half };
        metrics::with_local_recorder(&lines, || {
            event(&Event::Waited { host, wait: half });
            event(&Event::Refused { host, status: StatusCode::TOO_MANY_REQUESTS });
            event(&Event::Paused { host, pause: 2 * half, reason: PauseReason::RetryAfter });
            event(&Event::Resent { host, time: 1 });
            event(&Event::GaveUp { host, error: &error });
        });
        assert_eq!(
            *lines.0.lock().unwrap(),
            [
                "limiter_client_wait_seconds host=a.example 0.5",
                "limiter_client_refused_total host=a.example status=429 1",
                "limiter_client_pause_seconds host=a.example reason=Retry-After 1",
                "limiter_client_resent_total host=a.example 1",
                "limiter_client_not_sent_total host=a.example reason=wait too long 1",
            ]
        );
    }
}
