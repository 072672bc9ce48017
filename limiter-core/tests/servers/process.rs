//! Finding, starting, signalling and ending server processes, so that none outlives the test that started it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Longer than any server takes to start, even where many tests share two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server ("$@") and stands between it and the test: it sends the signals that the test asks for, a line
/// each. When the lines end without "end", the test is dead, by whatever signal: then the server goes, with its folder.
const GUARD: &str = r#"
folder=$1 last=$2; shift 2
exec 3<&0 2>>"$folder/log"
"$@" </dev/null >>"$folder/log" 2>&1 3<&- &
server=$!
echo "$server"
while read -r request <&3; do
    if [ "$request" = end ]; then
        kill -KILL "$server"; wait "$server"
        exit
    fi
    kill $request
    echo sent
done
kill -CONT "$server"; kill "-$last" "$server"; wait "$server"
rm -rf "$folder"
"#;

/// The program of one of these names, in `folders` or on the PATH.
///
/// # Panics
/// Without one: with its name and the Debian package it is in.
pub fn program(names: &[&str], folders: &[PathBuf], package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/sbin"].map(PathBuf::from);
    let folders: Vec<_> = folders.iter().cloned().chain(env::split_paths(&path)).chain(usual).collect();
    let files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let executable = |file: &PathBuf| file.metadata().is_ok_and(|data| data.is_file() && data.mode() & 0o111 != 0);
    files.into_iter().find(executable).unwrap_or_else(|| {
        let names = names.join(" or ");
        panic!("this test needs {names}, of the Debian package {package}; scripts/test installs it")
    })
}

/// An account that servers run as where the tests run as root, which Postgres and PgBouncer refuse.
#[derive(Clone, Copy)]
pub struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// `postgres` or `nobody` for root, nothing for everybody else.
    pub fn instead_of_root(folder: &Folder) -> Option<Account> {
        if fs::metadata(folder.path()).unwrap().uid() != 0 {
            return None;
        }
        let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let find = |name: &str| {
            let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut numbers = line.split(':').skip(2).map(str::parse);
            Some(Account { user: numbers.next()?.ok()?, group: numbers.next()?.ok()? })
        };
        Some(["postgres", "nobody"].into_iter().find_map(find).expect("an account postgres or nobody in /etc/passwd"))
    }

    pub fn owns(self, folder: &Folder) {
        chown(folder.path(), Some(self.user), Some(self.group)).unwrap();
    }

    pub fn runs(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }
}

/// A temporary folder, removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(kind: &str) -> Folder {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        // Short: the path of a unix socket in it has at most 107 bytes.
        let path = env::temp_dir().join(format!("limiter-{kind}-{:x}-{nanos:x}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What the server printed, its end if it is long.
    pub fn log(&self) -> String {
        let log = fs::read(self.file("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What a dying server still writes may appear while this looks.
        for _ in 0..100 {
            if fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A running server. Dropping it kills it (SIGKILL) and waits for its end.
pub struct Process {
    pid: u32,
    guard: Child,
    pipe: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Process {
    /// Runs `command`, its output in `folder`'s log. Should this process die first, the server gets the signal `last`.
    pub fn start(folder: &Folder, account: Option<Account>, last: &str, command: &[&OsStr]) -> Process {
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", GUARD, "guard"]).arg(folder.path()).arg(last).args(command).current_dir(folder.path());
        // A group of its own: Ctrl-C is for the tests, whose end is what the guard looks at.
        guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if let Some(account) = account {
            account.runs(&mut guard);
        }
        let mut guard = guard.spawn().expect("/bin/sh");
        let (stdin, stdout) = (guard.stdin.take().unwrap(), guard.stdout.take().unwrap());
        let mut stdout = BufReader::new(stdout);
        let mut pid = String::new();
        stdout.read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap_or_else(|_| panic!("no process started: {}", folder.log()));
        Process { pid, guard, pipe: Mutex::new((stdin, stdout)) }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn is_running(&self) -> bool {
        is_running(self.pid)
    }

    /// Sends a signal ("STOP") to `others`, then to the server.
    pub fn signal(&self, name: &str, others: &[u32]) {
        let mut pipe = self.pipe.lock().unwrap();
        let others: String = others.iter().map(|pid| format!("{pid} ")).collect();
        writeln!(pipe.0, "-{name} {others}{}", self.pid).unwrap();
        pipe.1.read_line(&mut String::new()).unwrap();
    }

    /// Stops the server and all that it started; the latter, as far as this system tells.
    pub fn stop_all(&self) -> Vec<u32> {
        self.signal("STOP", &[]);
        // A signal takes a moment to arrive, in which it may start another.
        let stopped = || status(self.pid).is_none_or(|(state, _)| matches!(state, 'T' | 'Z'));
        eventually(|| stopped().then_some(()), || "a server that stops".to_owned());
        let children = self.children();
        self.signal("STOP", &children);
        children
    }

    /// The processes that the server started itself, as far as this system tells.
    pub fn children(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| status(*pid).is_some_and(|(_, parent)| parent == self.pid)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard may be dead already, and the server with it.
        let _ = writeln!(self.pipe.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).0, "end");
        let _ = self.guard.wait();
    }
}

/// Whether a process runs; where there is no /proc to ask, it is said to.
pub fn is_running(pid: u32) -> bool {
    !Path::new("/proc/self/stat").exists() || status(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process.
fn status(pid: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Asks until there is an answer.
///
/// # Panics
/// With `missing` after [`PATIENCE`].
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>, missing: impl FnOnce() -> String) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if Instant::now() > until {
            panic!("not within {PATIENCE:?}: {}", missing());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a server that just started answers; `false` if it ended instead.
pub fn answers(process: &Process, folder: &Folder, mut ask: impl FnMut() -> bool) -> bool {
    eventually(
        || match ask() {
            true => Some(true),
            false => (!process.is_running()).then_some(false),
        },
        || format!("an answer of the server that started; it printed:\n{}", folder.log()),
    )
}
