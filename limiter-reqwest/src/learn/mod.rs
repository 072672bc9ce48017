//! Finding the limit of a server that does not tell it.
//!
//! A [`Pace`] reads no clock, does not wait and sends nothing: it is told what happened and says when the next request may go,
//! so any client can use it. One `Pace` is one limit: one host, or whatever else shares a limit there. A [`Line`] is a
//! `Pace` that tasks wait for.
//!
//! ```
//! use limiter_core::Timestamp;
//! use limiter_reqwest::learn::{Learning, Pace};
//! use std::time::Duration;
//!
//! let mut now = Timestamp::from_micros(1_000_000);
//! let mut pace = Pace::new(Learning::default());
//! for _ in 0..20 {
//!     now = now.saturating_add(pace.wait(now).unwrap_or_default());
//!     let sent = pace.sent(now);
//!     now = now.saturating_add(Duration::from_millis(30));
//!     pace.admitted(now, sent); // the server had no objection: faster
//! }
//! assert!(pace.rate() > 10.0);
//! now = now.saturating_add(pace.wait(now).unwrap_or_default());
//! let sent = pace.sent(now);
//! pace.refused(now, sent, None); // it had: a pause, and slower from then on
//! assert!(pace.wait(now) > Some(Duration::ZERO));
//! ```
//!
//! # How
//!
//! * **Evenly paced.** One request every `1 / rate`, never a burst. Of all ways to send so many, this is the one that
//!   every kind of limit admits: windows (fixed or sliding), buckets, and nginx's `limit_req` without a burst, which
//!   refuses whatever comes earlier than its interval.
//! * **It begins slowly** ([`Learning::start`]) and speeds up by a quarter a request, at most twofold in half a second,
//!   until the first refusal.
//! * **A refusal stops everything but one request at a time**, after `1 / rate`, then twice that, and so on (or after
//!   the pause that the server names), until one is admitted. So a window that is full for a minute costs some ten
//!   refusals, whatever the rate.
//! * **Between two refusals the limit is measured.** What was admitted from the end of one stop to the end of the next,
//!   divided by the time, is at most the limit of any bucket or log, and that of a window over whole windows: the
//!   delivery rate, which BBR measures of a network. The pace at the refusal is an upper bound for limits without a
//!   burst. The next guess lies between them, and how far they are apart is how far the pace falls below it.
//! * **It then climbs back as CUBIC does:** to the guess first, and past it in steps that double, so that a limit that
//!   has risen is found. The surer the guess, the slower: once settled, 120 requests and 2.5 seconds to reach it (200
//!   requests where the limit is below some twelve a second), more where a probe has cost more than one refusal. That is
//!   what keeps refusals below one in a hundred, and finds a limit that has doubled within ten seconds.
//! * **Refused again at once**, it halves the distance to nothing: each time in a row twice as far down, and after a
//!   long stop down to what got through. That is a limit that has fallen.
//! * **Windows of a second** show themselves: stops then end whole seconds apart. Once that is beyond chance, a refusal
//!   is waited out until the window's end, at the cost of one instead of several, and what the window held is the limit,
//!   whatever the pace was. In one stop of four it is tried before that, in case that it was chance.
//! * **Requests go late**, as timers do, and arrive late. An interval begins when the last request went, or where its
//!   answer took longer than usual, as much later: it may have been counted only then, and whoever refuses what comes
//!   too early is never asked early because something else was late. What that costs on the average of a hundred
//!   requests is made up for. Where the interval is below 10 ms, up to as much may be caught up with at once.
//! * **Idle time is not counted**, and who sends less than the pace learns nothing from being admitted.
//!
//! Known before: additive increase and multiplicative decrease (Chiu and Jain, 1989), TCP CUBIC (RFC 9438), BBR's
//! delivery rate (Cardwell and others, 2016), the adaptive retry mode of the AWS SDKs, which paces a client's requests
//! by CUBIC when it is throttled, and the gradients of Netflix's concurrency-limits, which need latencies that a rate
//! limit does not show. Those fall by a third or a half at each refusal and leave a tenth of the limit or more unused;
//! here the fall shrinks with what is unsure, down to 3%.
//!
//! # What cannot be learned
//!
//! * One bit a request tells only so much: about 100 requests to find a limit, 150 to 300 (and ten seconds) to see that
//!   it has risen. At one request a second, that is minutes; a limit of 10 a minute is not known within ten seconds.
//!   One with long windows is not known before the second of them, and where the first was used up in a burst it may
//!   take a dozen until its echo is gone. Until then refusals are few, as each stop doubles its pauses, but may exceed
//!   one in a hundred.
//! * A limit without a burst gives nothing back for being late: an interval that never arrives shorter than the server's
//!   is longer by what the sender, the way there and the answer are late on the average. With 2 ms of it and 100 a
//!   second at most 83 can be used; 1000 a second without a burst cannot be used well by anybody. Where answers take
//!   longer than the interval, they tell nothing in time, and the interval must exceed the server's by the jitter, not
//!   by its average. The pace that is learned is the one that works.
//! * A server that counts refused requests too, or bans who is refused often, should not be probed: set a
//!   [`ceiling`](Learning::ceiling), or tell the quota.
//!
//! Each process learns on its own. Several that share a limit come to share it, each with its own probes, as TCP's
//! flows share a link; what they know is not stored.

mod estimate;
mod line;
mod pace;
mod settings;
mod windows;

pub use line::{Going, Learned, Line, Turn};
pub use pace::{Pace, Sent};
pub use settings::Learning;
