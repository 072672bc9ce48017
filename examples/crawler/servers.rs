//! The APIs to crawl: small servers on loopback sockets, each with a quota of its own.
//!
//! They check with nothing but a list of instants, so that what they refuse is judged by other code than what paces
//! the client.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::oneshot;

/// The longest a server thinks before it answers.
const SLOWEST_ANSWER: Duration = Duration::from_millis(30);

/// The servers of the crawl: a name, and limits with their periods in milliseconds.
///
/// The rates of a server have the same density, and no period is a sum of shorter ones: each rate refuses something
/// that the others would grant, yet the whole of every quota can be used.
const APIS: [(&str, [(u64, u64); 3]); 4] = [
    ("catalog", [(24, 1000), (36, 1500), (54, 2250)]),
    ("search", [(20, 1250), (32, 2000), (48, 3000)]),
    ("prices", [(15, 750), (35, 1750), (55, 2750)]),
    ("images", [(40, 1000), (90, 2250), (100, 2500)]),
];

/// Starts every server, each on a thread and a port of its own.
pub(crate) fn start_all() -> io::Result<Vec<ApiServer>> {
    APIS.iter()
        .map(|(name, rates)| {
            let rates = rates.map(|(limit, millis)| ApiRate { limit, period: Duration::from_millis(millis) });
            ApiServer::start(name, rates.to_vec())
        })
        .collect()
}

/// A running server; it stops when dropped.
pub(crate) struct ApiServer {
    name: &'static str,
    address: SocketAddr,
    door: Arc<Mutex<Door>>,
    _stop: oneshot::Sender<()>,
}

impl ApiServer {
    fn start(name: &'static str, rates: Vec<ApiRate>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let door = Arc::new(Mutex::new(Door::new(rates)));
        let app = Router::new().route("/item/{id}", get(item)).with_state(Arc::clone(&door));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::select! {
                    served = axum::serve(listener, app) => served,
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Self { name, address, door, _stop: stop })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its host, as quotas name it.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The address of an item; any number is one.
    pub(crate) fn item_url(&self, id: u64) -> String {
        format!("http://{}/item/{id}", self.address)
    }

    /// How many items `duration` allows at the quota's pace.
    pub(crate) fn items_in(&self, duration: Duration) -> u64 {
        let per_rate = |rate: &ApiRate| {
            let items = u128::from(rate.limit) * duration.as_micros() / rate.period.as_micros();
            u64::try_from(items).unwrap_or(u64::MAX)
        };
        let door = lock(&self.door);
        door.rates.iter().map(per_rate).min().unwrap_or_default()
    }

    /// The quota as text, such as `24/1s, 36/1500ms`.
    pub(crate) fn quota(&self) -> String {
        let door = lock(&self.door);
        let rates: Vec<_> = door.rates.iter().map(ToString::to_string).collect();
        rates.join(", ")
    }

    /// How many requests it answered with 429.
    pub(crate) fn refused(&self) -> usize {
        lock(&self.door).refused
    }

    /// The share of its quota that was used: the lowest over its rates, `None` if the crawl was too short to tell.
    pub(crate) fn share(&self) -> Option<f64> {
        let door = lock(&self.door);
        let shares = door.rates.iter().map(|rate| rate.share(&door.granted));
        shares.collect::<Option<Vec<_>>>()?.into_iter().reduce(f64::min)
    }
}

async fn item(State(door): State<Arc<Mutex<Door>>>, Path(id): Path<u64>) -> Response {
    let (verdict, thinking) = {
        let mut door = lock(&door);
        // Read inside the lock: the log stays in the order of time.
        (door.ask(Instant::now()), door.think())
    };
    tokio::time::sleep(thinking).await;
    match verdict {
        Verdict::Granted => format!("item {id}\n").into_response(),
        Verdict::Refused { retry_after_secs } => {
            (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, retry_after_secs.to_string())]).into_response()
        }
    }
}

/// At most `limit` requests in any closed window of `period`.
#[derive(Clone, Copy)]
pub(crate) struct ApiRate {
    pub(crate) limit: u64,
    pub(crate) period: Duration,
}

impl ApiRate {
    /// What was granted after the first window, over limit × elapsed ÷ period.
    ///
    /// The first window is the period that begins with the first grant. From its end to the last grant is what
    /// elapsed; `None` if that is not another period at least.
    fn share(&self, granted: &[Instant]) -> Option<f64> {
        let start = *granted.first()? + self.period;
        let elapsed = granted.last()?.checked_duration_since(start)?;
        let count = granted.iter().filter(|at| **at > start).count();
        let possible = self.limit as f64 * elapsed.div_duration_f64(self.period);
        (elapsed >= self.period).then(|| count as f64 / possible)
    }
}

impl fmt::Display for ApiRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, period } = self;
        if period.subsec_millis() == 0 {
            write!(f, "{limit}/{}s", period.as_secs())
        } else {
            write!(f, "{limit}/{}ms", period.as_millis())
        }
    }
}

/// Where requests arrive: the exact check, and the log it reads.
struct Door {
    rates: Vec<ApiRate>,
    granted: Vec<Instant>,
    refused: usize,
    random: u64,
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Granted,
    Refused { retry_after_secs: u64 },
}

