//! What rules say, in each format, and that the layer does it.

use http::{Request, Response, StatusCode};
use limiter_core::{ManualClock, MemoryStore, Timestamp};
use limiter_tower::{RulesFormat, RulesLayer, RulesReader};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

const TOML: &str = r#"
fields = ["structured", "legacy"]
fields_on = "denials"
answer = "text"
retry_jitter = "10s"
wait_up_to = "250ms"
on_store_failure = "decide_locally"
time_budget = "50ms"
breaker = { failures = 3, pause = "2s" }
skip = ["/health", { method = "OPTIONS" }]
block = { host = "*.bad.example" }
ipv6_prefix = 56

[proxies]
networks = ["10.0.0.0/8", "fd00::1"]
header = "forwarded"

[[policy]]
name = "per-user"
quota = { algorithm = "gcra", rates = [{ limit = 5, period = "1s", burst = 9 }, "100/min"] }
key = ["header:x-plan", "cookie:sid"]
missing = "required"
cost = 2
when = { method = ["GET", "POST"], path = "/api/*" }
refund_on = "5xx"

[policy.plans]
gold = "1000/s"

[[policy]]
name = "log-in"
quota = "fixed_window 5/15min"
local_quota = "fixed_window 2/15min"
charge_only_on = [401, 403]
shadow = true
"#;

const YAML: &str = r#"
fields: [structured, legacy]
fields_on: denials
answer: text
retry_jitter: 10
wait_up_to: 250ms
on_store_failure: decide_locally
time_budget: 50ms
breaker: { failures: 3, pause: 2 }
skip:
  - /health
  - method: OPTIONS
block: { host: "*.bad.example" }
ipv6_prefix: 56
proxies:
  networks: [10.0.0.0/8, "fd00::1"]
  header: forwarded
