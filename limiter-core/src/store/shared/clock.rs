//! The one clock of all processes of a file, and what tells where it can be read.

use super::error::Fault;
use crate::store::boot_clock::{self, Anchor};
use std::fs;

/// The clock of a file whose header has this offset, in a boot that is the header's.
pub(super) fn of_file(offset_us: u64) -> Anchor {
    Anchor { boot: boot_clock::boot_id(), offset_us }
}

/// What tells this boot from every other, in two words.
pub(super) fn boot_id() -> Result<[u64; 2], Fault> {
    match boot_clock::boot_id() {
        0 => Err(Fault::NoProc { what: boot_clock::BOOT_ID, error: None }),
        id => Ok([64, 0].map(|shift| u64::try_from((id >> shift) & u128::from(u64::MAX)).unwrap_or(0))),
    }
}

/// The namespaces that process ids and the boot-time clock are of, by number; 0 where the kernel has none.
pub(super) fn namespaces() -> [u64; 2] {
    use std::os::unix::fs::MetadataExt;
    ["/proc/self/ns/pid", "/proc/self/ns/time"].map(|path| fs::metadata(path).map_or(0, |found| found.ino()))
}
