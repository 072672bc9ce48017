//! A store of one's own: `cargo run --example custom-store`.
//!
//! Its states belong to a thread, and every call is a message to it. That is the shape of a store on a server, without
//! the server: `store` sends, `states` decides at the other end, `answer` brings the result back. The contract's own
//! tests run over it in `examples/tests/custom_store.rs`.

mod answer;
mod states;
mod store;

use limiter_core::{Limiter, ManualClock, Timestamp};
use std::time::Duration;
pub(crate) use store::ThreadStore;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    run().await
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let store = ThreadStore::start()?;
    let clock = ManualClock::new(Timestamp::from_micros(1_760_000_000_000_000));
    let limiter = |name, quota: &str| -> anyhow::Result<_> {
        let builder = Limiter::builder(quota.parse()?).name(name).store(store.clone());
        Ok(builder.clock(clock.clone()).sleep(clock.clone()).build())
    };
    let (user, everybody) = (limiter("user", "sliding_log 2/s")?, limiter("everybody", "5/min")?);

    // Several limiters over one store decide in one step: all or nothing.
    for who in ["ada", "ada", "ada", "bob"] {
        println!("{who}: {}", Limiter::all([user.on(who), everybody.on(())]).check_async().await?);
    }

    // Waiting works over any store, here in virtual time.
    let waits = async {
        let permit = user.acquire("ada").await?;
        println!("ada: granted {} unit after a wait", permit.cost());
        anyhow::Ok(())
    };
    let time = async {
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(2));
        anyhow::Ok(())
    };
    tokio::try_join!(waits, time)?;
    Ok(())
}
