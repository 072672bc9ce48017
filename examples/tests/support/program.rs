//! An example as a program that users run.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

/// The program, up to date: cargo builds examples for tests only where no targets are named on its command line.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile_dir = test.parent().and_then(Path::parent).unwrap(); // of target/debug/deps/crawler-…
    let profile = match profile_dir.file_name().and_then(OsStr::to_str).unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--package", "examples", "--example", name, "--profile", profile])
        .arg("--target-dir")
        .arg(profile_dir.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    profile_dir.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}
