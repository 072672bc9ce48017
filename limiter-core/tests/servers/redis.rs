//! One Redis or Valkey server.

use super::{
    ports::Port,
    process::{self, Folder, Process},
    resp::{self, Connection, Reply},
};
use std::{
    ffi::OsStr,
    fs,
    net::Shutdown,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A server of its own for a test: nothing on disk unless asked for, stopped on drop.
pub struct RedisServer {
    process: Mutex<Option<Process>>,
    folder: Folder,
    port: Port,
    arguments: &'static [&'static str],
}

impl RedisServer {
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// With lines of its configuration file: `("maxmemory", "1mb")`. An empty value stands for `""`.
    pub fn start_with(settings: &[(&str, &str)]) -> RedisServer {
        RedisServer::start_as(&[], settings)
    }

    /// With an append-only file written before every answer: what was answered survives [`restart`](Self::restart).
    pub fn persistent() -> RedisServer {
        RedisServer::start_with(&[("appendonly", "yes"), ("appendfsync", "always")])
    }

    /// A server with arguments before its configuration takes effect, such as `--sentinel`.
    pub(super) fn start_as(arguments: &'static [&'static str], settings: &[(&str, &str)]) -> RedisServer {
        // Another program may take the port between the look at it and the server's start.
        for _ in 0..5 {
            let (folder, port) = (Folder::new("redis"), Port::claim());
            let (number, place) = (port.number().to_string(), folder.path().display().to_string());
            let mut lines = vec![("bind", "127.0.0.1"), ("port", &number), ("dir", &place)];
            if arguments.is_empty() {
                lines.extend([("save", ""), ("appendonly", "no"), ("repl-diskless-sync-delay", "0")]);
            }
            lines.extend(settings);
            let line = |&(name, value): &(&str, &str)| match value {
                "" => format!("{name} \"\"\n"),
                value => format!("{name} {value}\n"),
            };
            let lines: String = lines.iter().map(line).collect();
            fs::write(folder.file("redis.conf"), lines).unwrap();
            let server = RedisServer { process: Mutex::new(None), folder, port, arguments };
            if server.launch() {
                return server;
            }
            let log = server.log();
            assert!(log.contains("ddress already in use"), "redis-server does not start; it printed:\n{log}");
        }
        panic!("redis-server found five ports taken");
    }

    /// Whether it started and answers.
    fn launch(&self) -> bool {
        let program = redis_server();
        let configuration = self.folder.file("redis.conf");
        let mut words = vec![program.as_os_str(), configuration.as_os_str()];
        words.extend(self.arguments.iter().map(OsStr::new));
        let process = Process::start(&self.folder, None, "KILL", &words);
        let answers = process::answers(&process, &self.folder, || resp::pings(self.port()));
        *self.process.lock().unwrap() = answers.then_some(process);
        answers
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(Process::pid)
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.folder.log()
    }

    /// Kills it with SIGKILL and waits for its end. A server that is down already stays down.
    pub fn kill(&self) {
        self.process.lock().unwrap().take();
    }

    /// Kills it if it runs, and starts it on the same port, with the same folder and settings.
    pub fn restart(&self) {
        self.kill();
        assert!(self.launch(), "redis-server does not start again; it printed:\n{}", self.log());
    }

    /// Stops it in its tracks: connections stay open, nothing is answered until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.lock().unwrap().as_ref().expect("a server that runs").signal(name, &[]);
    }

    /// The reply to one command, which may be an error.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn command(&self, words: &[impl AsRef<[u8]>]) -> Reply {
        resp::command(self.port(), words).unwrap_or_else(|error| {
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
            panic!("redis-server did not answer {words:?}: {error}; it printed:\n{}", self.log())
        })
    }

    /// Waits until this primary sends its replica every write as it comes; before, a write may be a second late.
    pub fn wait_for_replica(&self) {
        let replication = || self.command(&["INFO", "replication"]);
        let online = || replication().field("slave0").is_some_and(|replica| replica.contains("state=online"));
        process::eventually(|| online().then_some(()), || format!("a replica; the primary printed:\n{}", self.log()));
    }

    /// Waits until a replica has every write that this primary answered before.
    pub fn wait_for_copy(&self, replica: &RedisServer) {
        let offset = |server: &RedisServer| {
            let offset = server.command(&["INFO", "replication"]).field("master_repl_offset");
            offset.and_then(|offset| offset.parse::<u64>().ok())
        };
        let written = offset(self);
        process::eventually(
            || (offset(replica) >= written).then_some(()),
            || format!("offset {written:?} at a replica"),
        );
    }

    /// All that clients ask of this server from now on.
    pub fn monitor(&self) -> Monitor {
        let mut connection = Connection::open(self.port()).expect("a server that runs");
        connection.command(&["MONITOR"]).expect("MONITOR");
        connection.stream().set_read_timeout(None).unwrap();
        let stream = connection.stream().try_clone().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            while let Ok(line) = connection.read() {
                seen.lock().unwrap().push(line.text());
            }
        });
        Monitor { port: self.port(), stream, lines, reader: Some(reader) }
    }
}

/// What MONITOR prints, collected until drop: `1700000000.123456 [0 127.0.0.1:50000] "GET" "key"`, and
/// `[0 lua]` where a script asks.
pub struct Monitor {
    port: u16,
    stream: std::net::TcpStream,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Every line up to this call, once: whatever a server answered before it is among them.
    pub fn take(&self) -> Vec<String> {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("monitor-mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
        resp::command(self.port, &["ECHO", &mark]).expect("a server that runs");
        process::eventually(
            || {
                let mut lines = self.lines.lock().unwrap();
                let end = lines.iter().position(|line| line.ends_with(&format!("\"{mark}\"")))?;
                let mut taken: Vec<String> = lines.drain(..=end).collect();
                taken.pop();
                Some(taken)
            },
            || format!("MONITOR's line of ECHO {mark}"),
        )
    }

    /// As [`take`](Self::take), only what clients sent: without what scripts asked in turn.
    pub fn take_sent(&self) -> Vec<String> {
        self.take().into_iter().filter(|line| !line.contains(" lua] ")).collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

fn redis_server() -> PathBuf {
    process::program(&["redis-server", "valkey-server"], &[], "redis-server")
}
