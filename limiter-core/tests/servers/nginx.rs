//! An nginx whose `limit_req` refuses what comes too early.

use super::{
    ports::Port,
    process::{self, Folder, Process},
};
use std::{
    ffi::OsStr,
    fmt, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Answers `GET /` with 200, or with 429 where its limit says so; stopped on drop.
///
/// One process, as root too: a master's workers would outlive its SIGKILL.
pub struct NginxServer {
    process: Process,
    folder: Folder,
    port: Port,
    changes: AtomicUsize,
}

/// A request as the access log tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// When it was answered, since the Unix epoch, in whole milliseconds.
    pub at: Duration,
    pub status: u16,
}

impl NginxServer {
    /// One limit over all requests, in `limit_req`'s words: `limited("10r/s", "burst=5 nodelay")`, `limited("30r/m", "")`.
    pub fn limited(rate: &str, burst: &str) -> NginxServer {
        NginxServer::changing(&[(rate, burst)])
    }

    /// As [`limited`](Self::limited), with the limits that [`next_limit`](Self::next_limit) goes on to.
    pub fn changing(limits: &[(&str, &str)]) -> NginxServer {
        // A request counts for the zones whose key is not empty: for that of the newest of the files.
        let (mut zones, mut server, mut location) = (String::new(), "set $at 0;\n".to_owned(), String::new());
        for (place, (rate, burst)) in limits.iter().enumerate() {
            zones += &format!("map $at $key{place} {{ {place} all; default \"\"; }}\n");
            zones += &format!("limit_req_zone $key{place} zone=zone{place}:1m rate={rate};\n");
            server += &format!("if (-f $document_root/limit{place}) {{ set $at {place}; }}\n");
            location += &format!("limit_req zone=zone{place} {burst};\n");
        }
        NginxServer::start(&zones, &server, &format!("limit_req_status 429;\n{location}"))
    }

    /// With lines of its configuration: for `http {}`, for `server {}`, and for the `location {}` of every path.
    pub fn start(http: &str, server: &str, location: &str) -> NginxServer {
        // Another program may take the port between the look at it and the server's start.
        for _ in 0..5 {
            let (folder, port) = (Folder::new("nginx"), Port::claim());
            // `return` answers before a limit is looked at.
            let configuration = format!(
                "daemon off;\n\
                 master_process off;\n\
                 pid nginx.pid;\n\
                 error_log stderr;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{\n\
                 log_format short '$msec $status';\n\
                 access_log access.log short;\n\
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
                 uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
                 keepalive_requests 1000000;\n\
                 {http}\n\
                 server {{\n\
                 listen 127.0.0.1:{};\n\
                 root .;\n\
                 {server}\n\
                 location / {{ try_files /page =404; {location} }}\n\
                 location = /pid {{ access_log off; return 200 $pid; }}\n\
                 }}\n\
                 }}\n",
                port.number()
            );
            fs::write(folder.file("page"), "ok\n").unwrap();
            fs::write(folder.file("nginx.conf"), configuration).unwrap();
            let program = process::program(&["nginx"], &[], "nginx");
            let (file, place) = (folder.file("nginx.conf"), folder.path());
            let [p, e, c, stderr] = ["-p", "-e", "-c", "stderr"].map(OsStr::new);
            let words = [program.as_os_str(), p, place.as_os_str(), e, stderr, c, file.as_os_str()];
            let process = Process::start(&folder, None, "KILL", &words);
            if process::answers(&process, &folder, || asked_pid(port.number()) == Some(process.pid())) {
                return NginxServer { process, folder, port, changes: AtomicUsize::new(0) };
            }
            let log = folder.log();
            assert!(log.contains("ddress already in use"), "nginx does not start; it printed:\n{log}");
        }
        panic!("nginx found five ports taken");
    }

    /// Goes on to the next limit of [`changing`](Self::changing), of which nothing is in use yet.
    pub fn next_limit(&self) {
        let place = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
        fs::write(self.folder.file(&format!("limit{place}")), "").unwrap();
    }

    /// `http://127.0.0.1:port`, with no slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it printed: its errors, with a line a refusal.
    pub fn log(&self) -> String {
        self.folder.log()
    }

    /// Every request so far, in the order of their answers.
    pub fn served(&self) -> Vec<Served> {
        let log = fs::read_to_string(self.folder.file("access.log")).unwrap_or_default();
        let served = |line: &str| {
            // A line without its end is being written.
            let (at, status) = line.strip_suffix('\n')?.split_once(' ')?;
            Some(Served { at: Duration::from_secs_f64(at.parse().ok()?), status: status.parse().ok()? })
        };
        log.split_inclusive('\n').filter_map(served).collect()
    }

    /// How many it answered with this status.
    pub fn count(&self, status: u16) -> usize {
        self.served().iter().filter(|served| served.status == status).count()
    }
}

impl fmt::Debug for NginxServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NginxServer").field("port", &self.port()).finish_non_exhaustive()
    }
}

/// The process that answers at a port, as it says itself; never limited, and in no log.
fn asked_pid(port: u16) -> Option<u32> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET /pid HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n")?.1.parse().ok()
}
