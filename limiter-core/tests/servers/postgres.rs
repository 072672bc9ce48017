//! A Postgres server, and databases on it.

use super::{
    ports::Port,
    process::{self, Account, Folder, Process},
};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// The release that the tests are for; another is used where this one is missing.
const RELEASE: &str = "15";

/// A server on 127.0.0.1 and a unix socket: everybody is trusted, and the system's cache is trusted to survive.
pub struct PostgresServer {
    process: Mutex<Option<Process>>,
    folder: Folder,
    account: Option<Account>,
    port: Port,
    settings: Vec<String>,
    databases: AtomicU32,
}

/// An empty database of a test's own.
pub struct Database<'server> {
    server: &'server PostgresServer,
    name: String,
}

impl PostgresServer {
    /// The one server of this test binary. It ends with the process.
    pub fn shared() -> &'static PostgresServer {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(PostgresServer::start)
    }

    /// A server of its own, to kill: takes about a second.
    pub fn start() -> PostgresServer {
        PostgresServer::start_with(&[])
    }

    /// With settings of its own: `("max_connections", "10")`.
    pub fn start_with(settings: &[(&str, &str)]) -> PostgresServer {
        let folder = Folder::new("postgres");
        let account = Account::instead_of_root(&folder);
        account.inspect(|account| account.owns(&folder));
        let mut initdb = Command::new(program("initdb"));
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pgdata").arg(folder.file("data")).current_dir(folder.path());
        account.inspect(|account| account.runs(&mut initdb));
        let output = initdb.output().expect("initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));

        let mut all = vec![("listen_addresses", "127.0.0.1"), ("fsync", "off"), ("shared_buffers", "32MB")];
        all.extend([("max_connections", "200"), ("unix_socket_permissions", "0700")]);
        if has_statement_statistics() {
            all.push(("shared_preload_libraries", "pg_stat_statements"));
        }
        all.extend(settings);
        let settings = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (process, databases) = (Mutex::new(None), AtomicU32::new(0));
        let mut server = PostgresServer { process, folder, account, port: Port::claim(), settings, databases };
        // Another program may take the port between the look at it and the server's start.
        for _ in 0..5 {
            if server.launch() {
                return server;
            }
            let log = server.log();
            assert!(log.contains("ddress already in use"), "postgres does not start; it printed:\n{log}");
            server.port = Port::claim();
        }
        panic!("postgres found five ports taken");
    }

    /// Whether it started and takes connections.
    fn launch(&self) -> bool {
        let (program, data, port) = (program("postgres"), self.folder.file("data"), self.port().to_string());
        let mut words: Vec<&OsStr> = vec![program.as_ref(), "-D".as_ref(), data.as_ref(), "-p".as_ref(), port.as_ref()];
        words.extend([OsStr::new("-k"), self.folder.path().as_os_str()]);
        words.extend(self.settings.iter().flat_map(|setting| ["-c", setting.as_str()].map(OsStr::new)));
        // On SIGQUIT it ends its connections too, which outlive it otherwise until they notice.
        let process = Process::start(&self.folder, self.account, "QUIT", &words);
        let ready = || {
            let Ok(status) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
            let mut lines = status.lines();
            lines.next() == Some(&process.pid().to_string()) && lines.any(|line| line.trim() == "ready")
        };
        let answers = process::answers(&process, &self.folder, ready);
        *self.process.lock().unwrap() = answers.then_some(process);
        answers
    }

    /// The address of the database `postgres`, as its superuser `postgres`.
    pub fn url(&self) -> String {
        self.url_for("postgres", "postgres")
    }

    pub fn url_for(&self, database: &str, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The folder of its unix socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its first process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(Process::pid)
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.folder.log()
    }

    /// An empty database, with a name that no other on this server has.
    pub fn fresh_database(&self) -> Database<'_> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql(&format!("CREATE DATABASE {name}"));
        Database { server: self, name }
    }

    /// What `psql` prints for these statements in the database `postgres`: a row a line, columns between `|`.
    ///
    /// # Panics
    /// When one fails.
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.url(), sql)
    }

    /// Kills all its processes with SIGKILL: the next start recovers from its log, unlogged tables are then empty.
    pub fn kill(&self) {
        let Some(process) = self.process.lock().unwrap().take() else { return };
        let children = process.stop_all();
        process.signal("KILL", &children);
        drop(process);
        process::eventually(
            || children.iter().all(|child| !process::is_running(*child)).then_some(()),
            || format!("the end of {children:?}"),
        );
    }

    /// Kills it if it runs, and starts it on the same port with the same data.
    pub fn restart(&self) {
        self.kill();
        assert!(self.launch(), "postgres does not start again; it printed:\n{}", self.log());
    }

    /// Stops all its processes: connections stay open, nothing is answered until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.process.lock().unwrap().as_ref().expect("a server that runs").stop_all();
    }

    pub fn resume(&self) {
        let process = self.process.lock().unwrap();
        let process = process.as_ref().expect("a server that runs");
        process.signal("CONT", &process.children());
    }

    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Database<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address as the superuser `postgres`.
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }

    pub fn url_as(&self, user: &str) -> String {
        self.server.url_for(&self.name, user)
    }

    /// As [`PostgresServer::psql`], in this database.
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.url(), sql)
    }
}

/// What `psql` prints for these statements at an address.
///
/// # Panics
/// When one fails.
pub fn psql(url: &str, sql: &str) -> String {
    let mut psql = Command::new(program("psql"));
    psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"]);
    let output = psql.args(["--dbname", url, "--command", sql]).output().expect("psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql: {errors}\nfor {sql}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Whether `CREATE EXTENSION pg_stat_statements` will find its library.
fn has_statement_statistics() -> bool {
    let program = fs::canonicalize(program("postgres")).unwrap();
    let libraries = program.parent().and_then(Path::parent).unwrap().join("lib");
    ["pg_stat_statements.so", "postgresql/pg_stat_statements.so"].iter().any(|name| libraries.join(name).exists())
}

/// One of Postgres's programs, which Debian keeps outside the PATH.
fn program(name: &str) -> PathBuf {
    let releases = Path::new("/usr/lib/postgresql");
    let others = fs::read_dir(releases).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let folders: Vec<_> = [releases.join(RELEASE)].into_iter().chain(others).map(|path| path.join("bin")).collect();
    process::program(&[name], &folders, "postgresql")
}
