//! The server example over a real socket.

#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
#[allow(dead_code)]
#[path = "../server/main.rs"]
mod server;

use reqwest::{Client, StatusCode};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::net::TcpListener;

async fn started() -> (Client, String) {
    served(server::app().unwrap()).await
}

async fn served(app: axum::Router) -> (Client, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    (Client::builder().no_proxy().build().unwrap(), base)
}

#[tokio::test]
async fn an_address_gets_its_burst_and_is_then_told_when_to_come_back() {
    let (client, base) = started().await;
    let mut refused = None;
    for _ in 0..100 {
        let response = client.get(&base).send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
        assert_eq!(response.status(), StatusCode::OK);
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.text().await.unwrap().contains(r#""violated-policies":["address-1s"]"#));
    assert_eq!(client.get(format!("{base}/health")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn each_api_key_has_its_own_quota_and_none_is_refused() {
    let (client, base) = started().await;
    let report = |key: &'static str| client.get(format!("{base}/report")).header("x-api-key", key).send();
    let mut left = Vec::new();
    for key in ["ada", "bob", "ada"] {
        let response = report(key).await.unwrap();
        left.push(response.text().await.unwrap());
    }
    // A window may end between two of the requests; what is left is then as much as before.
    assert_eq!(left[0], r#"{"limit":3,"remaining":2}"#);
    assert_eq!(left[1], r#"{"limit":3,"remaining":2}"#);
    assert!([r#"{"limit":3,"remaining":1}"#, r#"{"limit":3,"remaining":2}"#].contains(&left[2].as_str()));
    let without = client.get(format!("{base}/report")).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
#[cfg_attr(target_os = "macos", ignore = "loopback has a single address there")]
async fn the_quota_of_all_together_refuses_although_no_address_has_used_its_own() {
    let (_, base) = started().await;
    let mut refused = None;
    // 100 a second for all; 10 at once for each address, and no address asks for more.
    'all: for host in 1..=254 {
        let address = IpAddr::from([127, 0, 0, host]);
        let client = Client::builder().no_proxy().local_address(address).build().unwrap();
        for _ in 0..10 {
            let response = client.get(&base).send().await.unwrap();
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                refused = Some((client, response));
                break 'all;
            }
            assert_eq!(response.status(), StatusCode::OK);
        }
    }
    let (client, refused) = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit-policy"], r#""overall";q=100;w=1"#);
    assert!(refused.text().await.unwrap().contains(r#""violated-policies":["overall"]"#));
    assert_eq!(client.get(format!("{base}/health")).send().await.unwrap().status(), StatusCode::OK);
}

fn rules(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("server").join(name)
}

#[test]
fn the_rules_in_each_format_are_the_same() {
    let reader = limiter_axum::rules_reader();
    let toml = reader.read(rules("rules.toml")).unwrap();
    assert_eq!(reader.read(rules("rules.yaml")).unwrap(), toml);
    assert_eq!(reader.read(rules("rules.json")).unwrap(), toml);
}

#[tokio::test]
async fn the_rules_limit_as_they_say() {
    let layer = server::rules::layer(&rules("rules.toml")).unwrap();
    let (client, base) = served(server::rules::app(layer)).await;
    let report = async |key: Option<&str>, from: &str| {
        let request = client.get(format!("{base}/report")).header("x-forwarded-for", from);
        key.into_iter().fold(request, |request, key| request.header("x-api-key", key)).send().await.unwrap()
    };
    assert_eq!(report(None, "203.0.113.1").await.status(), StatusCode::BAD_REQUEST);
    for (key, limit) in [("ada", "3"), ("gold", "30")] {
        let response = report(Some(key), "203.0.113.1").await;
        assert_eq!(response.status(), StatusCode::OK);
        let told = response.headers()["ratelimit-policy"].to_str().unwrap();
        assert!(told.contains(&format!("\"api-key\";q={limit};w=10")) && !told.contains("planned"), "{told}");
    }
    // Of ten at once each address has its own, whatever it says the others are.
    let mut refused = 0;
    for asked in 0..20 {
        let response = client.get(&base).header("x-forwarded-for", format!("10.9.8.{asked}, 203.0.113.2")).send().await;
        refused += usize::from(response.unwrap().status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 0);
    let other = client.get(&base).header("x-forwarded-for", "203.0.113.3").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    let health = client.get(format!("{base}/health")).send().await.unwrap();
    assert!(!health.headers().contains_key("ratelimit-policy"));
}

#[test]
fn check_says_how_a_file_is_understood_or_what_is_wrong_and_exits_so() {
    let check = |path: &Path| {
        let output = Command::new(program::built("server")).arg("--check").arg(path).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, complaints) = check(&rules("rules.yaml"));
    assert_eq!((code, complaints.as_str()), (Some(0), ""));
    assert!(said.contains("\npolicy address: 5/s burst 10, 300/min by client and route\n"), "{said}");
    let broken = File::new("check", "[[policy]]\nname = \"api\"\nquota = \"5/dya\"\nkey = \"pear\"\n");
    let (code, said, complaints) = check(&broken.path);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let lines: Vec<&str> = complaints.lines().collect();
    let path = broken.path.display();
    assert!(
        lines[0].starts_with(&format!("{path}:3:12: the quota has \"dya\", where it needs a period: ")),
        "{complaints}"
    );
    assert_eq!(
        lines[1..],
        [format!(
            "{path}:4:7: there is no key \"pear\": did you mean \"peer\"? Allowed: global, method, header:NAME, \
             cookie:NAME, query:NAME, peer, client, route"
        )]
    );
}

#[tokio::test]
async fn the_program_serves_from_a_file_and_follows_it() {
    let file = File::new("serve", "policy = [{ name = 'all', quota = 'fixed_window 1/week' }]");
    let program = Command::new(program::built("server"))
        .args(["--listen", "127.0.0.1:0", "--rules"])
        .arg(&file.path)
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Program(program.unwrap());
    let mut lines = BufReader::new(program.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let base = first.split([' ', ';']).find(|word| word.starts_with("http://")).unwrap().to_owned();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    let ask = async || client.get(&base).send().await.unwrap().status().as_u16();
    assert_eq!([ask().await, ask().await], [200, 429]);
    file.put("policy = [{ name = 'all', quota = 'fixed_window 3/week' }]");
    assert!(lines.any(|line| line == "rules: changed: all"));
    assert_eq!([ask().await, ask().await, ask().await], [200, 200, 429]);
}

/// A file of rules in a folder of its own, which goes with it.
struct File {
    path: PathBuf,
}

/// Ends with its test.
struct Program(Child);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("limiter-server-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = Self { path: folder.join("rules.toml") };
        file.put(text);
        file
    }

    /// In place by a rename, so that it is never seen half written.
    fn put(&self, text: &str) {
        let next = self.path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &self.path).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = self.path.parent().map(fs::remove_dir_all);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
