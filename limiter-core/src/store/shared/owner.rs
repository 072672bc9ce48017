//! Who is inside a step: a process, by its id and the time it started, so that a reused id is told apart.

use super::error::Fault;
use rustix::process::{Pid, getpid, test_kill_process};
use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

/// Bits of the start time: clock ticks since the boot. Process ids have the 22 bits above.
const START_BITS: u32 = 42;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner(u64);

impl Owner {
    pub(super) const NOBODY: Self = Self(0);

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn pid(self) -> u32 {
        u32::try_from(self.0 >> START_BITS).unwrap_or(u32::MAX)
    }

    fn this_process() -> Result<Self, Fault> {
        let file = "/proc/self/stat";
        let text = fs::read_to_string(file).map_err(|error| Fault::NoProc { what: file, error: Some(error) })?;
        let stat = Stat::parse(&text).ok_or(Fault::NoProc { what: file, error: None })?;
        Ok(Self::new(getpid(), stat.start))
    }

    fn new(pid: Pid, start: u64) -> Self {
        Self(u64::from(pid.as_raw_nonzero().get().unsigned_abs()) << START_BITS | (start & ((1 << START_BITS) - 1)))
    }

    /// Whether nothing of the process can run any more. In doubt it lives.
    pub(super) fn is_dead(self) -> bool {
        let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) else { return self == Self::NOBODY };
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return true;
        }
        // A process that nobody has waited for yet is dead too, once its last thread is.
        fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .ok()
            .and_then(|text| Stat::parse(&text))
            .is_some_and(|stat| Self::new(pid, stat.start) != self || (stat.is_over && stat.threads <= 1))
    }
}

/// This process; asked again when a fork has made it another.
#[derive(Debug)]
pub(super) struct Me(AtomicU64);

impl Me {
    pub(super) fn new() -> Result<Self, Fault> {
        Owner::this_process().map(|owner| Self(AtomicU64::new(owner.word())))
    }

    pub(super) fn owner(&self) -> Result<Owner, Fault> {
        let known = Owner(self.0.load(Ordering::Relaxed));
        if known.pid() == getpid().as_raw_nonzero().get().unsigned_abs() {
            return Ok(known);
        }
        let new = Owner::this_process()?;
        self.0.store(new.word(), Ordering::Relaxed);
        Ok(new)
    }
}

/// What is needed of `/proc/<pid>/stat`.
struct Stat {
    is_over: bool,
    threads: u64,
    start: u64,
}

impl Stat {
    /// The name before the fields is in brackets, and may hold any of their characters.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_over = matches!(fields.next()?, "Z" | "X" | "x");
        let threads = fields.nth(16)?.parse().ok()?;
        let start = fields.nth(1)?.parse().ok()?;
        Some(Self { is_over, threads, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_running_process_lives_and_an_ended_one_is_dead_before_it_is_waited_for() {
        assert!(!Owner::this_process().unwrap().is_dead());
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let stat = Stat::parse(&fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap()).unwrap();
        let owner = Owner::new(pid, stat.start);
        assert!(!owner.is_dead());
        assert!(Owner::new(pid, stat.start + 1).is_dead(), "another process with the same id");
        child.kill().unwrap();
        while !owner.is_dead() {
            std::thread::yield_now(); // a zombie soon
        }
        child.wait().unwrap();
        assert!(owner.is_dead());
    }

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_move_the_fields() {
        let text = "7 (a) R 9 (b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 4242 1 1\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.threads, stat.start, stat.is_over), (3, 4242, false));
        assert!(Stat::parse("7 (a) R 1").is_none());
    }
}
