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
