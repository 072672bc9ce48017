//! Each mistake is told with its place, what is allowed, and what was probably meant.

use RulesFormat::{Json, Toml, Yaml};
use http::request::Parts;
use limiter_tower::{KeyError, RulesFormat, RulesReader};

const OF_A_POLICY: &str =
    "name, quota, key, missing, plans, cost, when, refund_on, charge_only_on, local_quota, shadow";
const AT_THE_TOP: &str = "fields, fields_on, answer, retry_jitter, shadow, wait_up_to, on_store_failure, \
     time_budget, breaker, skip, block, proxies, ipv6_prefix, policy";
const PERIODS: &str =
    "a period: us, ms, s, min, h, day or week, with a number before it where it is not one (\"72/3s\")";
const KEYS: &str = "global, method, header:NAME, cookie:NAME, query:NAME, peer, client, tenant";

fn told(text: &str, format: RulesFormat) -> Vec<String> {
    let reader = RulesReader::new().peer(|_| Err(KeyError::new("no peer"))).key("tenant", |_: &Parts| 1_u64);
    let error = reader.parse(text, format).expect_err(text);
    assert_eq!(error.mistakes().len(), error.to_string().lines().count());
    error.to_string().lines().map(str::to_owned).collect()
}

#[track_caller]
fn check(format: RulesFormat, text: &str, says: &[&str]) {
    assert_eq!(told(text, format), says, "{text}");
}

/// The mistakes of one policy in TOML, whose name and quota are right and in line 2 and 3.
#[track_caller]
fn check_policy(line_4: &str, says: &str) {
    check(Toml, &format!("[[policy]]\nname = \"api\"\nquota = \"5/s\"\n{line_4}\n"), &[says]);
}

#[track_caller]
fn check_top(line_1: &str, says: &str) {
    check(Toml, &format!("{line_1}\n[[policy]]\nname = \"api\"\nquota = \"5/s\"\n"), &[says]);
}

#[test]
fn unknown_names_and_words() {
    check_policy("quta = 1", &format!("4:1: a policy has no \"quta\": did you mean \"quota\"? Allowed: {OF_A_POLICY}"));
    check_policy("colour = 1", &format!("4:1: a policy has no \"colour\"; allowed: {OF_A_POLICY}"));
    check_policy(
        "answer = \"json\"",
        "4:1: a policy has no \"answer\"; it is for all policies and stands at the top, before the first policy",
    );
    check_policy("[rules]", &format!("4:2: the whole has no \"rules\"; allowed: {AT_THE_TOP}"));
    check_top("polcy = 1", &format!("1:1: the whole has no \"polcy\": did you mean \"policy\"? Allowed: {AT_THE_TOP}"));
    check_top(
        "answer = \"jsn\"",
        "1:10: \"jsn\" is no answer: did you mean \"json\"? Allowed: problem, text, json, grpc, by_request",
    );
    check_top(
        "fields = [\"structured\", \"new\"]",
        "1:25: \"new\" is no generation of fields; allowed: structured, draft_b, draft_a, legacy",
    );
    check_top(
        "fields_on = \"denial\"",
        "1:13: \"denial\" is no \"fields_on\": did you mean \"denials\"? Allowed: all, denials",
    );
    check_policy(
        "when = { pth = \"/\" }",
        "4:10: when has no \"pth\": did you mean \"path\"? Allowed: method, path, host",
    );
}

#[test]
fn missing_names() {
    check(Toml, "[[policy]]\nquota = \"5/s\"", &["1:1: a policy needs a \"name\", such as \"per-user\""]);
    check(Toml, "[[policy]]\nname = \"a\"", &["1:1: a policy needs a \"quota\", such as \"100/min burst 20\""]);
    check_top("proxies = {}", "1:11: proxies needs a \"networks\", such as [\"10.0.0.0/8\"]");
    let no_policy = "1:1: there is no policy: write one, [[policy]] in TOML, with a name and a quota";
    check(Toml, "", &[no_policy]);
    check(Json, "{}", &[no_policy]);
    check(Yaml, "# all commented out\n", &[no_policy]);
    check(Yaml, "policy: []\n", &["1:9: there is no policy: write one with a name and a quota"]);
}

