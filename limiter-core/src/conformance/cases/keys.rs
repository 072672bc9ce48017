//! Which keys are the same.

use super::{Failure, after, quota};
use crate::{
    Store,
    conformance::{Harness, beside::Key, failure::ensure},
    store::{Adjust, Demand, Scope},
};

/// Keys that are easily taken for one another.
fn keys() -> Vec<Vec<u8>> {
    let texts = [
        "", "a", "b", "A", "aa", "a ", " a", "a:", ":a", "a:b", "a:b:c", "b:a", "{a}", "{a}b", "{b}a", "{}", "{", "}",
        "*", "a*", "?", "[a]", "%", "_", "'", "''", "\"", "\\", "\\x61", "a\n", "a\r", "a/b", "../a", ".", "..", "0",
        "00", "1e0", "-1", "null", "NULL", "$1", "ä", "a\u{308}", "'; --", "\u{202e}",
    ];
    let mut keys: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    keys.extend(
        [&b"\0"[..], b"\0\0", b"a\0", b"\0a", b"a\0b", b"\xff", b"\xff\xfe", b"\x80", b"\xc3", b"a\xc3"].map(Vec::from),
    );
    // All but a byte in common, at the lengths where keys begin to be hashed, and very long.
    for len in [8, 16, 31, 32, 33, 63, 64, 65, 66, 128, 255, 256, 1000, 10_000] {
        for last in [0, 1, b'k'] {
            let mut key = vec![b'k'; len];
            key[len - 1] = last;
            keys.push(key.clone());
            key.reverse();
            keys.push(key);
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

pub(in super::super) async fn keys_do_not_meet<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (scope, quota, now, keys) = (Scope::new("keys"), quota("sliding_log 1/day")?, after(0), keys());
    for (admits, what) in [(true, "the first take of a key"), (false, "its second take")] {
        for key in &keys {
            let demand = Demand::new(&scope, key, &quota, 1);
            let got = store.take(&[demand], Some(&now)).await?;
            ensure!(got.allowed() == admits, "{what}, {}: expected {admits}, got {got:?}", Key(key));
        }
    }
    // Every other one is forgotten, and only those.
    for key in keys.iter().step_by(2) {
        store.reset(&scope, key).await?;
    }
    for (nth, key) in keys.iter().enumerate() {
        let demand = Demand::new(&scope, key, &quota, 1);
        let (got, is_reset) = (store.take(&[demand], Some(&now)).await?, nth % 2 == 0);
        ensure!(got.allowed() == is_reset, "after resets of others, {}: expected {is_reset}, got {got:?}", Key(key));
    }
    Ok(())
}

pub(in super::super) async fn limiters_do_not_meet<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let (quota, now) = (quota("fixed_window 1/day")?, after(0));
    let long = "n".repeat(300);
    let names = [
        "",
        "a",
        "b",
        "A",
        "a:",
        ":a",
        "a:b",
        "a:b:c",
        "{a}",
        "a{b}",
        "{}",
        "a\0",
        "\0a",
        "a b",
        "a'b",
        "a\"b",
        "ä",
        "%",
        "a/",
        &long,
        &long[1..],
    ];
    let keys: [&[u8]; 10] = [b"", b"a", b"b", b":a", b"a:", b"b:c", b"c", b"a:b", b"\0", b"{a}"];
    let mut scopes = Vec::from(names.map(Scope::new));
    scopes.extend([scopes[0].next(), scopes[1].next(), scopes[1].next().next()]); // restarted limiters begin anew
    for (admits, what) in [(true, "first"), (false, "second")] {
        for scope in &scopes {
            for key in keys {
                let got = store.take(&[Demand::new(scope, key, &quota, 1)], Some(&now)).await?;
                let name = scope.name();
                ensure!(
                    got.allowed() == admits,
                    "{what} take of {name:?}, {}: expected {admits}, got {got:?}",
                    Key(key)
                );
            }
        }
    }
    // One limiter's reset and block are not another's.
    let (a, b) = (&scopes[1], &scopes[2]);
    store.reset(a, b"a").await?;
    store.adjust(Demand::new(a, b"b", &quota, 0), Adjust::Block { until: after(1_000) }, Some(&now)).await?;
    let (of_a, of_b) = (Demand::new(a, b"a", &quota, 1), Demand::new(b, b"a", &quota, 1));
    ensure!(store.peek(&[of_a], Some(&now)).await?.allowed(), "expected the reset key to be new, got a denial");
    ensure!(
        !store.peek(&[of_b], Some(&now)).await?.allowed(),
        "expected another limiter's key to stay, got a unit of it"
    );
    let blocked = store.peek(&[Demand::new(b, b"b", &quota, 1)], Some(&now)).await?.blocked_for();
    ensure!(blocked.is_zero(), "expected another limiter's key not to be blocked, got a block of {blocked:?}");
    Ok(())
}

pub(in super::super) async fn a_name_is_one_limiter<H: Harness>(harness: &H) -> Result<(), Failure> {
    let store = harness.fresh().await;
    let now = after(0);
    for name in ["", "api", "ä {a}:\0"] {
        let (first, second) = (Scope::new(name), Scope::new(String::from(name)));
        // Quotas that are equal are one quota, wherever they were made.
        let (quota, equal) = (quota("sliding_window 2/min, 10/h")?, quota("sliding_window 2/min, 10/h")?);
        let takes = [(&first, &quota), (&second, &equal), (&first.clone(), &quota.clone())];
        for (nth, (scope, quota)) in takes.into_iter().enumerate() {
            let got = store.take(&[Demand::new(scope, b"ada", quota, 1)], Some(&now)).await?;
            ensure!(got.allowed() == (nth < 2), "{name:?}: take {nth} of 2 units: expected {}, got {got:?}", nth < 2);
        }
        store.reset(&second, b"ada").await?;
        let got = store.peek(&[Demand::new(&first, b"ada", &quota, 2)], Some(&now)).await?;
        ensure!(got.allowed(), "{name:?}: expected a reset by an equal name to count, got {got:?}");
    }
    Ok(())
}
