//! The servers that other tests rely on start, answer, break as told, come back, and leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod servers;

use servers::{CutProxy, NginxServer, Pooler, PostgresServer, RedisCluster, RedisServer, Reply, Sentinels};
use std::{
    env,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
}

/// Asks a Redis server for a PING's answer on a connection; nothing where it ends.
fn ping(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

#[test]
fn redis_starts_is_killed_and_restarts_on_its_port() {
    let server = RedisServer::start_with(&[("maxmemory", "64mb")]);
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(server.command(&["CONFIG", "GET", "maxmemory"]).list()[1].text(), (64 << 20).to_string());
    assert_eq!(server.command(&["SET", "key", "value"]).text(), "OK");
    assert_eq!(server.command(&["GET", "key"]), Reply::Text(b"value".to_vec()));
    assert!(server.command(&["INCR", "key"]).is_error());
    let (pid, port) = (server.pid(), server.port());

    server.kill();
    assert_eq!(connect(port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.command(&["GET", "key"]), Reply::Nil);
}

#[test]
fn a_persistent_redis_keeps_what_it_answered() {
    let server = RedisServer::persistent();
    server.command(&["SET", "key", "value"]);
    server.restart();
    assert_eq!(server.command(&["GET", "key"]).text(), "value");
}

#[test]
fn a_paused_redis_answers_when_it_resumes() {
    let server = RedisServer::start();
    let mut stream = connect(server.port()).unwrap();
    server.pause();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(ping(&mut stream), None);
    server.resume();
    stream.set_read_timeout(None).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_monitor_has_seen_all_that_was_answered() {
    let server = RedisServer::start();
    let monitor = server.monitor();
    for _ in 0..3 {
        server.command(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", "count"]);
    }
    let lines = monitor.take();
    assert_eq!(lines.iter().filter(|line| line.contains("\"EVAL\"")).count(), 3, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" lua] \"INCR\"")).count(), 3, "{lines:?}");
    server.command(&["GET", "count"]);
    let lines = monitor.take_sent();
    assert!(lines.len() == 1 && lines[0].ends_with("\"GET\" \"count\""), "{lines:?}");
}

#[test]
fn sentinels_promote_the_replica_of_a_killed_primary() {
    let group = Sentinels::start();
    assert_eq!((group.urls().len(), group.data().len()), (3, 2));
    group.primary().command(&["SET", "key", "value"]);
    group.primary().wait_for_copy(group.replica());
    let replica = group.replica().port();

    let former = group.kill_primary();
    assert_eq!(group.wait_for_promotion(former), replica);
    assert_eq!(group.primary().port(), replica);
    assert_eq!(group.primary().command(&["GET", "key"]).text(), "value");
    assert_eq!(group.primary().command(&["SET", "key", "another"]).text(), "OK");
}

#[test]
fn a_cluster_of_three_owns_every_slot_and_redirects() {
    let cluster = RedisCluster::start();
    assert_eq!(cluster.urls().len(), 3);
    for key in ["a", "b", "c", "{tag}d", "{tag}e"] {
        let owner = cluster.owner(key);
        assert_eq!(owner.command(&["SET", key, "value"]).text(), "OK");
        for other in cluster.primaries().iter().filter(|node| node.port() != owner.port()) {
            let moved = format!("MOVED {} 127.0.0.1:{}", cluster.slot(key), owner.port());
            assert_eq!(other.command(&["GET", key]).text(), moved);
        }
    }
}

#[test]
fn a_cluster_promotes_the_replica_of_a_killed_primary() {
    let cluster = RedisCluster::start_with(1, &[]);
    assert_eq!(cluster.replicas().len(), 3);
    let owner = cluster.owner("key");
    owner.command(&["SET", "key", "value"]);
    for replica in cluster.replicas() {
        if replica.command(&["ROLE"]).list()[2].text() == owner.port().to_string() {
            owner.wait_for_copy(replica);
        }
    }
    owner.kill();
    assert_eq!(cluster.wait_for_promotion(owner).command(&["GET", "key"]).text(), "value");
}

#[test]
fn postgres_starts_is_killed_and_recovers() {
    let server = PostgresServer::start();
    assert!(server.psql("SHOW server_version_num").parse::<u32>().unwrap() >= 150_000, "Postgres 15 or later");
    server.psql("CREATE TABLE kept AS SELECT 1 AS one; CREATE UNLOGGED TABLE lost AS SELECT 1 AS one");
    let pid = server.pid();
    let (held, port) = (connect(server.port()).unwrap(), server.port());
    server.kill();
    assert_eq!(connect(port).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // The connection's process is gone too.
    assert!(matches!((&held).read(&mut [0]), Ok(0) | Err(_)));
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.psql("SELECT one FROM kept"), "1");
    assert_eq!(server.psql("SELECT one FROM lost"), "");

    server.pause();
    let answer = thread::scope(|scope| {
        let asking = scope.spawn(|| server.psql("SELECT 'late'"));
        thread::sleep(Duration::from_millis(100));
        assert!(!asking.is_finished());
        server.resume();
        asking.join().unwrap()
    });
    assert_eq!(answer, "late");
}

#[test]
fn databases_of_the_shared_postgres_are_apart() {
    let server = PostgresServer::shared();
    let (one, other) = (server.fresh_database(), server.fresh_database());
    one.psql("CREATE TABLE here (n integer)");
    assert_eq!(one.psql("SELECT to_regclass('here')"), "here");
    assert_eq!(other.psql("SELECT to_regclass('here')"), "");
    one.psql("CREATE ROLE visitor LOGIN");
    assert_eq!(servers::psql(&one.url_as("visitor"), "SELECT current_user"), "visitor");
    one.psql("CREATE EXTENSION pg_stat_statements");
    one.psql("SELECT 41 + 1");
    let calls = "SELECT calls FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
                 WHERE datname = current_database() AND query = 'SELECT $1 + $2'";
    assert_eq!(one.psql(calls), "1");
}

#[test]
fn a_pooler_hands_transactions_to_few_sessions() {
    let server = PostgresServer::shared();
    let database = server.fresh_database();
    let pooler = Pooler::start(server);
    let url = pooler.url(&database);
    let pids: std::collections::BTreeSet<_> = (0..8).map(|_| servers::psql(&url, "SELECT pg_backend_pid()")).collect();
    assert!(pids.len() < 8, "a session for each: {pids:?}");
    assert_eq!(servers::psql(&url, "SELECT current_database()"), database.name());
}

#[test]
fn a_proxy_delays_cuts_and_refuses() {
    let server = RedisServer::start();
    let proxy = CutProxy::to(server.port());
    let mut stream = connect(proxy.port()).unwrap();
    assert_eq!(ping(&mut stream).unwrap(), "+PONG");

    proxy.delay(Duration::from_millis(50));
    let asked = Instant::now();
    assert_eq!(ping(&mut stream).unwrap(), "+PONG");
    assert!(asked.elapsed() >= Duration::from_millis(50));

    // The server acts, its reply is lost.
    proxy.delay(Duration::from_secs(3600));
    stream.write_all(b"INCR lost\r\n").unwrap();
    while server.command(&["GET", "lost"]) == Reply::Nil {}
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    proxy.cut();
    assert_eq!(ping(&mut stream), None);
    assert_eq!(proxy.open(), 0);

    proxy.delay(Duration::ZERO);
    assert_eq!(ping(&mut connect(proxy.port()).unwrap()).unwrap(), "+PONG");
    proxy.refuse();
    assert_eq!(connect(proxy.port()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.accept();
    assert_eq!(ping(&mut connect(proxy.port()).unwrap()).unwrap(), "+PONG");
    server.kill();
    assert_eq!(ping(&mut connect(proxy.port()).unwrap()), None);
}

/// The status that a `GET /` is answered with, on a connection of its own.
fn get(server: &NginxServer) -> u16 {
    let mut stream = connect(server.port()).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

#[test]
fn nginx_refuses_what_its_limit_says_and_goes_on_to_the_next() {
    let server = NginxServer::changing(&[("1r/m", "burst=2 nodelay"), ("1r/m", ""), ("1r/m", "burst=1 nodelay")]);
    assert_eq!([(); 4].map(|()| get(&server)), [200, 200, 200, 429]);
    server.next_limit();
    assert_eq!([(); 3].map(|()| get(&server)), [200, 429, 429]);
    server.next_limit();
    assert_eq!([(); 3].map(|()| get(&server)), [200, 200, 429]);
    servers::eventually(
        || (server.served().len() == 10).then_some(()),
        || format!("ten lines of the access log, of which there are {:?}", server.served()),
    );
    assert_eq!((server.count(200), server.count(429)), (6, 4));
}

/// Set for the process that [`a_killed_test_leaves_no_server_behind`] starts and kills.
const CHILD: &str = "LIMITER_SERVERS_CHILD";

#[test]
fn a_killed_test_leaves_no_server_behind() {
    if env::var_os(CHILD).is_some() {
        let (redis, postgres) = (RedisServer::start(), PostgresServer::start());
        let pooler = Pooler::start(&postgres);
        let nginx = NginxServer::limited("1r/s", "");
        // On a line of its own: a lone test thread writes the test's name before what the test says.
        println!("\nserver {} {}", nginx.pid(), nginx.port());
        for (pid, port) in [(redis.pid(), redis.port()), (postgres.pid(), postgres.port())] {
            println!("server {} {port}", pid.unwrap());
        }
        println!("folder {}", postgres.socket_folder().display());
        println!("url {}", pooler.url(&postgres.fresh_database()));
        loop {
            thread::park();
        }
    }
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_test_leaves_no_server_behind", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pids, mut ports, mut folder) = (Vec::new(), Vec::new(), String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["server", pid, port] => {
                pids.push(pid.parse::<u32>().unwrap());
                ports.push(port.parse::<u16>().unwrap());
            }
            ["folder", path] => path.clone_into(&mut folder),
            ["url", url] => {
                ports.push(url.rsplit([':', '/']).nth(1).unwrap().parse().unwrap());
                break;
            }
            _ => {}
        }
    }
    let all_connect = ports.iter().all(|port| connect(*port).is_ok());
    let has_data = Path::new(&folder).join("data").exists();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((pids.len(), ports.len()), (3, 4));
    assert!(all_connect && has_data);
    servers::eventually(
        || {
            let gone = ports.iter().all(|port| connect(*port).is_err());
            let ended = pids.iter().all(|pid| !servers::is_running(*pid));
            (gone && ended && !Path::new(&folder).exists()).then_some(())
        },
        || format!("the end of {pids:?} at {ports:?} and of {folder}"),
    );
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let message = thread::spawn(|| servers::program(&["no-such-server"], &[], "no-such-package")).join().unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert_eq!(
        message,
        "this test needs no-such-server, of the Debian package no-such-package; scripts/test installs it"
    );
}
