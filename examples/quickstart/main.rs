//! Each way of asking a limiter, in a minute: `cargo run --example quickstart`.

use limiter_core::{Error, Limiter, Quota, Rate};
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

pub(crate) async fn run() -> anyhow::Result<()> {
    // A quota is an algorithm and one or more rates; text says the same.
    let quota = Quota::sliding_log([Rate::per_second(3)?, Rate::per_minute(60)?])?;
    assert_eq!(quota, "sliding_log 3/s, 60/min".parse()?);
    let limiter = Limiter::new(quota);

    // Check: never waits. Every key has units of its own; a key is text, a number, an address, or a tuple of them.
    for _ in 0..4 {
        println!("check:     {}", limiter.check("ada")?);
    }
    println!("other key: {}", limiter.check(("GET", "/search", 42_u64))?);

    // A request can cost more than one unit, all or nothing. What can never fit is an error that says so.
    println!("cost 2:    {}", limiter.check_n("bob", 2)?);
    if let Err(error) = limiter.check_n("bob", 4) {
        println!("cost 4:    {error}");
    }

    // Peek: what a check would say, without taking anything. Reset: forget the key.
    println!("peek:      {}", limiter.peek("ada")?);
    limiter.reset("ada")?;
    println!("reset:     {}", limiter.peek("ada")?);

    // Acquire: waits its turn. First come, first served on each key.
    let started = Instant::now();
    for _ in 0..4 {
        let _permit = limiter.acquire("eve").await?;
        println!("acquire:   granted after {:.1?}", started.elapsed());
    }

    // With a timeout, what cannot be granted in time is refused at once.
    match limiter.acquire("eve").cost(3).timeout(Duration::from_millis(10)).await {
        Err(Error::WaitTooLong { needed, allowed }) => println!("timeout:   {needed:.1?} needed, {allowed:?} allowed"),
        other => println!("timeout:   {other:?}"),
    }

    // A permit can be refunded where nothing was done, or settled at the true cost.
    let permit = limiter.acquire("tokens").cost(3).await?;
    println!("settled:   {}", permit.settle(1).await?);

    // The same from code without a runtime.
    let blocking = limiter.clone();
    let thread = std::thread::spawn(move || blocking.acquire("eve").blocking().map(|permit| permit.cost()));
    println!("blocking:  {:?} unit", thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??);
    Ok(())
}
