//! What the tests of the crawler share: the program, lists, and servers.
#![allow(dead_code)] // each test uses a part

#[path = "../support/program.rs"]
mod program;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, runtime::Runtime, time::sleep};

/// Runs the program as a user does.
pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().unwrap()
}

/// What it says on wrong input.
pub(crate) fn refused(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::built("crawler"));
    &PROGRAM
}

/// A file, there for as long as its test.
pub(crate) struct List(PathBuf);

impl List {
    pub(crate) fn new(name: &str, lines: &str) -> Self {
        let list = Self::none(name);
        fs::write(&list.0, lines).unwrap();
        list
    }

    /// The place of one.
    pub(crate) fn none(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.txt", std::process::id())))
    }

    pub(crate) fn arg(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn read(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What a server does with a request.
pub(crate) struct Answer {
    pub(crate) after: Duration,
    pub(crate) response: Response,
}

impl<R: IntoResponse> From<R> for Answer {
    fn from(response: R) -> Self {
        Self { after: Duration::ZERO, response: response.into_response() }
    }
}

impl Answer {
    pub(crate) fn ok_after(after: Duration) -> Self {
        Self { after, response: StatusCode::OK.into_response() }
    }
}

/// A server on a real socket that remembers what it was asked for, and when.
pub(crate) struct Server {
    _runtime: Runtime,
    address: SocketAddr,
    log: Arc<Log>,
}

struct Log {
    arrivals: Mutex<Vec<(Instant, String)>>,
    answer: Box<AnswerFn>,
}

/// Of a path, and how many requests came before.
type AnswerFn = dyn Fn(&str, usize) -> Answer + Send + Sync;

impl Server {
    pub(crate) fn start(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let log = Arc::new(Log { arrivals: Mutex::default(), answer: Box::new(answer) });
        let arrived = async move |State(log): State<Arc<Log>>, uri: Uri| {
            let before = {
                // Inside the lock, so that they are in order.
                let mut arrivals = log.arrivals.lock().unwrap();
                arrivals.push((Instant::now(), uri.path().to_owned()));
                arrivals.len() - 1
            };
            let answer = (log.answer)(uri.path(), before);
            sleep(answer.after).await;
            answer.response
        };
        let app = Router::new().fallback(arrived).with_state(Arc::clone(&log));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { _runtime: runtime, address, log }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The addresses of so many items, one a line.
    pub(crate) fn urls(&self, count: usize) -> String {
        (0..count).map(|id| format!("http://{}/item/{id}\n", self.address)).collect()
    }

    /// When each request arrived.
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.log.arrivals.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    /// What each asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.log.arrivals.lock().unwrap().iter().map(|(_, path)| path.clone()).collect()
    }
}
