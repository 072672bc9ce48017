//! Rules from a file over real sockets: served, changed while requests run, and broken.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    routing::{get, post},
};
use common::{Server, serve, serve_with_peers};
use limiter_axum::{RulesFormat, RulesLayer, rules_reader};
use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A file of rules in a folder of its own, which goes with it.
struct File {
    folder: PathBuf,
    path: PathBuf,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("limiter-axum-rules-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = Self { path: folder.join("rules.toml"), folder };
        file.put(text);
        file
    }

    fn put(&self, text: &str) {
        fs::write(self.folder.join("next"), text).unwrap();
        fs::rename(self.folder.join("next"), &self.path).unwrap();
    }

    fn layer(&self) -> RulesLayer {
        RulesLayer::new(rules_reader().read(&self.path).unwrap())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn app(layer: RulesLayer) -> Router {
    let routes = Router::new()
        .route("/", get(async || "home"))
        .route("/users/{id}", get(async || "a user"))
        .route("/export", post(async || "exported"));
    routes.layer(layer)
}

#[tokio::test]
async fn addresses_behind_proxies_and_routes_are_limited_as_written() {
    let file = File::new(
        "served",
        r#"
        [proxies]
        networks = ["127.0.0.1"]

        [[policy]]
        name = "client"
        quota = "fixed_window 3/day"
        key = "client"
        when = { method = "GET" }

        [[policy]]
        name = "route"
        quota = "1000/s"
        key = "route"
        plans = { "POST /export" = "fixed_window 2/day", "GET /users/{id}" = "fixed_window 4/day" }
        "#,
    );
    let server = serve_with_peers(app(file.layer())).await;
    let from = async |client: &str, method: &str, path: &str| {
        server.send(method, path, &format!("x-forwarded-for: 1.2.3.4, {client}\r\n")).await
    };
    for left in ["2", "1", "0"] {
        let reply = from("203.0.113.1", "GET", "/").await;
        assert!(
            reply.headers["ratelimit"].starts_with(&format!("\"client\";r={left}")),
            "{}",
            reply.headers["ratelimit"]
        );
    }
    let refused = from("203.0.113.1", "GET", "/").await;
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains(r#""violated-policies":["client"]"#), "{}", refused.body);
    assert_eq!(from("203.0.113.2", "GET", "/users/1").await.status, 200);
    for expected in [200, 200, 429] {
        assert_eq!(from("203.0.113.1", "POST", "/export").await.status, expected);
    }
    for (client, expected) in [("203.0.113.3", 200), ("203.0.113.4", 200), ("203.0.113.5", 200), ("203.0.113.6", 429)] {
        assert_eq!(from(client, "GET", "/users/2").await.status, expected, "all paths of a route are one");
    }
    let without_peers = serve(app(file.layer())).await;
    let reply = without_peers.get("/").await;
    assert_eq!(reply.status, 500, "never unlimited");
    assert!(reply.body.contains("into_make_service_with_connect_info"), "{}", reply.body);
}

fn of_one(limit: usize) -> String {
    format!("[[policy]]\nname = \"api\"\nquota = \"fixed_window {limit}/week\"\n")
}

/// Asks with several clients at once until told to stop; how many requests were let in so far.
struct Crowd {
    admitted: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    fn on(server: Server) -> Self {
        let (admitted, asked, stop) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let client = |_| {
            let (admitted, asked, stop) = (Arc::clone(&admitted), Arc::clone(&asked), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match server.get("/").await.status {
                        200 => admitted.fetch_add(1, Ordering::Relaxed),
                        429 => 0,
                        other => unreachable!("{other}"),
                    };
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let clients = (0..4).map(client).collect();
        Self { admitted, asked, stop, clients }
    }

    /// Waits for so many more requests.
    async fn asks(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        while self.asked.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.admitted.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shrinking_quotas_let_in_no_more_than_the_largest_one() {
    let file = File::new("shrunk", &of_one(60));
    let layer = file.layer();
    let server = serve(app(layer.clone())).await;
    let crowd = Crowd::on(server);
    for limit in [50, 40, 30, 20] {
        crowd.asks(9).await;
        file.put(&of_one(limit));
        assert_eq!(layer.reload().unwrap().to_string(), "changed: api");
    }
    crowd.asks(80).await;
    let admitted = crowd.end().await;
    assert!((20..=60).contains(&admitted), "{admitted}");
    assert_eq!(server.get("/").await.status, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_quotas_let_in_exactly_the_largest_one() {
    let file = File::new("grown", &of_one(10));
    let layer = file.layer();
    let server = serve(app(layer.clone())).await;
    let crowd = Crowd::on(server);
    for limit in [20, 30, 50, 75] {
        crowd.asks(7).await;
        file.put(&of_one(limit));
        layer.reload().unwrap();
    }
    crowd.asks(120).await;
    assert_eq!(crowd.end().await, 75);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_keeps_serving_and_is_told_and_a_good_one_follows() {
    let file = File::new("broken", &of_one(5));
    let layer = file.layer();
    let server = serve(app(layer.clone())).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let watch = layer
        .watch(Duration::from_millis(5), move |outcome| {
            let outcome = outcome.map(|change| change.to_string()).map_err(|error| error.to_string());
            tell.send(outcome).unwrap();
        })
        .unwrap();
    assert_eq!(server.statuses(["/", "/", "/"]).await, [200; 3]);
    file.put("[[policy]]\nname = \"api\"\nquota = \"6/wek\"\n");
    let error = told.recv().await.unwrap().unwrap_err();
    assert!(error.starts_with(&format!("{}:3:12: the quota has \"wek\"", file.path.display())), "{error}");
    assert_eq!(server.statuses(["/", "/", "/"]).await, [200, 200, 429], "as before");
    file.put(&of_one(6));
    assert_eq!(told.recv().await.unwrap(), Ok("changed: api".to_owned()));
    assert_eq!(server.statuses(["/", "/"]).await, [200, 429]);
    drop(watch);
    assert!(told.recv().await.is_none(), "the thread is gone");
}

#[tokio::test]
async fn policies_appear_and_vanish_on_connections_that_are_there() {
    let parse = |text: &str| rules_reader().parse(text, RulesFormat::Toml).unwrap();
    let layer = RulesLayer::new(parse(&of_one(1)));
    let server = serve(app(layer.clone())).await;
    assert_eq!(server.statuses(["/", "/"]).await, [200, 429]);
    layer.apply(parse("answer = \"json\"\n[[policy]]\nname = \"users\"\nquota = \"1/day\"\nwhen = \"/users/*\"\n"));
    assert_eq!(server.statuses(["/", "/", "/users/1", "/users/2"]).await, [200, 200, 200, 429]);
    assert_eq!(server.get("/users/1").await.headers["content-type"], "application/json");
    layer.apply(parse(&of_one(1)));
    assert_eq!(server.statuses(["/users/1", "/"]).await, [429, 429], "what was in use still is");
}
