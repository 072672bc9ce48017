//! The clock that processes share through the file.

use crate::{folder::Folder, support::block_on};
use limiter_core::{Clock, Limiter, SqliteStore, Store, SystemClock, Timestamp};
use std::time::Duration;

const DAY_US: i64 = 86_400_000_000;

fn limiter(folder: &Folder) -> Limiter<SqliteStore> {
    Limiter::builder("sliding_log 3/h".parse().unwrap()).name("takes").store(folder.store()).build()
}

fn tamper(folder: &Folder, sql: &str, offset_us: i64) {
    let file = rusqlite::Connection::open(folder.file()).unwrap();
    assert_eq!(file.execute(sql, [offset_us]).unwrap(), 1);
}

fn now(store: &SqliteStore) -> Timestamp {
    block_on(store.now(None)).unwrap()
}

#[test]
fn it_shows_the_wall_time_and_one_time_to_all_connections() {
    let folder = Folder::new();
    let stores = [0; 3].map(|_| folder.store());
    let mut last = Timestamp::MIN;
    let wall = SystemClock.now();
    for _ in 0..200 {
        for store in &stores {
            let next = now(store);
            assert!(next >= last, "{next:?} after {last:?}");
            last = next;
        }
    }
    assert!(last.saturating_since(wall) < Duration::from_secs(60) && wall.saturating_since(last).is_zero());
}

#[test]
fn a_correction_of_the_wall_time_does_not_reach_a_file_in_use() {
    let folder = Folder::new();
    block_on(folder.store().ready()).unwrap();
    tamper(&folder, "UPDATE clock SET offset_us = offset_us - ?", DAY_US); // as if the wall had been set a day ahead since
    let behind = SystemClock.now().saturating_since(now(&folder.store()));
    assert!(behind > Duration::from_secs(86_000), "{behind:?}");
}

#[test]
fn after_a_reboot_it_is_anchored_anew() {
    let folder = Folder::new();
    block_on(folder.store().ready()).unwrap();
    tamper(&folder, "UPDATE clock SET boot = zeroblob(16), offset_us = ?", 17);
    let wall = SystemClock.now();
    let first = now(&folder.store());
    assert!(first >= wall && first.saturating_since(wall) < Duration::from_secs(60), "{first:?} at {wall:?}");
    assert!(now(&folder.store()) >= first);
}

#[test]
fn after_a_reboot_with_the_wall_time_set_back_nothing_is_minted() {
    let folder = Folder::new();
    block_on(folder.store().ready()).unwrap();
    tamper(&folder, "UPDATE clock SET offset_us = offset_us + ?", DAY_US); // the old boot ran a day ahead
    let taken = limiter(&folder).blocking().check_n("ada", 3).unwrap();
    tamper(&folder, "UPDATE clock SET boot = zeroblob(16), offset_us = ?", 0);
    let denied = limiter(&folder).blocking().check("ada").unwrap();
    assert!(!denied.allowed());
    assert!(denied.at() >= taken.at());
    // Nor does it wait longer than from the take on.
    let wait = denied.retry_after().unwrap();
    assert!(wait <= Duration::from_secs(3600) + Duration::from_micros(1), "{wait:?}");
}

#[test]
fn instants_of_an_injected_clock_do_not_move_it() {
    let folder = Folder::new();
    let far = Timestamp::from(std::time::SystemTime::now()).saturating_add(Duration::from_secs(9 * 365 * 86_400));
    let limiter = Limiter::builder("3/h".parse().unwrap()).store(folder.store()).clock(far).build();
    assert_eq!(limiter.blocking().check("ada").unwrap().at(), far);
    drop(limiter);
    tamper(&folder, "UPDATE clock SET boot = zeroblob(16), offset_us = ?", 0);
    assert!(now(&folder.store()) < far);
}
