//! Sentinels and Clusters.

use crate::{
    fresh,
    servers::{Monitor, RedisCluster, RedisServer, Sentinels, eventually},
    support::block_on,
};
use limiter_core::{
    Decision, Quota, RedisStore, Store, StoreErrorKind, Timestamp,
    store::{Adjust, Demand, Scope},
};
use std::time::Duration;

fn sentinel_url(group: &Sentinels) -> String {
    let hosts: Vec<String> = group.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+sentinel://{}/{}", hosts.join(","), group.name())
}

fn cluster_url(ports: &[u16]) -> String {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

#[test]
fn a_promoted_replica_is_found_and_goes_on_where_the_primary_was() {
    let group = Sentinels::start();
    let store = fresh::patient(&sentinel_url(&group)).build().unwrap();
    let hurried = RedisStore::new(&sentinel_url(&group)).unwrap();
    let quota = fresh::quota("sliding_log 10/day");
    assert!(block_on(store.ready()).unwrap().is_empty());
    for left in [9, 8, 7] {
        assert_eq!(fresh::take(&store, "ada", &quota, 1).unwrap().remaining(), left);
    }
    group.primary().wait_for_copy(group.replica());
    let former = group.kill_primary();
    // While nobody is there, calls fail, and say how.
    let failed = fresh::take(&hurried, "bob", &quota, 1);
    assert!(matches!(fresh::kind(failed), StoreErrorKind::Unavailable | StoreErrorKind::TimedOut));
    group.wait_for_promotion(former);
    assert_eq!(fresh::take_again(&store, "ada", &quota).remaining(), 6);

    let unknown = sentinel_url(&group).replace(group.name(), "somebody");
    let store = fresh::patient(&unknown).build().unwrap();
    assert_eq!(fresh::kind(fresh::take(&store, "ada", &quota, 1)), StoreErrorKind::Unavailable);
}

#[test]
fn a_sentinel_that_is_down_is_passed_over() {
    let group = Sentinels::start();
    group.sentinels()[0].kill();
    group.sentinels()[1].pause();
    let store = RedisStore::builder(&sentinel_url(&group)).timeout(Duration::from_secs(20)).build().unwrap();
    assert!(fresh::take(&store, "ada", &fresh::quota("5/day"), 1).unwrap().allowed());
    group.sentinels()[1].resume();
}

const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

/// Asks for one unit of each of these keys together.
fn take_all(store: &RedisStore, keys: &[String], quota: &Quota, now: Option<Timestamp>) -> Decision {
    let scope = Scope::new("api");
    let demands: Vec<_> = keys.iter().map(|key| Demand::new(&scope, key.as_bytes(), quota, 1)).collect();
    let clock = now.as_ref().map(|now| now as &dyn limiter_core::Clock);
    block_on(store.take(&demands, clock)).unwrap()
}

/// A key on each of the three nodes.
fn spread(cluster: &RedisCluster) -> Vec<String> {
    let owner = |key: &str| cluster.owner(&format!("limiter:1:{}{{={key}}}:api", key.len() + 1)).port();
    let of = |node: &RedisServer| (0..).map(|n| format!("key{n}")).find(|key| owner(key) == node.port()).unwrap();
    cluster.primaries().iter().map(of).collect()
}

#[test]
fn a_cluster_decides_over_keys_in_several_slots_and_never_takes_for_a_denial() {
    let cluster = RedisCluster::start();
    let store = fresh::patient(&cluster_url(&cluster.ports()[..1])).build().unwrap();
    assert!(block_on(store.ready()).unwrap().is_empty());
    let keys = spread(&cluster);
    let scope = Scope::new("api");
    for text in ["3/day", "fixed_window 3/day", "sliding_window 3/day", "sliding_log 3/day"] {
        let quota = fresh::quota(text);
        keys.iter().for_each(|key| block_on(store.reset(&scope, key.as_bytes())).unwrap());
        let left = || keys.iter().map(|key| peek(&store, key, &quota).remaining()).collect::<Vec<_>>();
        assert_eq!(take_all(&store, &keys, &quota, Some(NOW)).remaining(), 2);
        for full in 0..3 {
            // Whichever key is full, nothing is taken from the others.
            let demand = Demand::new(&scope, keys[full].as_bytes(), &quota, 2);
            block_on(store.adjust(demand, Adjust::Charge, Some(&NOW))).unwrap();
            let before = left();
            let denied = take_all(&store, &keys, &quota, Some(NOW));
            assert!(!denied.allowed() && denied.denied().collect::<Vec<_>>() == [full], "{text}: {denied:?}");
            assert_eq!(denied.rates().len(), 3);
            assert_eq!(left(), before, "{text}");
            block_on(store.adjust(demand, Adjust::Refund { taken: NOW }, Some(&NOW))).unwrap();
        }
        assert!(take_all(&store, &keys, &quota, Some(NOW)).allowed());
        // What can never fit takes nothing on the way.
        let demands: Vec<_> =
            keys.iter().zip([1, 1, 4]).map(|(k, n)| Demand::new(&scope, k.as_bytes(), &quota, n)).collect();
        assert_eq!(block_on(store.take(&demands, Some(&NOW))).unwrap().retry_after(), None);
        assert_eq!(left(), [1, 1, 1], "{text}");
    }
}

fn peek(store: &RedisStore, key: &str, quota: &Quota) -> Decision {
    let scope = Scope::new("api");
    block_on(store.peek(&[Demand::new(&scope, key.as_bytes(), quota, 0)], Some(&NOW))).unwrap()
}

#[test]
fn a_cluster_never_admits_more_however_many_ask_for_several_slots_at_once() {
    let cluster = RedisCluster::start();
    let keys = spread(&cluster);
    let quota = fresh::quota("sliding_log 100/day");
    let url = cluster_url(&cluster.ports());
    let stores: Vec<_> = (0..4).map(|_| fresh::patient(&url).build().unwrap()).collect();
    let admitted: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = stores
            .iter()
            .enumerate()
            .map(|(turn, store)| {
                let (mut keys, quota) = (keys.clone(), &quota);
                keys.rotate_left(turn % 3);
                scope.spawn(move || (0..60).filter(|_| take_all(store, &keys, quota, None).allowed()).count() as u64)
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    let left: Vec<u64> = keys.iter().map(|key| fresh::remaining(&stores[0], key, &quota)).collect();
    assert!(admitted <= 100 && left == [100 - admitted; 3], "{admitted} admitted, {left:?} left");
    // Somebody in between may have been denied for units that were given back; then they are still there.
    let more = (0..=100 - admitted).filter(|_| take_all(&stores[0], &keys, &quota, None).allowed()).count() as u64;
    assert_eq!(admitted + more, 100);
}

#[test]
fn with_a_hash_tag_any_keys_are_one_step() {
    let cluster = RedisCluster::start();
    let store = fresh::patient(&cluster_url(&cluster.ports())).hash_tag("all").build().unwrap();
    let keys: Vec<String> = (0..5).map(|n| format!("{{{n}}}")).collect();
    let quota = fresh::quota("2/day");
    take_all(&store, &keys, &quota, None);
    let monitors: Vec<_> = cluster.primaries().iter().map(RedisServer::monitor).collect();
    assert!(take_all(&store, &keys, &quota, None).allowed());
    assert!(!take_all(&store, &keys, &quota, None).allowed());
    let sent: Vec<String> = monitors.iter().flat_map(Monitor::take_sent).collect();
    let scripts: Vec<_> = sent.iter().filter(|line| line.contains("\"EVALSHA\"")).collect();
    assert_eq!(scripts.len(), 2, "{sent:?}");
}

#[test]
fn limiters_on_the_same_key_share_its_slot() {
    let cluster = RedisCluster::start();
    let store = fresh::patient(&cluster_url(&cluster.ports())).build().unwrap();
    let (scopes, quota) = (["a", "b", "c"].map(Scope::new), fresh::quota("2/day"));
    let demands = || scopes.iter().map(|scope| Demand::new(scope, b"ada", &quota, 1)).collect::<Vec<_>>();
    block_on(store.take(&demands(), None)).unwrap();
    let monitors: Vec<_> = cluster.primaries().iter().map(RedisServer::monitor).collect();
    assert_eq!(block_on(store.take(&demands(), None)).unwrap().remaining(), 0);
    let sent: Vec<String> = monitors.iter().flat_map(Monitor::take_sent).collect();
    assert_eq!(sent.iter().filter(|line| line.contains("\"EVALSHA\"")).count(), 1, "{sent:?}");
}

#[test]
fn a_cluster_goes_on_after_a_failover_and_while_slots_move() {
    let cluster = RedisCluster::start_with(1, &[]);
    let store = fresh::patient(&cluster_url(&cluster.ports())).namespace("limiter").build().unwrap();
    let keys = spread(&cluster);
    let quota = fresh::quota("sliding_log 10/day");
    keys.iter().for_each(|key| assert_eq!(fresh::take(&store, key, &quota, 1).unwrap().remaining(), 9));

    // A slot moves to another node: first asked for there, then for good.
    let name = format!("limiter:1:{}{{={}}}:api", keys[0].len() + 1, keys[0]);
    let (from, to, slot) = (&cluster.primaries()[0], &cluster.primaries()[1], cluster.slot(&name).to_string());
    let [from_id, to_id] = [from, to].map(|node| node.command(&["CLUSTER", "MYID"]).text());
    to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    from.command(&["MIGRATE", "127.0.0.1", &to.port().to_string(), &name, "0", "5000"]);
    assert_eq!(fresh::take(&store, &keys[0], &quota, 1).unwrap().remaining(), 8);
    for node in [to, from] {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    assert_eq!(fresh::take(&store, &keys[0], &quota, 1).unwrap().remaining(), 7);

    let killed = &cluster.primaries()[2];
    eventually(
        || {
            let copy = cluster.replicas()[2].command(&["DBSIZE"]).integer();
            (copy == killed.command(&["DBSIZE"]).integer()).then_some(())
        },
        || "a copy".to_owned(),
    );
    killed.kill();
    cluster.wait_for_promotion(killed);
    assert_eq!(fresh::take_again(&store, &keys[2], &quota).remaining(), 8);
    assert_eq!(fresh::take(&store, &keys[1], &quota, 1).unwrap().remaining(), 8);
    assert!(block_on(store.sweep(None)).is_ok());
}
