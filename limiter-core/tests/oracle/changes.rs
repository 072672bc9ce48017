//! Quotas that change while they run, and decisions over several limiters that cannot be made.

use super::{
    model::{Answer, Key, Spec, World},
    random::{self, Label, Rng, Time, each_seed, micros},
};
use limiter_core::{Decision, Error, Limiter, ManualClock, MemoryStore, Quota, Timestamp};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const KEYS: [&str; 3] = ["ada", "bob", "eve"];

/// Who tells a limiter its quota.
#[derive(Clone, Copy, PartialEq)]
enum By {
    SetQuota,
    Rule,
}

/// A few quotas that follow each other on a few keys: each key changes at its next decision, with what is in use.
fn quotas_follow_each_other(rng: &mut Rng, label: Label, by: By) {
    let mut specs: Vec<Spec> = (0..4).map(|_| random::any_spec(rng)).collect();
    // Some with the same periods, so that rates find their own.
    specs[1] = Spec { algorithm: specs[0].algorithm, ..specs[0].clone() };
    for rate in &mut specs[1].rates {
        (rate.limit, rate.burst, rate.cells) = (rate.limit + 1, rate.burst.map(|burst| burst + 1), None);
    }
    let quotas: Vec<Quota> = specs.iter().map(Spec::quota).collect();
    let plan = Arc::new(Mutex::new(vec![0; KEYS.len()]));
    let clock = ManualClock::new(Timestamp::from_micros(random::START));
    let builder = match by {
        By::SetQuota => Limiter::builder(quotas[0].clone()),
        By::Rule => {
            let (plan, quotas) = (Arc::clone(&plan), quotas.clone());
            Limiter::by_key(move |key| {
                let place = KEYS.iter().position(|k| k.as_bytes() == key).unwrap();
                quotas[plan.lock().unwrap()[place]].clone()
            })
        }
    };
    let limiter = builder.clock(clock.clone()).build();
    let mut world = World::of(&specs[0], KEYS.len());
    let mut is_touched = [false; KEYS.len()];
    let mut time = Time { now: random::START, is_wild: rng.one_in(2) };
    let mut waits = [1; 2];
    for _ in 0..200 {
        let key = rng.index(KEYS.len());
        if rng.one_in(8) {
            let next = rng.index(specs.len());
            match by {
                By::Rule => plan.lock().unwrap()[key] = next,
                By::SetQuota => {
                    plan.lock().unwrap().fill(next);
                    if rng.one_in(3) {
                        limiter.restart(quotas[next].clone());
                        (world, is_touched) = (World::of(&specs[next], KEYS.len()), [false; KEYS.len()]);
                    } else {
                        limiter.set_quota(quotas[next].clone());
                    }
                }
            }
        }
        let spec = &specs[plan.lock().unwrap()[key]];
        let now = time.step(rng, spec, waits);
        clock.set(Timestamp::from_micros(now));
        let cost = rng.cost(spec.capacity());
        let old = world.0[key].spec.clone();
        let touch = |world: &mut World, is_touched: &mut [bool]| {
            if world.0[key].spec != *spec {
                if is_touched[key] { world.0[key].change(spec, now) } else { world.0[key] = Key::new(spec) }
            }
            is_touched[key] = true;
        };
        let context = |what: &str| format!("{label}: {what} of {cost} by {spec:?} after {old:?} at {now}");
        let check = |want: Answer, got: Decision, what: &str| {
            assert_eq!(Answer::of(&got), want, "{}", context(what));
            [micros(got.reset_after()), got.retry_after().map_or(1, micros)]
        };
        match rng.below(12) {
            0 => {
                limiter.reset(KEYS[key]).unwrap();
                (world.0[key], is_touched[key]) = (Key::new(spec), false);
            }
            1 => {
                touch(&mut world, &mut is_touched);
                world.0[key].charge(now, cost);
                waits = check(world.look(key, now), limiter.charge(KEYS[key], cost).unwrap(), "charge");
            }
            2 => {
                touch(&mut world, &mut is_touched);
                let until = now + rng.below(2 * spec.rates[0].period);
                let until = Timestamp::from_micros(until);
                world.0[key].block(until.as_micros());
                waits = check(world.look(key, now), limiter.block_until(KEYS[key], until).unwrap(), "block");
            }
            3 => {
                touch(&mut world, &mut is_touched);
                let taken = now.saturating_sub(rng.below(2) * rng.below(spec.rates[0].period));
                world.0[key].refund(now, cost, taken);
                let taken = Timestamp::from_micros(taken);
                waits = check(world.look(key, now), limiter.refund(KEYS[key], cost, taken).unwrap(), "refund");
            }
            _ if cost > spec.capacity() => {
                assert!(
                    matches!(limiter.check_n(KEYS[key], cost), Err(Error::NeverFits { .. })),
                    "{}",
                    context("take")
                );
            }
            kind => {
                let before = (world.0[key].clone(), is_touched[key]);
                let is_change = world.0[key].spec != *spec;
                touch(&mut world, &mut is_touched);
                let want = world.decide(&[(key, cost)], now, kind != 4);
                let got = match kind {
                    4 => limiter.peek_n(KEYS[key], cost).unwrap(),
                    _ => limiter.check_n(KEYS[key], cost).unwrap(),
                };
                // Who only looks, or is denied, sees the change and leaves it to who writes.
                if is_change && (kind == 4 || cost == 0 || !got.allowed()) {
                    (world.0[key], is_touched[key]) = before;
                }
                waits = check(want, got, "take or peek");
            }
        }
    }
}

