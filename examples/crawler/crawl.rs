//! The crawl: some tasks per host that take URLs from its list until there are none left.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{StatusCode, Url};
use tokio::task::JoinSet;

/// Fetches every URL of every host with `concurrency` tasks a host; what came back is in the hosts.
///
/// Dropping the future ends its tasks.
///
/// # Errors
/// The first of `fetch`: there is no going on.
pub(crate) async fn crawl<F, Fut>(hosts: &[Arc<Host>], concurrency: usize, fetch: F) -> anyhow::Result<()>
where
    F: Fn(Url) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<Fetched>> + Send,
{
    let mut tasks = JoinSet::new();
    for host in hosts {
        for _ in 0..concurrency.min(host.urls.len()) {
            let (host, fetch) = (Arc::clone(host), fetch.clone());
            tasks.spawn(async move {
                while let Some(url) = host.next_url() {
                    match fetch(url).await? {
                        Fetched::Answer(status) => host.record(Ok(status)),
                        Fetched::Failed(error) => host.record(Err(error)),
                        Fetched::Stopped => break,
                    }
                }
                anyhow::Ok(())
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// What came of fetching a URL.
pub(crate) enum Fetched {
    /// Its answer, read to the end.
    Answer(StatusCode),
    /// None came.
    Failed(anyhow::Error),
    /// Nothing was asked, or not waited for: the crawl is to stop.
    Stopped,
}

/// What to fetch from one host, and what came of it.
pub(crate) struct Host {
    pub(crate) name: String,
    urls: Vec<Url>,
    next: AtomicUsize,
    started: Instant,
    answers: Mutex<Vec<Answer>>,
    first_error: OnceLock<String>,
}

/// One answer, or the lack of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Since the crawl started.
    pub(crate) at: Duration,
    /// `None` if the request failed.
    pub(crate) status: Option<StatusCode>,
}

impl Answer {
    pub(crate) fn is_429(&self) -> bool {
        self.status == Some(StatusCode::TOO_MANY_REQUESTS)
    }
}

impl Host {
    pub(crate) fn new(name: String, urls: Vec<Url>, started: Instant) -> Self {
        Self { name, urls, next: AtomicUsize::new(0), started, answers: Mutex::default(), first_error: OnceLock::new() }
    }

    pub(crate) fn total(&self) -> usize {
        self.urls.len()
    }

    /// One of its URLs.
    pub(crate) fn url(&self) -> Option<&Url> {
        self.urls.first()
    }

    /// What came back so far, in the order of time.
    pub(crate) fn answers(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the first request that failed did so.
    pub(crate) fn first_error(&self) -> Option<&str> {
        self.first_error.get().map(String::as_str)
    }

    /// Time since the crawl started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn next_url(&self) -> Option<Url> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.urls.get(index).cloned()
    }

    fn record(&self, answer: anyhow::Result<StatusCode>) {
        let status = answer.map_err(|error| self.first_error.get_or_init(|| format!("{error:#}"))).ok();
        let mut answers = self.answers();
        // Read inside the lock: the list stays in the order of time.
        answers.push(Answer { at: self.elapsed(), status });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, urls: usize) -> Arc<Host> {
        let url = |n| Url::parse(&format!("http://{name}/item/{n}")).unwrap();
        let urls = (0..urls).map(url).collect();
        Arc::new(Host::new(name.to_owned(), urls, Instant::now()))
    }

    #[tokio::test]
    async fn every_url_is_fetched_once() {
        let hosts = [host("a", 100), host("b", 3), host("c", 0)];
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        crawl(&hosts, 8, move |url| {
            let log = Arc::clone(&log);
            async move {
                log.lock().unwrap().push(url.to_string());
                tokio::task::yield_now().await;
                Ok(Fetched::Answer(StatusCode::OK))
            }
        })
        .await
        .unwrap();

        let mut seen = seen.lock().unwrap().clone();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 103);
        assert_eq!(hosts.each_ref().map(|host| host.answers().len()), [100, 3, 0]);
        assert!(hosts[0].answers().is_sorted_by_key(|answer| answer.at));
    }

    #[tokio::test]
    async fn a_failure_is_an_answer_too() {
        let hosts = [host("a", 4)];
        crawl(&hosts, 1, async |url: Url| match url.path() {
            "/item/0" => Ok(Fetched::Answer(StatusCode::TOO_MANY_REQUESTS)),
            path => Ok(Fetched::Failed(anyhow::anyhow!("no way to {path}"))),
        })
        .await
        .unwrap();

        let answers = hosts[0].answers();
        assert_eq!(answers.iter().filter(|answer| answer.is_429()).count(), 1);
        assert_eq!(answers.iter().filter(|a| a.status.is_none()).count(), 3);
        assert_eq!(hosts[0].first_error(), Some("no way to /item/1"));
    }

    #[tokio::test]
    async fn to_stop_ends_each_task_and_an_error_ends_all() {
        let hosts = [host("a", 10)];
        crawl(&hosts, 2, async |_| Ok(Fetched::Stopped)).await.unwrap();
        assert_eq!(hosts[0].answers().len(), 0);
        let error = crawl(&[host("b", 10)], 2, async |_| anyhow::bail!("the disk is full")).await.unwrap_err();
        assert_eq!(error.to_string(), "the disk is full");
    }
}