#[test]
fn wrong_types() {
    check_policy("key = 7", "4:7: a key is text, not a number");
    check_policy("cost = \"one\"", "4:8: the cost is a whole number, not text");
    check_policy("cost = -1", "4:8: the cost is -1; allowed: 0 to 18446744073709551615");
    check_policy("cost = 1.5", "4:8: the cost is a whole number, not a number with a point or an exponent");
    check_policy("cost = 1979-05-27", "4:8: the cost is a whole number, not a date");
    check_policy("shadow = \"yes\"", "4:10: shadow is true or false, not text");
    check_policy("plans = [1]", "4:9: plans is a table from a key's value to its quota, not a list");
    check_top("ipv6_prefix = 129", "1:15: ipv6_prefix is 129; allowed: 0 to 128");
    check_top(
        "retry_jitter = \"soon\"",
        "1:16: retry_jitter is a time such as \"10s\" or \"500ms\", or a number of seconds",
    );
    check_top(
        "wait_up_to = \"1s burst 5\"",
        "1:14: wait_up_to is a time such as \"10s\" or \"500ms\", or a number of seconds",
    );
    check(Toml, "policy = 3", &["1:10: policy is a list of tables, [[policy]] in TOML, not a number"]);
    check(Json, "[]", &["1:1: the whole is a table, not a list"]);
    check(Yaml, "policy:\n  - api\n", &["2:5: a policy is a table, not text"]);
    check(
        Yaml,
        "policy:\n  - name: api\n    quota:\n",
        &[
            "3:10: a quota is text such as \"5/s, 1000/h\", a list of rates, or a table of algorithm and rates, not nothing",
        ],
    );
}

#[test]
fn quotas_point_at_the_very_word() {
    let quota = |quota: &str| format!("[[policy]]\nname = \"a\"\nquota = {quota}");
    for (text, says) in [
        ("\"5/fortnight\"", format!("3:12: the quota has \"fortnight\", where it needs {PERIODS}")),
        ("\"\"\"5/fortnight\"\"\"", format!("3:9: the quota has \"fortnight\", where it needs {PERIODS}")),
        ("'5/'", format!("3:12: the quota ends, where it needs {PERIODS}")),
        ("\"5/s, 0/h\"", "3:15: the limit is 0; a rate allows at least 1 unit a period".to_owned()),
        (
            "[\"5/s\", { limit = 7, periods = 1 }]",
            "3:30: unknown field `periods`, expected one of `limit`, `period`, `burst`, `resolution`".to_owned(),
        ),
        (
            "{ rates = [{ limit = 0, period = 1 }] }",
            "3:20: the limit is 0; a rate allows at least 1 unit a period".to_owned(),
        ),
        ("{ algorithm = \"gcra\" }", "3:9: missing field `rates`".to_owned()),
    ] {
        check(Toml, &quota(text), &[&says]);
    }
    check_policy(
        "key = \"header:plan\"\nplans.gold = \"5/dya\"",
        &format!("5:17: the quota has \"dya\", where it needs {PERIODS}"),
    );
    check(
        Json,
        "{\"policy\": [{\"name\": \"ä\", \"quota\": \"5/dya\"}]}",
        &[
            "1:22: policy name has byte 0xc3 at index 0: only printable ASCII (0x20 to 0x7e) is allowed",
            &format!("1:39: the quota has \"dya\", where it needs {PERIODS}"),
        ],
    );
    check(
        Yaml,
        "policy:\n- {name: a, quota: 5 per dya}",
        &[&format!("2:26: the quota has \"dya\", where it needs {PERIODS}")],
    );
}