policy:
  - name: per-user
    quota: 5/s burst 9, 100/min
    key: [header:x-plan, cookie:sid]
    missing: required
    cost: 2
    when: { method: [GET, POST], path: /api/* }
    refund_on: 5xx
    plans:
      gold: 1000/s
  - name: log-in
    quota: fixed_window 5/15min
    local_quota: fixed_window 2/15min
    charge_only_on: [401, 403]
    shadow: true
"#;

const JSON: &str = r#"{
  "fields": ["structured", "legacy"], "fields_on": "denials", "answer": "text", "retry_jitter": "10s",
  "wait_up_to": "250ms", "on_store_failure": "decide_locally", "time_budget": "50000us",
  "breaker": { "failures": 3, "pause": "2s" },
  "skip": ["/health", { "method": "OPTIONS" }], "block": { "host": "*.bad.example" }, "ipv6_prefix": 56,
  "proxies": { "networks": ["10.0.0.0/8", "fd00::1"], "header": "forwarded" },
  "policy": [
    { "name": "per-user", "quota": ["5/s burst 9", "100/min"], "key": ["header:x-plan", "cookie:sid"],
      "missing": "required", "cost": 2, "when": { "method": ["GET", "POST"], "path": "/api/*" }, "refund_on": ["5xx"],
      "plans": { "gold": "1000/s" } },
    { "name": "log-in", "quota": "fixed_window 5/15min", "local_quota": "fixed_window 2/15min",
      "charge_only_on": [401, 403], "shadow": true }
  ]
}"#;

const UNDERSTOOD: &str = "\
fields: {Legacy, Structured}
fields on denials only
answer: Text
jitter on Retry-After: up to 10s
requests wait up to 250ms
when the store fails: DecideLocally
the store has 50ms to answer
Breaker { failures: 3, pause: 2s }
skipped: /health, OPTIONS
blocked: on *.bad.example
proxies: 10.0.0.0/8, fd00::1/128 by forwarded
IPv6 addresses: by their first 56 bits
policy per-user: 5/s burst 9, 100/min by header:x-plan and cookie:sid (requests without it are refused), each costs 2, \
     for GET|POST /api/*, refunds 5xx
  gold: 1000/s
policy log-in: fixed_window 5/15min by global, charges only 401|403, fixed_window 2/15min while the store fails, shadow
";

#[test]
fn three_formats_say_the_same() {
    let reader = RulesReader::new();
    let toml = reader.parse(TOML, RulesFormat::Toml).unwrap();
    assert_eq!(toml.to_string(), UNDERSTOOD);
    assert_eq!(reader.parse(YAML, RulesFormat::Yaml).unwrap(), toml);
    assert_eq!(reader.parse(JSON, RulesFormat::Json).unwrap(), toml);
}

#[test]
fn times_are_text_or_seconds() {
    for (time, understood) in
        [("\"1500ms\"", "1.5s"), ("90", "90s"), ("\"2min\"", "120s"), ("\"0s\"", "0ns"), ("0", "0ns")]
    {
        let text = format!("time_budget = {time}\n[[policy]]\nname = 'a'\nquota = '5/s'");
        let rules = RulesReader::new().parse(&text, RulesFormat::Toml).unwrap().to_string();
        assert!(rules.starts_with(&format!("the store has {understood} to answer\n")), "{rules}");
    }
}

/// A service of one clock, whose handler answers the status that the path ends in, else 200.
struct Served {
    layer: RulesLayer,
}

impl Served {
    fn new(toml: &str) -> Self {
        let rules = RulesReader::new().parse(toml, RulesFormat::Toml).unwrap();
        let store = MemoryStore::new();
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000));
        Self {
            layer: RulesLayer::builder(rules, store).with_limiter(move |limiter| limiter.clock(clock.clone())).build(),
        }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<String> {
        let handler = service_fn(|request: Request<()>| async move {
            let status = request.uri().path().rsplit('/').next().and_then(|last| last.parse().ok());
            let mut response = Response::new(String::new());
            *response.status_mut() = status.unwrap_or(StatusCode::OK);
            Ok::<_, Infallible>(response)
        });
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.layer.layer(handler).oneshot(request.body(()).unwrap()).await.unwrap()
    }

    async fn status(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(method, path, headers).await.status().as_u16()
    }
}

#[tokio::test]
async fn a_plan_is_the_keys_value_or_its_first_members() {
    let served = Served::new(
        r#"policy = [{ name = "api", quota = "1/h", key = ["header:plan", "header:user"],
                       plans = { gold = "3/h", go = "2/h" } }]"#,
    );
    for (plan, user, admitted) in
        [("gold", "ada", 3), ("gold", "bob", 3), ("go", "ada", 2), ("goldx", "ada", 1), ("", "ada", 1)]
    {
        for asked in 0..5 {
            let status = served.status("GET", "/", &[("plan", plan), ("user", user)]).await;
            assert_eq!(status, if asked < admitted { 200 } else { 429 }, "{plan} {user} {asked}");
        }
    }
    let single =
        Served::new(r#"policy = [{ name = "api", quota = "1/h", key = "header:plan", plans = { gold = "3/h" } }]"#);
    for (plan, left) in [("gold", "2"), ("gol", "0"), ("golde", "0")] {
        let response = single.ask("GET", "/", &[("plan", plan)]).await;
        assert!(response.headers()["ratelimit"].to_str().unwrap().contains(&format!("r={left}")), "{plan}");
    }
}

#[tokio::test]
async fn conditions_costs_and_outcomes_are_as_written() {
    let served = Served::new(
        r#"
        skip = "/health"
        block = { path = "/admin/*" }
        answer = "json"
        [[policy]]
        name = "writes"
        quota = "4/h"
        cost = 2
        when = { method = "POST" }
        [[policy]]
        name = "failures"
        quota = "1/h"
        key = "query:user"
        missing = "optional"
        charge_only_on = 401
        "#,
    );
    assert_eq!(served.status("POST", "/", &[]).await, 200);
    assert_eq!(served.status("POST", "/", &[]).await, 200);
    assert_eq!(served.status("POST", "/health", &[]).await, 200, "skipped");
    let refused = served.ask("POST", "/", &[]).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["content-type"]),
        (429, &"application/json".parse().unwrap())
    );
    assert!(refused.body().contains("\"writes\""), "{}", refused.body());
    assert_eq!(served.status("GET", "/admin/users", &[]).await, 403);
    for _ in 0..3 {
        assert_eq!(served.status("GET", "/200?user=ada", &[]).await, 200, "what does not fail is free");
    }
    assert_eq!(served.status("GET", "/401?user=ada", &[]).await, 401);
    assert_eq!(served.status("GET", "/200?user=ada", &[]).await, 429);
    assert_eq!(served.status("GET", "/200?user=bob", &[]).await, 200);
    assert_eq!(served.status("GET", "/200", &[]).await, 200, "optional");
}
