//! What goes over the wire: one call of the production script a decision.

use crate::{fresh, servers::RedisServer, support::block_on};
use limiter_core::{
    Limiter, Store,
    store::{Adjust, Demand, Scope},
};

#[test]
fn a_take_is_one_call_of_the_production_script() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    let quotas = ["5/day", "fixed_window 5/day", "sliding_window 5/day", "sliding_log 5/day"].map(fresh::quota);
    fresh::take(&store, "first", &quotas[0], 1).unwrap(); // loads the script
    let monitor = server.monitor();
    for quota in &quotas {
        for cost in [1, 5] {
            let admitted = fresh::take(&store, &quota.to_string(), quota, cost).unwrap();
            assert_eq!(admitted.allowed(), cost == 1);
            let sent = monitor.take_sent();
            assert_eq!(sent.len(), 1, "{sent:?}");
            assert!(sent[0].contains("\"EVALSHA\""), "{sent:?}");
        }
    }
    let scopes = ["a", "b", "c", "d"].map(Scope::new);
    let demands: Vec<_> = scopes.iter().zip(&quotas).map(|(s, quota)| Demand::new(s, b"ada", quota, 1)).collect();
    block_on(store.take(&demands, None)).unwrap();
    let sent = monitor.take_sent();
    assert!(sent.len() == 1 && sent[0].contains("\"EVALSHA\""), "{sent:?}");
}

#[test]
fn denials_and_peeks_write_nothing() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    for quota in ["1/day", "fixed_window 1/day", "sliding_window 1/day", "sliding_log 1/day"].map(fresh::quota) {
        let key = quota.to_string();
        assert!(fresh::take(&store, &key, &quota, 1).unwrap().allowed());
        let monitor = server.monitor();
        assert!(!fresh::take(&store, &key, &quota, 1).unwrap().allowed());
        assert_eq!(fresh::remaining(&store, &key, &quota), 0);
        let lines = monitor.take();
        let writes = lines.iter().filter(|line| ["\"SET", "EXPIRE", "\"DEL"].iter().any(|word| line.contains(word)));
        assert_eq!(writes.count(), 0, "{lines:?}");
    }
}

#[test]
fn scripts_come_back_after_a_flush() {
    let server = RedisServer::start();
    let store = fresh::store(&server);
    let quota = fresh::quota("sliding_log 3/day");
    assert!(fresh::take(&store, "ada", &quota, 1).unwrap().allowed());
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(fresh::take(&store, "ada", &quota, 1).unwrap().remaining(), 1);
    server.command(&["SCRIPT", "FLUSH"]);
    let (scope, taken) = (Scope::new("api"), block_on(store.now(None)).unwrap());
    let demand = Demand::new(&scope, b"ada", &quota, 1);
    assert_eq!(block_on(store.adjust(demand, Adjust::Charge, None)).unwrap().remaining(), 0);
    block_on(store.adjust(demand, Adjust::Refund { taken }, None)).unwrap();
}

#[test]
fn it_works_from_any_runtime_and_from_none() {
    let server = fresh::shared();
    let store = fresh::store(&server);
    let limiter = Limiter::builder(fresh::quota("4/day")).store(store).build();
    assert_eq!(limiter.blocking().check("ada").unwrap().remaining(), 3);
    let ask = || {
        let limiter = limiter.clone();
        async move { limiter.check_async("ada").await.unwrap().remaining() }
    };
    assert_eq!(block_on(ask()), 2);
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap(); // without I/O or time of its own
    assert_eq!(current.block_on(ask()), 1);
    drop(current);
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    assert_eq!(several.block_on(async { tokio::spawn(ask()).await.unwrap() }), 0);
    drop(several);
    assert!(!limiter.blocking().check("ada").unwrap().allowed());
}

#[test]
fn who_waits_is_granted_in_turn_at_the_quotas_pace() {
    let server = fresh::shared();
    let limiter = Limiter::builder(fresh::quota("sliding_log 5/500ms")).store(fresh::store(&server)).build();
    let started = std::time::Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let granted = runtime.block_on(async {
        let turns = (0..11).map(|turn| {
            let limiter = limiter.clone();
            async move { limiter.acquire("ada").await.map(|permit| (turn, permit.decision().at())).unwrap() }
        });
        futures_util::future::join_all(turns).await
    });
    assert!(started.elapsed() > std::time::Duration::from_secs(1));
    assert!(granted.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{granted:?}");
    for window in granted.windows(6) {
        assert!(window[5].1.as_micros() - window[0].1.as_micros() > 500_000, "{granted:?}");
    }
}

/// One waiter of a process talks to the server, and what its answers tell saves calls.
#[test]
fn a_hundred_waiters_cost_about_one_call_a_grant() {
    let server = RedisServer::start();
    for (quota, most) in [("200/s burst 1", 110), ("sliding_log 1000/s", 10)] {
        let limiter = Limiter::builder(fresh::quota(quota)).store(fresh::store(&server)).build();
        limiter.blocking().peek("warm").unwrap(); // connects, and loads the script
        let monitor = server.monitor();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let turns = (0..100).map(|_| {
                let request = limiter.acquire("ada").timeout(std::time::Duration::from_secs(60));
                async move { drop(request.await.unwrap()) }
            });
            futures_util::future::join_all(turns).await
        });
        let sent = monitor.take_sent();
        for line in sent.iter().take(12) {
            eprintln!("{}", &line[..line.len().min(150)]);
        }
        assert!(sent.len() <= most, "{} calls for 100 grants of {quota}", sent.len());
    }
}
