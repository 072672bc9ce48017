//! This test program as somebody else may run it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A copy of this program that anybody may run, in a folder that anybody may enter: this one may lie where they may not.
///
/// Another process copies it. What this one has open for writing is open in the children too that other tests start
/// meanwhile, until they run their own program, and a file that anybody writes to cannot be run (`ETXTBSY`).
pub(crate) fn copied_into(folder: &Path) -> PathBuf {
    let copy = folder.join("program");
    let copied = Command::new("cp").arg(env::current_exe().unwrap()).arg(&copy).status().unwrap();
    assert!(copied.success(), "cp cannot copy this program into {}: {copied}", folder.display());
    for path in [folder, &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    copy
}
