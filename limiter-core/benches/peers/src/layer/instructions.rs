//! Instructions, which a busy machine does not change: this program under valgrind, with fewer and with more calls.

use std::process::Command;

/// What a program does at its start differs from run to run; over so many calls it is little.
const FEWER: usize = 2_000;
const MORE: usize = 52_000;

/// Instructions of a call of each subject; `None` without valgrind.
pub fn of_a_call(names: &[&str]) -> Option<Vec<f64>> {
    Command::new("valgrind").arg("--version").output().ok()?;
    names.iter().map(|name| Some((counted(name, MORE)? - counted(name, FEWER)?) / PER_CALL)).collect()
}

const PER_CALL: f64 = (MORE - FEWER) as f64;

/// All instructions of a run that makes so many calls.
fn counted(name: &str, calls: usize) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args(["layer-calls", name, &calls.to_string()])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let line = report.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:"));
    if line.is_none() || !output.status.success() {
        eprintln!("valgrind failed on {name}: {report}");
    }
    let digits: String = line?.split(':').next_back()?.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}
