//! What a single request can say for itself.

use std::time::Duration;

/// How long one request waits at most, instead of the client's [`max_wait`](crate::Limits::max_wait).
///
/// ```no_run
/// use limiter_reqwest::MaxWait;
/// use std::time::Duration;
///
/// # async fn run(client: reqwest_middleware::ClientWithMiddleware) -> Result<(), reqwest_middleware::Error> {
/// let request = client.get("https://api.example.com/items").with_extension(MaxWait(Duration::from_secs(2)));
/// let response = request.send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxWait(pub Duration);

/// What one request costs, in units of the quota, instead of what the client's [`cost`](crate::Limits::cost) says.
///
/// ```no_run
/// use limiter_reqwest::Cost;
///
/// # async fn run(client: reqwest_middleware::ClientWithMiddleware) -> Result<(), reqwest_middleware::Error> {
/// let response = client.get("https://api.example.com/export").with_extension(Cost(10)).send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost(pub u64);