#[test]
fn keys() {
    check_policy("key = \"ip\"", &format!("4:7: there is no key \"ip\"; allowed: {KEYS}"));
    check_policy(
        "key = [\"method\", \"tennant\"]",
        &format!("4:18: there is no key \"tennant\": did you mean \"tenant\"? Allowed: {KEYS}"),
    );
    check_policy(
        "key = \"heder:x\"",
        "4:7: there is no key \"heder\": did you mean \"header\"? Allowed: header, cookie, query",
    );
    check_policy("key = \"header\"", "4:7: the key \"header\" needs a name behind a colon: \"header:NAME\"");
    check_policy("key = \"header:x y\"", "4:15: \"x y\" is no name of a header");
    check_policy("key = \"cookie:\"", "4:15: \"\" is no name of a cookie");
    check_policy("key = []", "4:7: the key is a list without members: name some, or write \"global\"");
    check_policy(
        "key = \"client\"",
        "4:7: the key \"client\" is the address behind proxies: name them, [proxies] in TOML with their networks, or \
         write \"peer\"",
    );
    check_policy(
        "missing = \"required\"",
        "4:11: \"missing\" is about headers, cookies and query parameters, and the key has none",
    );
    check_policy(
        "key = \"header:x\"\nmissing = \"refused\"",
        "5:11: \"refused\" is no \"missing\"; allowed: shared, optional, required",
    );
    check_policy(
        "key = \"peer\"\nplans = { gold = \"9/s\" }",
        "5:9: plans go by the key's value, or its first member's, which is to be a header, a cookie, a query parameter, \
         the method or a key of the program's own",
    );
    let plain = RulesReader::new();
    let error = plain.parse("policy = [{ name = 'a', quota = '5/s', key = 'peer' }]", Toml).unwrap_err();
    let known = "global, method, header:NAME, cookie:NAME, query:NAME";
    assert_eq!(
        error.to_string(),
        format!("1:46: there is no key \"peer\"; allowed: {known}"),
        "no address without a way to it"
    );
}

#[test]
fn proxies() {
    check_top(
        "proxies = { networks = [\"10.0.0.0/8\", \"10.0.0.0/33\"] }",
        "1:39: \"10.0.0.0/33\" is neither an address nor a network: write one such as 10.0.0.7, 2001:db8::7, 10.0.0.0/8 or \
         2001:db8::/32",
    );
    check_top(
        "proxies = { networks = \"10.0.0.1/8\" }",
        "1:24: \"10.0.0.1/8\" has bits beyond its prefix: write 10.0.0.0/8 for the network, or the address alone for one \
         proxy",
    );
    check_top(
        "proxies = { networks = [\"0.0.0.0/0\"] }",
        "1:25: \"0.0.0.0/0\" is everybody, so that each client could choose its address: write the networks of your proxies",
    );
    check_top(
        "proxies = { networks = [], header = \"x forwarded\" }",
        "1:37: \"x forwarded\" is no name of a header, such as \"x-forwarded-for\"",
    );
}

#[test]
fn requests() {
    check_policy("when = {}", "4:8: when is for all requests: write a method, a path or a host");
    check_policy("when.path = []", "4:13: an empty list is no request: write what it is for, or leave it out for any");
    check_policy(
        "when.method = \"post\"",
        "4:15: \"post\" is no method, which is capital letters: did you mean \"POST\"? Allowed: GET, HEAD, POST, PUT, \
         DELETE, PATCH, OPTIONS, CONNECT, TRACE",
    );
    for path in ["search", "/a*", "/a*/b", "/a?b=1", ""] {
        let says = format!("4:13: \"{path}\" is no path: write \"/search\" for one, \"/api/*\" for all below");
        check_policy(&format!("when.path = \"{path}\""), &says);
    }
    for host in ["https://a.example", "a.example:80", "*", "*.a.*"] {
        let says = format!(
            "4:13: \"{host}\" is no host: write \"api.example.com\" for one, \"*.example.com\" for all below, without \
             scheme and port"
        );
        check_policy(&format!("when.host = \"{host}\""), &says);
    }
    check_top(
        "on_store_failure = \"local\"",
        "1:20: \"local\" is no \"on_store_failure\"; allowed: refuse, allow, decide_locally",
    );
    check_top("breaker = { failures = 3 }", "1:11: breaker needs a \"pause\", such as \"1s\"");
    check_top("skip = [\"/health\", {}]", "1:20: skip is for all requests: write a method, a path or a host");
    check_policy(
        "refund_on = [\"6xx\"]",
        "4:14: refund_on is a status from 100 to 599, or a class of them such as \"5xx\"",
    );
    check_policy(
        "charge_only_on = []",
        "4:18: charge_only_on names no status: write some, such as 401 or \"5xx\", or leave it out",
    );
    check_policy("cost = 6", "4:8: the cost is 6, and 5/s has at most 5 at once: nothing gets in");
}

