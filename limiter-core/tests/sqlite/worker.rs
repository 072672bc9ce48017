//! Processes of their own: this test binary, started again with something to do.
//!
//! A worker says a line to its standard error after each thing that the test wants to know of.

use crate::folder::patient;
use limiter_core::{Limiter, Quota};
use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

const TASK: &str = "LIMITER_SQLITE_TASK";
const FILE: &str = "LIMITER_SQLITE_FILE";
const QUOTA: &str = "LIMITER_SQLITE_QUOTA";
const COUNT: &str = "LIMITER_SQLITE_COUNT";

/// A process at work. Ended when dropped.
pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) says: BufReader<ChildStderr>,
}

/// What workers do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Opens the file, says so, and at a word takes from one key until it is denied: says how many it got.
    UntilDenied,
    /// The same with so many keys: so many takes of each.
    EachOf,
    /// Takes for ever from a few keys, and says which after each answer.
    ForEver,
    /// Holds the file locked from a line until its standard input ends.
    Lock,
    /// Takes from new keys until it fails, and says why; then whether a key that was there is still known.
    Fill,
}

impl Worker {
    /// This binary with a task.
    pub(crate) fn command(task: Task, file: &Path, quota: &str, count: u64) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "worker::at_work", "--ignored", "--nocapture"]);
        command.env(TASK, format!("{task:?}")).env(FILE, file).env(QUOTA, quota).env(COUNT, count.to_string());
        command
    }

    pub(crate) fn start(task: Task, file: &Path, quota: &str, count: u64) -> Self {
        Self::spawn(&mut Self::command(task, file, quota, count))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let says = BufReader::new(child.stderr.take().unwrap());
        Self { child, says }
    }

    /// The next line, without its end; empty where there are no more.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A word to the worker.
    pub(crate) fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn wait_for_a_word() {
    io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
#[ignore = "a process of its own: started by other tests, which say what it does"]
fn at_work() {
    let [task, file, quota, count] =
        [TASK, FILE, QUOTA, COUNT].map(|name| env::var(name).expect("started by another test"));
    let store = patient(&file);
    let quota: Quota = quota.parse().unwrap();
    let count: u64 = count.parse().unwrap();
    let limiter = |name: &str| Limiter::builder(quota.clone()).name(name).store(store.clone()).build();
    let takes = limiter("takes");
    match task.as_str() {
        "UntilDenied" => {
            say("ready");
            wait_for_a_word();
            let admitted = (0..count).take_while(|_| takes.blocking().check("hot").unwrap().allowed()).count();
            say(&admitted.to_string());
        }
        "EachOf" => {
            say("ready");
            wait_for_a_word();
            let rounds = 2 * quota.capacity();
            let asked = (0..rounds * count).map(|i| takes.blocking().check(i % count).unwrap().allowed());
            say(&asked.filter(|allowed| *allowed).count().to_string());
        }
        "ForEver" => {
            let (log, window) = (takes, Limiter::builder("fixed_window 100000000/week".parse().unwrap()));
            let window = window.name("window").store(store.clone()).build();
            for i in u64::from(std::process::id()).. {
                let is_log = i % 3 != 0;
                let taken = if is_log { log.blocking().check("hot") } else { window.blocking().check("hot") };
                assert!(taken.unwrap().allowed());
                say(if is_log { "log" } else { "window" });
            }
        }
        "Lock" => {
            let other = rusqlite::Connection::open(&file).unwrap();
            other.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            say("locked");
            wait_for_a_word();
        }
        "Fill" => {
            assert!(takes.blocking().check("first").unwrap().allowed());
            let failed = (0..count).find_map(|i| takes.blocking().check(i).err());
            match failed {
                Some(limiter_core::Error::Store(error)) => say(&format!("{:?}", error.kind())),
                other => say(&format!("{other:?}")),
            }
            say(&takes.blocking().peek("first").unwrap().remaining().to_string());
        }
        other => panic!("no such task: {other}"),
    }
}
