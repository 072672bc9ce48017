//! What real servers say seldom: a listener that answers as it is told.

use crate::{fresh, support::block_on};
use limiter_core::StoreErrorKind;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// The address of a server that says `answer` to scripts and `info` to INFO, and `OK` to everything else.
fn server(answer: &'static str, info: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || serve(stream, answer, info));
        }
    });
    format!("redis://127.0.0.1:{port}")
}

fn serve(stream: TcpStream, answer: &str, info: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let words = number(&mut reader, '*')?;
        let mut first = String::new();
        for place in 0..words {
            let mut word = vec![0; number(&mut reader, '$')? + 2];
            reader.read_exact(&mut word).ok()?;
            if place == 0 {
                first = String::from_utf8_lossy(&word).trim().to_uppercase();
            }
        }
        let reply = match first.as_str() {
            "EVALSHA" | "EVAL" => format!("{answer}\r\n"),
            "INFO" => format!("${}\r\n{info}\r\n", info.len()),
            _ => "+OK\r\n".to_owned(),
        };
        writer.write_all(reply.as_bytes()).ok()?;
    }
}

fn number(reader: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.trim().strip_prefix(kind)?.parse().ok()
}

#[test]
fn each_refusal_has_its_kind() {
    for (answer, kind) in [
        ("-LOADING Redis is loading the dataset in memory", StoreErrorKind::Unavailable),
        ("-BUSY Redis is busy running a script.", StoreErrorKind::Unavailable),
        ("-MASTERDOWN Link with MASTER is down", StoreErrorKind::Unavailable),
        ("-CLUSTERDOWN The cluster is down", StoreErrorKind::Unavailable),
        ("-TRYAGAIN Multiple keys request during rehashing of slot", StoreErrorKind::Unavailable),
        ("-MISCONF Redis is configured to save RDB snapshots, but cannot", StoreErrorKind::Unavailable),
        ("-NOREPLICAS Not enough good replicas to write.", StoreErrorKind::Unavailable),
        ("-READONLY You can't write against a read only replica.", StoreErrorKind::ReadOnly),
        ("-OOM command not allowed when used memory > 'maxmemory'.", StoreErrorKind::Full),
        ("-NOPERM this user has no permissions", StoreErrorKind::Permission),
        ("-NOAUTH Authentication required.", StoreErrorKind::Permission),
        ("-WRONGTYPE Operation against a key", StoreErrorKind::Format),
        ("-ERR something else", StoreErrorKind::Other),
        ("+an answer that makes no sense", StoreErrorKind::Other),
        ("*2\r\n:9\r\n:1", StoreErrorKind::Other),
        ("*3\r\n:1\r\n:-5\r\n:7", StoreErrorKind::Other),
        ("*0", StoreErrorKind::Other),
    ] {
        let store = fresh::patient(&server(answer, "")).build().unwrap();
        assert_eq!(fresh::kind(fresh::take(&store, "ada", &fresh::quota("5/s"), 1)), kind, "{answer}");
        assert_eq!(fresh::kind(block_on(store.ready())), kind, "{answer}");
    }
}

#[test]
fn a_server_that_is_too_old_is_refused_by_its_version() {
    let old = fresh::patient(&server("-ERR not asked", "redis_version:6.2.14\r\n")).build().unwrap();
    let error = block_on(old.ready()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Config);
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("6.2.14") && text.contains("Redis 7"), "{text}");
}