#[test]
fn several_of_a_name() {
    check(
        Toml,
        "[[policy]]\nname='a'\nquota='5/s'\n[[policy]]\nquota='6/s'\nname='a'",
        &["6:6: two policies have the name \"a\"; the first one is in line 2"],
    );
    check(Toml, "[[policy]]\nname='a'\nquota='5/s'\nquota='6/s'", &["4:1: TOML: duplicate key"]);
    check(
        Json,
        "{\"policy\": [\n{\"name\": \"a\",\n\"quota\": \"5/s\",\n\"quota\": \"6/s\"}]}",
        &["4:1: \"quota\" is there already, in line 3"],
    );
    check(
        Yaml,
        "policy:\n- name: a\n  quota: 5/s\n  plans: {b: 6/s, b: 7/s}\n  key: header:x",
        &["4:19: \"b\" is there already, in line 4"],
    );
    for (first, second) in [("5/min", "5/s, 90/h"), ("5/min, 90/h", "5/min")] {
        let text = format!("policy:\n- {{name: a, quota: '{first}'}}\n- {{name: a-1s, quota: '{second}'}}");
        assert!(RulesReader::new().parse(&text, Yaml).is_ok(), "clients tell them apart: {text}");
    }
    check(
        Yaml,
        "policy:\n- {name: a, quota: 5/s, key: method, plans: {GET: '5/s, 90/h'}}\n- {name: a-1h, quota: 5/min}",
        &["3:10: policies \"a\" and \"a-1h\" would both be announced as \"a-1h\": each of several rates is by its \
           policy's name and its period; change one of the names"],
    );
    let many: String = (0..65).map(|i| format!("- {{name: p{i}, quota: 5/s}}\n")).collect();
    check(Yaml, &format!("policy:\n{many}"), &["66:3: there are 65 policies; allowed: 64"]);
}

#[test]
fn syntax_of_each_format() {
    check(
        Toml,
        "[[policy]\nname = 'a'\nquota = = 4\n",
        &[
            "1:10: TOML: unclosed array table, expected `]`",
            "3:9: TOML: extra `=`, expected nothing",
            "3:11: TOML: unexpected key or value, expected newline, `#`",
        ],
    );
    check(Json, "{\n  \"policy\": [{\"name\": \"a\",}]\n}", &["2:27: JSON: key must be a string"]);
    check(Json, "{\"policy\": [", &["1:12: JSON: EOF while parsing a list"]);
    check(Json, "", &["1:1: JSON: EOF while parsing a value"]);
    check(
        Yaml,
        "policy:\n  - name: a\n   quota: 5/s\n",
        &["3:4: YAML: while parsing a block collection, did not find expected '-' indicator"],
    );
    check(Yaml, "policy: &all\n  - *all\n", &["1:9: YAML: anchors and aliases are not read in rules"]);
    check(Yaml, "policy: !!seq []\n", &["1:9: YAML: tags are not read in rules"]);
    check(Yaml, "policy: []\n---\npolicy: []\n", &["3:1: YAML: a second document: rules are one"]);
    check(Yaml, "? [a]\n: b\n", &["1:3: YAML: a name is plain or quoted text"]);
}

#[test]
fn all_mistakes_of_a_text_at_once_in_its_order() {
    let text = "anser = \"json\"\n[[policy]]\nname = \"a\"\nquota = \"5\"\nkey = \"peeer\"\n[[policy]]\ncost = -3\n";
    let places: Vec<String> = told(text, Toml).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["1:1", "4:11", "5:7", "6:1", "6:1", "7:8"]);
}

#[test]
fn no_text_makes_it_panic() {
    let good = "answer = \"json\"\n[[policy]]\nname = \"a\"\nquota = \"5/s\"\nkey = [\"header:x\", \"method\"]\n";
    let reader = RulesReader::new();
    for end in 0..good.len() {
        for insert in ["", "[", "{", "\"", "=", "ä", "\0", "&", "*", ":", "\n", "'", "-", "[[", "\u{feff}"] {
            let text = format!("{}{insert}{}", &good[..end], &good[end + usize::from(insert.is_empty())..]);
            for format in [Toml, Json, Yaml] {
                if let Err(error) = reader.parse(&text, format) {
                    let lines = text.matches('\n').count() + 1;
                    assert!(!error.mistakes().is_empty());
                    assert!(
                        error.mistakes().iter().all(|mistake| (1..=lines).contains(&mistake.line())),
                        "{text}: {error}"
                    );
                }
            }
        }
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"policy\": {}1{}}}", open.repeat(5000), close.repeat(5000));
        for format in [Toml, Json, Yaml] {
            let toml = format!("policy = {}", open.replace(':', "=").repeat(5000));
            let text = if format == Toml { &toml } else { &deep };
            assert!(reader.parse(text, format).is_err(), "{format}");
        }
    }
}
