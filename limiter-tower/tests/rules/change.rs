//! Rules that change while they are in force.

use super::common::{Ready, Remote, request};
use http::{Request, Response};
use limiter_core::{ManualClock, MemoryStore, Timestamp};
use limiter_tower::{Rules, RulesFormat, RulesLayer, RulesReader};
use std::{
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn};

fn rules(text: &str) -> Rules {
    RulesReader::new().parse(text, RulesFormat::Yaml).unwrap()
}

fn of_one(quota: &str) -> String {
    format!("policy: [{{ name: api, quota: {quota} }}]")
}

/// A layer whose clock stands still.
fn layer(text: &str) -> RulesLayer {
    let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
    RulesLayer::builder(rules(text), MemoryStore::new())
        .with_limiter(move |limiter| limiter.clock(clock.clone()))
        .build()
}

/// How many of so many requests are admitted, all by a clone of one service, as connections have them.
async fn admitted(layer: &RulesLayer, requests: usize) -> usize {
    let service = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) }));
    let mut admitted = 0;
    for _ in 0..requests {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        admitted += usize::from(response.status().is_success());
    }
    admitted
}

#[tokio::test]
async fn what_is_in_use_stays_in_use_under_another_quota() {
    let layer = layer(&of_one("fixed_window 10/h"));
    assert_eq!(admitted(&layer, 8).await, 8);
    assert_eq!(layer.apply(rules(&of_one("fixed_window 20/h"))).to_string(), "changed: api");
    assert_eq!(admitted(&layer, 50).await, 12, "20 in all");
    assert_eq!(layer.apply(rules(&of_one("fixed_window 5/h"))).changed().len(), 1);
    assert_eq!(admitted(&layer, 50).await, 0);
    let with_plans = "policy: [{ name: api, quota: fixed_window 5/h, key: method, plans: { GET: fixed_window 7/h } }]";
    layer.apply(rules(with_plans));
    assert_eq!(admitted(&layer, 50).await, 7, "another key has another count");
    layer.apply(rules(&with_plans.replace("7/h", "9/h")));
    assert_eq!(admitted(&layer, 50).await, 2);
}

#[tokio::test]
async fn a_service_that_is_there_already_follows() {
    let layer = layer(&of_one("1/h"));
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let mut service = layer.layer(inner);
    let mut ask = async || service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(ask().await.status(), 200);
    assert_eq!(ask().await.status(), 429);
    let change = layer.apply(rules("{ answer: text, shadow: true, policy: [{ name: other, quota: 1/h }] }"));
    assert_eq!(change.to_string(), "added: other; removed: api; settings of all policies changed");
    assert_eq!((ask().await.status(), ask().await.status()), (200.try_into().unwrap(), 200.try_into().unwrap()));
    assert!(layer.apply(layer.rules()).is_empty());
}

#[tokio::test]
async fn a_store_that_is_left_alone_stays_so_under_other_rules_unless_the_breakers_setting_changes() {
    let store = Remote::down();
    let of = |quota: &str, breaker: &str| {
        rules(&format!("{{ breaker: {breaker}, policy: [{{ name: api, quota: {quota} }}] }}"))
    };
    let layer = RulesLayer::builder(of("9/h", "{ failures: 2, pause: 10min }"), store.clone()).build();
    let mut service = layer.layer(Ready::default());
    let mut retry_after = async || {
        let refused = service.ready().await.unwrap().call(request()).await.unwrap();
        assert_eq!(refused.status(), 503);
        refused.headers().contains_key("retry-after")
    };
    assert!(!retry_after().await);
    layer.apply(of("8/h", "{ failures: 2, pause: 10min }")); // with one failure counted
    assert!(!retry_after().await);
    layer.apply(of("7/h", "{ failures: 2, pause: 10min }"));
    assert!(retry_after().await, "the pause goes on");
    assert_eq!(store.calls(), 2);
    layer.apply(of("7/h", "{ failures: 3, pause: 10min }"));
    assert!(!retry_after().await, "another setting begins anew");
    assert_eq!(store.calls(), 3);
}

