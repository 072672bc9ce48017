//! Calls that something overtakes, between the limiter and its store: as on another thread, but each time.

use limiter_core::{
    Clock, Decision, Error, KeyState, Limiter, LimiterBuilder, Quota, Store, StoreError, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::sync::{Arc, Mutex};

/// A store before which a call can be made to linger.
#[derive(Clone)]
pub(crate) struct Late<S> {
    inner: S,
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl<S: Store> Late<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, meanwhile: Arc::default() }
    }

    /// Does this while the next call is under way, before it comes to the store.
    pub(crate) fn meanwhile(&self, happens: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(happens));
    }

    fn linger(&self) {
        let happens = self.meanwhile.lock().unwrap().take();
        if let Some(happens) = happens {
            happens();
        }
    }
}

impl<S: Store> Store for Late<S> {
    async fn take(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.linger();
        self.inner.take(demands, clock).await
    }

    async fn peek(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Result<Decision, StoreError> {
        self.linger();
        self.inner.peek(demands, clock).await
    }

    async fn adjust(
        &self,
        demand: Demand<'_>,
        adjust: Adjust,
        clock: Option<&dyn Clock>,
    ) -> Result<Decision, StoreError> {
        self.linger();
        self.inner.adjust(demand, adjust, clock).await
    }

    async fn reset(&self, scope: &Scope, key: &[u8]) -> Result<(), StoreError> {
        self.linger();
        self.inner.reset(scope, key).await
    }

    async fn sweep(&self, clock: Option<&dyn Clock>) -> Result<usize, StoreError> {
        self.inner.sweep(clock).await
    }

    async fn now(&self, clock: Option<&dyn Clock>) -> Result<Timestamp, StoreError> {
        self.inner.now(clock).await
    }

    fn is_same(&self, other: &Self) -> bool {
        self.inner.is_same(&other.inner)
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn take_now(&self, demands: &[Demand<'_>], clock: Option<&dyn Clock>) -> Option<Result<Decision, StoreError>> {
        if self.inner.is_local() {
            self.linger();
        }
        self.inner.take_now(demands, clock)
    }

    async fn snapshot(&self, demand: Demand<'_>, clock: Option<&dyn Clock>) -> Option<(KeyState, Timestamp)> {
        self.linger();
        self.inner.snapshot(demand, clock).await
    }
}

const ALGORITHMS: [&str; 4] = ["gcra", "fixed_window", "sliding_window", "sliding_log"];

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// A limiter on which no time passes.
fn frozen<S: Store>(store: S, text: &str, name: &str) -> Limiter<S> {
    let now = Timestamp::from_micros(1_760_000_000_000_000);
    let builder: LimiterBuilder = Limiter::builder(quota(text));
    builder.store(store).name(name).clock(now).build()
}

fn left<S: Store>(limiter: &Limiter<S>) -> u64 {
    limiter.blocking().peek_n("k", 0).unwrap().remaining()
}

/// A call that takes `units` of the key `k`, or gives so many back.
type Call<S> = (&'static str, i64, fn(&Limiter<S>));

fn calls<S: Store>() -> Vec<Call<S>> {
    vec![
        ("check", 1, |limiter| assert!(limiter.blocking().check("k").unwrap().allowed())),
        ("a denied check", 0, |limiter| assert!(!limiter.blocking().check_n("k", 9).unwrap().allowed())),
        ("peek", 0, |limiter| assert_eq!(limiter.blocking().peek("k").unwrap().remaining(), 3)),
        ("take up to", 3, |limiter| assert_eq!(limiter.blocking().take_up_to("k", 5).unwrap().0, 3)),
        ("acquire", 2, |limiter| drop(limiter.acquire("k").cost(2).blocking().unwrap())),
        ("all", 2, |limiter| {
            let both = Limiter::all([limiter.on("other"), limiter.on("k").cost(2)]);
            assert!(both.blocking().check().unwrap().allowed());
        }),
        ("acquire all", 1, |limiter| drop(Limiter::all([limiter.on("k")]).acquire().blocking().unwrap())),
        ("peek at all", 0, |limiter| {
            assert!(!Limiter::all([limiter.on("k").cost(4)]).blocking().peek().unwrap().allowed());
        }),
        ("charge", 2, |limiter| drop(limiter.blocking().charge("k", 2).unwrap())),
        ("refund", 0, |limiter| {
            let before = Timestamp::from_micros(1_759_999_999_000_000);
            drop(limiter.blocking().refund("k", 5, before).unwrap());
        }),
        ("block", 0, |limiter| drop(limiter.blocking().block_until("k", Timestamp::MIN).unwrap())),
        ("reserve", 1, |limiter| drop(super::block_on(limiter.reserve("k", 1)).unwrap())),
        ("a wait that is too long", 0, |limiter| {
            let refused = limiter.acquire("k").cost(9).timeout(std::time::Duration::from_millis(1)).blocking();
            assert!(matches!(refused, Err(Error::WaitTooLong { .. })), "{refused:?}");
        }),
    ]
}

/// Each call begins under a quota of 10 with 5 in use; before it comes to the store the quota is 20, and 12 more are taken.
pub(crate) fn no_call_overtaken_by_a_larger_quota_forgets_units<S: Store>(fresh: impl Fn() -> S) {
    for algorithm in ALGORITHMS {
        for (number, (what, units, call)) in calls().into_iter().enumerate() {
            let store = Late::new(fresh());
            let limiter = frozen(store.clone(), &format!("{algorithm} 10/day"), &format!("{algorithm} {number}"));
            assert!(limiter.blocking().check_n("k", 5).unwrap().allowed());
            let (other, larger) = (limiter.clone(), quota(&format!("{algorithm} 20/day")));
            store.meanwhile(move || {
                match number % 2 {
                    0 => other.set_quota(larger),
                    _ => other.set_rule(move |_| larger.clone()),
                }
                assert!(other.blocking().check_n("k", 12).unwrap().allowed());
            });
            call(&limiter);
            assert_eq!(i64::try_from(left(&limiter)), Ok(3 - units), "{algorithm}: {what}");
        }
    }
}

/// Each permit of 4 units is granted, then the key is reset and 6 of 10 units are taken by others.
pub(crate) fn nothing_comes_back_of_permits_from_before_a_reset<S: Store>(fresh: impl Fn() -> S) {
    for algorithm in ALGORITHMS {
        for late in [false, true] {
            let store = Late::new(fresh());
            let limiter = frozen(store.clone(), &format!("{algorithm} 10/day"), &format!("{algorithm} {late}"));
            let both = || Limiter::all([limiter.on("other"), limiter.on("k").cost(4)]);
            // What is given back, by each kind of permit, and the units in use then.
            for (what, in_use) in
                [("refund", 6), ("settle", 6), ("settle above", 8), ("restamp", 10), ("all", 6), ("reserve", 6)]
            {
                limiter.blocking().reset("k").unwrap();
                limiter.blocking().reset("other").unwrap();
                let permit = match what {
                    "all" => both().acquire().blocking().unwrap().pop().unwrap(),
                    "reserve" => super::block_on(limiter.reserve("k", 4)).unwrap().0,
                    _ => limiter.acquire("k").cost(4).blocking().unwrap(),
                };
                let other = limiter.clone();
                let meanwhile = move || {
                    other.blocking().reset("k").unwrap();
                    assert!(other.blocking().check_n("k", 6).unwrap().allowed());
                };
                if late {
                    store.meanwhile(meanwhile);
                } else {
                    meanwhile();
                }
                let answer = match what {
                    "settle" => permit.settle_blocking(1),
                    "settle above" => permit.settle_blocking(6),
                    "restamp" => super::block_on(permit.restamp()),
                    _ => permit.refund_blocking(),
                };
                let answer = answer.unwrap();
                assert_eq!(
                    (answer.remaining(), left(&limiter)),
                    (10 - in_use, 10 - in_use),
                    "{algorithm}: {what}, late: {late}"
                );
            }
            // Another key's reset withholds nothing, nor does an earlier one.
            let permit = limiter.acquire("other").cost(4).blocking().unwrap();
            limiter.blocking().reset("k").unwrap();
            assert_eq!(permit.refund_blocking().unwrap().remaining(), 10, "{algorithm}");
            let permit = limiter.acquire("k").cost(4).blocking().unwrap();
            assert_eq!(permit.settle_blocking(1).unwrap().remaining(), 9, "{algorithm}");
        }
    }
}

/// Tests of a store that `$fresh` makes.
macro_rules! late_calls {
    ($fresh:expr) => {
        #[test]
        fn no_call_overtaken_by_a_larger_quota_forgets_units() {
            $crate::support::late::no_call_overtaken_by_a_larger_quota_forgets_units($fresh);
        }

        #[test]
        fn nothing_comes_back_of_permits_from_before_a_reset() {
            $crate::support::late::nothing_comes_back_of_permits_from_before_a_reset($fresh);
        }
    };
}
pub(crate) use late_calls;