#[test]
fn what_is_in_use_stays_in_use_when_the_quota_is_set() {
    each_seed(200, |rng, label| quotas_follow_each_other(rng, label, By::SetQuota));
}

#[test]
fn what_is_in_use_stays_in_use_when_the_rule_changes() {
    each_seed(200, |rng, label| quotas_follow_each_other(rng, label, By::Rule));
}

/// Ten units in use, then rates of the same period, of another, and of less than is in use.
#[test]
fn a_quota_that_changes_carries_over_what_is_in_use() {
    for (old, new, left) in [
        ("fixed_window 20/day", "fixed_window 30/day", 20),
        ("sliding_log 20/day", "fixed_window 15/h", 5),
        ("sliding_window 20/day", "sliding_log 5/h, 40/day", 0),
        ("20/day", "12/day", 2),
        ("20/day", "4/day", 0),
        ("sliding_log 20/day", "30/day", 20),
    ] {
        let limiter = Limiter::builder(old.parse().unwrap()).clock(Timestamp::from_micros(random::START)).build();
        assert!(limiter.check_n("k", 10).unwrap().allowed());
        limiter.set_quota(new.parse().unwrap());
        assert_eq!(limiter.peek("k").unwrap().remaining(), left, "{old} to {new}");
        assert_eq!(limiter.peek("new").unwrap().remaining(), limiter.quota().unwrap().capacity());
        limiter.restart(new.parse().unwrap());
        assert_eq!(limiter.peek("k").unwrap().remaining(), limiter.quota().unwrap().capacity(), "{old} to {new}");
    }
}

#[test]
fn what_cannot_be_decided_together_is_an_error_and_takes_nothing() {
    let store = MemoryStore::new();
    let on = |name: &str, store: &MemoryStore| {
        Limiter::builder("5/day".parse().unwrap()).store(store.clone()).name(name).build()
    };
    let (user, tenant, apart) = (on("user", &store), on("tenant", &store), on("user", &MemoryStore::new()));
    assert!(matches!(Limiter::<MemoryStore>::all([]).check(), Err(Error::NothingAsked)));
    assert!(matches!(Limiter::all([user.on("a"), apart.on("a")]).check(), Err(Error::SeveralStores)));
    let too_large = Limiter::all([user.on("a"), tenant.on("a").cost(6)]).check().unwrap_err();
    assert!(matches!(too_large, Error::NeverFits { cost: 6, capacity: 5, part: Some(1) }), "{too_large}");
    assert!(too_large.to_string().contains("part 1 "), "{too_large}");
    let twice = Limiter::all([user.on("a"), tenant.on("a"), user.on("a")]).check();
    assert!(matches!(twice, Err(Error::DuplicateKey)));
    for limiter in [&user, &tenant] {
        assert_eq!(limiter.peek("a").unwrap().remaining(), 5);
    }
    let denied = Limiter::all([user.on("a").cost(2), tenant.on("a").cost(5)]);
    assert!(denied.check().unwrap().allowed());
    let denied = denied.check().unwrap();
    assert_eq!(denied.denied().collect::<Vec<_>>(), [1]);
    assert_eq!(user.peek("a").unwrap().remaining(), 3);
}

/// A block counts from now, and a longer one is not cut short but by a shorter `block` on purpose.
#[test]
fn a_block_ends_at_its_instant() {
    let clock = ManualClock::new(Timestamp::from_micros(random::START));
    let limiter = Limiter::builder("5/s".parse().unwrap()).clock(clock.clone()).build();
    limiter.block("k", Duration::from_micros(10)).unwrap();
    let denied = limiter.check("k").unwrap();
    assert_eq!(denied.retry_after(), Some(Duration::from_micros(10)));
    assert_eq!((denied.remaining(), denied.blocked_for()), (0, Duration::from_micros(10)));
    clock.advance(Duration::from_micros(9));
    assert!(!limiter.check("k").unwrap().allowed());
    super::reserve::now(limiter.block_at_least_async("k", Duration::ZERO)).unwrap();
    assert!(!limiter.check("k").unwrap().allowed(), "a longer block stays");
    limiter.block("k", Duration::ZERO).unwrap();
    assert!(limiter.check("k").unwrap().allowed());
}