#[tokio::test]
async fn a_policy_that_comes_back_knows_what_was_in_use() {
    let layer = layer(&of_one("3/h"));
    assert_eq!(admitted(&layer, 2).await, 2);
    layer.apply(rules("policy: [{ name: other, quota: 100/h }]"));
    assert_eq!(admitted(&layer, 10).await, 10);
    layer.apply(rules(&of_one("3/h")));
    assert_eq!(admitted(&layer, 10).await, 1);
}

#[tokio::test]
async fn a_request_under_way_ends_under_the_rules_it_came_under() {
    let layer = layer("policy: [{ name: api, quota: 2/h, charge_only_on: 401 }]");
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let slow = service_fn(move |_: Request<()>| {
        let wait = wait.lock().unwrap().take();
        async move {
            if let Some(wait) = wait {
                wait.await.unwrap();
            }
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let mut service = layer.layer(slow);
    let under_way = service.ready().await.unwrap().call(Request::new(()));
    layer.apply(rules("policy: [{ name: other, quota: 1/h }]"));
    go.send(()).unwrap();
    let response = under_way.await.unwrap();
    assert_eq!(response.headers()["ratelimit-policy"], "\"api\";q=2;w=3600");
    assert_eq!(
        response.headers()["ratelimit"].to_str().unwrap().split(";t").next().unwrap(),
        "\"api\";r=2",
        "given back"
    );
    let next = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(next.headers()["ratelimit-policy"], "\"other\";q=1;w=3600");
}

/// A file of rules in a folder of its own, which goes with it.
struct File {
    folder: PathBuf,
    path: PathBuf,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("limiter-rules-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("rules.yaml");
        fs::write(&path, text).unwrap();
        Self { folder, path }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_broken_file_leaves_the_rules_in_force_and_says_why() {
    let file = File::new("reload", &of_one("2/h"));
    let layer = RulesLayer::new(RulesReader::new().read(&file.path).unwrap());
    file.write(&of_one("5/hour burst"));
    let error = layer.reload().unwrap_err();
    let place = format!("{}:1:42: ", file.path.display());
    assert!(error.to_string().starts_with(&place), "{error} is not at {place}");
    assert_eq!(admitted(&layer, 5).await, 2);
    fs::remove_file(&file.path).unwrap();
    let error = layer.reload().unwrap_err();
    assert!(std::error::Error::source(&error).is_some() && error.mistakes().is_empty());
    assert!(RulesReader::new().read(file.folder.join("rules.ini")).unwrap_err().to_string().contains("rules.ini"));
    assert!(RulesLayer::new(rules(&of_one("2/h"))).reload().unwrap_err().to_string().contains("came from no file"));
}

#[tokio::test]
async fn a_watched_file_is_read_again_when_it_changes_and_each_version_is_told_once() {
    let file = File::new("watch", &of_one("2/h"));
    let layer = RulesLayer::new(RulesReader::new().read(&file.path).unwrap());
    let (tell, told) = mpsc::channel();
    let tell = move |outcome: Result<limiter_tower::RulesChange, limiter_tower::RulesError>| {
        tell.send(outcome.map(|change| change.to_string()).map_err(|error| error.mistakes().len())).unwrap();
    };
    let watch = layer.watch(Duration::from_millis(5), tell).unwrap();
    let next = || told.recv_timeout(Duration::from_secs(60)).unwrap();
    // Put in place by a rename, so that it is never seen half written.
    let put = |text: &str| {
        fs::write(file.folder.join("next"), text).unwrap();
        fs::rename(file.folder.join("next"), &file.path).unwrap();
    };
    put(&of_one("3/h"));
    assert_eq!(next(), Ok("changed: api".to_owned()));
    put("policy: [{ name: api, quota: 3/h, kay: 1, cost: -1 }]");
    assert_eq!(next(), Err(2));
    fs::remove_file(&file.path).unwrap();
    assert_eq!(next(), Err(0));
    assert_eq!(admitted(&layer, 5).await, 3);
    put(&of_one("4/h"));
    assert_eq!(next(), Ok("changed: api".to_owned()));
    assert_eq!(admitted(&layer, 5).await, 1);
    drop(watch);
    assert!(
        told.recv_timeout(Duration::from_secs(60)).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected)
    );
}