impl Door {
    fn new(rates: Vec<ApiRate>) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            rates,
            granted: Vec::new(),
            refused: 0,
            random: since_epoch.map_or(1, |at| u64::from(at.subsec_nanos()) | 1),
        }
    }

    /// Grants if every window that ends `now`, both of its ends included, has room for one more.
    fn ask(&mut self, now: Instant) -> Verdict {
        let retry_after = self.rates.iter().filter_map(|rate| {
            let age = |at: &Instant| now.duration_since(*at);
            let limit = usize::try_from(rate.limit).unwrap_or(usize::MAX);
            let in_the_way = self.granted.iter().rev().nth(limit - 1).map(age)?;
            rate.period.checked_sub(in_the_way)
        });
        if let Some(wait) = retry_after.max() {
            self.refused += 1;
            // What is in the way leaves just after the wait: a whole wait is rounded up too.
            return Verdict::Refused { retry_after_secs: wait.as_secs() + 1 };
        }
        self.granted.push(now);
        Verdict::Granted
    }

    /// A random time up to the slowest answer (xorshift64).
    fn think(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        SLOWEST_ANSWER.mul_f64((self.random >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// No code panics while it holds the lock.
fn lock(door: &Mutex<Door>) -> MutexGuard<'_, Door> {
    door.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const NANO: Duration = Duration::from_nanos(1);

    fn rate(limit: u64, millis: u32) -> ApiRate {
        ApiRate { limit, period: millis * MILLI }
    }

    fn refused(retry_after_secs: u64) -> Verdict {
        Verdict::Refused { retry_after_secs }
    }

    #[test]
    fn a_grant_counts_until_just_after_its_period() {
        let start = Instant::now();
        let mut door = Door::new(vec![rate(2, 1000)]);
        assert_eq!(door.ask(start), Verdict::Granted);
        assert_eq!(door.ask(start + 400 * MILLI), Verdict::Granted);
        assert_eq!(door.ask(start + 999 * MILLI), refused(1));
        assert_eq!(door.ask(start + 1000 * MILLI), refused(1));
        assert_eq!(door.ask(start + 1000 * MILLI + NANO), Verdict::Granted);
        assert_eq!(door.ask(start + 1400 * MILLI), refused(1));
        assert_eq!(door.ask(start + 1400 * MILLI + NANO), Verdict::Granted);
        assert_eq!(door.refused, 3);
    }

    #[test]
    fn a_refusal_is_not_counted() {
        let start = Instant::now();
        let mut door = Door::new(vec![rate(1, 1000)]);
        door.ask(start);
        for millis in 1..=1000 {
            assert_eq!(door.ask(start + millis * MILLI), refused(1));
        }
        assert_eq!(door.ask(start + 1001 * MILLI), Verdict::Granted);
    }

    #[test]
    fn every_rate_must_have_room() {
        let start = Instant::now();
        let mut door = Door::new(vec![rate(2, 1000), rate(3, 2500)]);
        assert_eq!(door.ask(start), Verdict::Granted);
        assert_eq!(door.ask(start), Verdict::Granted);
        assert_eq!(door.ask(start + 1001 * MILLI), Verdict::Granted);
        assert_eq!(door.ask(start + 1100 * MILLI), refused(2));
        assert_eq!(door.ask(start + 2500 * MILLI), refused(1));
        assert_eq!(door.ask(start + 2501 * MILLI), Verdict::Granted);
    }

    #[test]
    fn the_share_leaves_the_first_window_out() {
        let start = Instant::now();
        let every_100_ms: Vec<_> = (0..=40).map(|n| start + n * 100 * MILLI).collect();
        let share = |limit| rate(limit, 1000).share(&every_100_ms);
        assert_eq!(share(10), Some(1.0));
        assert_eq!(share(20), Some(0.5));

        let with_a_burst = [vec![start; 100], every_100_ms].concat();
        assert_eq!(rate(10, 1000).share(&with_a_burst), Some(1.0));
    }

    #[test]
    fn a_short_crawl_has_no_share() {
        let start = Instant::now();
        let rate = rate(10, 1000);
        assert_eq!(rate.share(&[]), None);
        assert_eq!(rate.share(&[start]), None);
        assert_eq!(rate.share(&[start, start + 1999 * MILLI]), None);
        assert!(rate.share(&[start, start + 2000 * MILLI]).is_some());
    }

    #[test]
    fn the_quotas_are_well_formed() {
        for (name, rates) in APIS {
            for pair in rates.windows(2) {
                let [(limit, period), (next_limit, next_period)] = pair else { unreachable!() };
                assert!(period < next_period && limit < next_limit, "{name}");
                assert!(limit * next_period >= next_limit * period, "{name}");
            }
        }
    }

    #[test]
    fn rates_print_in_whole_units() {
        assert_eq!(rate(24, 1000).to_string(), "24/1s");
        assert_eq!(rate(36, 1500).to_string(), "36/1500ms");
    }

    #[test]
    fn answers_take_up_to_30_ms() {
        let mut door = Door::new(vec![]);
        let times: Vec<_> = (0..1000).map(|_| door.think()).collect();
        assert!(times.iter().all(|time| *time <= SLOWEST_ANSWER));
        assert!(times.iter().any(|time| *time < 5 * MILLI));
        assert!(times.iter().any(|time| *time > 25 * MILLI));
    }
}
