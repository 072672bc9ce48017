//! Opening the file: it is created, checked, and after a reboot given its new clock, by one process at a time.
//!
//! That one is told by the kernel's lock of the file (`flock`), which ends with its process. It is held exclusively
//! while the file is made ready, and shared for as long as a process has it open: whoever gets it exclusively is alone.
//! No decision waits for it.

use super::{
    clock,
    error::Fault,
    layout::{Layout, header},
    map::Map,
};
use crate::{Timestamp, quota::fnv, store::boot_clock::Anchor};
use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, flock},
    io::Errno,
};
use std::{
    fs::{File, OpenOptions},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

/// The first word of a file, in the order of this machine's bytes: a file of another order is garbage here.
const MAGIC: u64 = u64::from_ne_bytes(*b"limiter!");
/// The first word until everything else is there.
const CREATING: u64 = u64::from_ne_bytes(*b"limiter?");
/// The layout of header, slots, records and blocks, and what their words mean.
const VERSION: u64 = 1;

/// How long to wait for another process that creates the file.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Opened {
    /// Keeps the shared lock.
    pub(super) file: File,
    pub(super) map: Map,
    pub(super) layout: Layout,
    /// What names the file, whatever its path.
    pub(super) id: (u64, u64),
}

/// What was found by a process that is alone with the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alone {
    /// Everything is as this boot's processes left it, dead as they are.
    SameBoot,
    /// The machine was started anew, and may have lost some of what was written last.
    NewBoot,
}

/// Opens the file at `path`, or creates it with this layout and mode. `restore` is called, in the moment nobody else has
/// it, to bring it in order.
pub(super) fn open(
    path: &Path,
    layout: &Layout,
    mode: u32,
    mut restore: impl FnMut(&Map, &Layout, Alone),
) -> Result<Opened, Fault> {
    let file = open_file(path, mode)?;
    let began = Instant::now();
    loop {
        if lock(&file, FlockOperation::NonBlockingLockExclusive, path)? {
            let (map, layout) = make_ready(&file, path, layout, &mut restore)?;
            // Between the two locks another may come first, find the file ready and nobody inside, and restore nothing.
            wait_for_shared(&file, path, began)?;
            return opened(file, path, map, layout);
        }
        if lock(&file, FlockOperation::NonBlockingLockShared, path)? {
            if size(&file, path)? > 0 && word(&file, header::MAGIC) != Some(CREATING) {
                let layout = check(&file, path)?;
                let map = map(&file, path, &layout)?;
                same_world(&map, path)?;
                return opened(file, path, map, layout);
            }
            // Whoever created it gave up: now it is anybody's turn.
            flock(&file, FlockOperation::Unlock).map_err(|error| Fault::file("unlock", path, error))?;
        }
        pause(path, began)?;
    }
}

fn opened(file: File, path: &Path, map: Map, layout: Layout) -> Result<Opened, Fault> {
    let found = file.metadata().map_err(|error| Fault::file("look at", path, error))?;
    Ok(Opened { file, map, layout, id: (found.dev(), found.ino()) })
}

fn open_file(path: &Path, mode: u32) -> Result<File, Fault> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(mode).open(path);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if File::open(path).is_ok() => {
            Fault::NotWritable { path: path.to_owned(), error }
        }
        _ => Fault::file("open", path, error),
    })
}

/// Makes a file that nobody else has open ready, new or not.
fn make_ready(
    file: &File,
    path: &Path,
    wanted: &Layout,
    restore: &mut impl FnMut(&Map, &Layout, Alone),
) -> Result<(Map, Layout), Fault> {
    if size(file, path)? == 0 || word(file, header::MAGIC) == Some(CREATING) {
        let map = create(file, path, wanted).inspect_err(|_| {
            let _ = file.set_len(0); // gives back what it had of a full disk
        })?;
        return Ok((map, *wanted));
    }
    let layout = check(file, path)?;
    let map = map(file, path, &layout)?;
    let words = map.words();
    let boot = clock::boot_id()?;
    let found = if load(words, header::BOOT_ID) == boot { Alone::SameBoot } else { Alone::NewBoot };
    restore(&map, &layout, found);
    if found == Alone::NewBoot {
        let latest = words[header::LATEST].load(SeqCst);
        set_clock(words, boot, latest.saturating_add(super::layout::LATEST_STEP_US));
    }
    store(words, header::NAMESPACES, clock::namespaces());
    Ok((map, layout))
}

fn create(file: &File, path: &Path, layout: &Layout) -> Result<Map, Fault> {
    let failed = |error| Fault::file("create", path, error);
    let boot = clock::boot_id()?;
    file.set_len(0).map_err(failed)?; // what a creator left half-way
    file.write_all_at(&CREATING.to_ne_bytes(), 0).map_err(failed)?;
    reserve(file, layout.bytes() as u64).map_err(failed)?;
    let map = map(file, path, layout)?;
    let words = map.words();
    words[header::VERSION].store(VERSION, SeqCst);
    let numbers = layout.numbers().map(|number| number as u64);
    numbers.iter().zip(&words[header::LAYOUT..]).for_each(|(number, word)| word.store(*number, SeqCst));
    words[header::LAYOUT_SUM].store(layout_sum(&numbers), SeqCst);
    // The seeds that the standard library's own maps have, hashed.
    store(words, header::HASH_KEY, [(); 2].map(|()| RandomState::new().build_hasher().finish()));
    set_clock(words, boot, 0);
    store(words, header::NAMESPACES, clock::namespaces());
    words[header::MAGIC].store(MAGIC, SeqCst);
    Ok(map)
}

/// Takes the room on the disk now, so that a full one is an error here and not a signal at a later write.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) => {
            let zeros = [0_u8; 1 << 16];
            let mut at = size_of::<u64>() as u64;
            while at < bytes {
                let len = usize::try_from(bytes - at).map_or(zeros.len(), |left| left.min(zeros.len()));
                file.write_all_at(&zeros[..len], at)?;
                at += len as u64;
            }
            Ok(())
        }
        result => Ok(result?),
    }
}

fn set_clock(words: &[AtomicU64], boot: [u64; 2], least: u64) {
    let anchor = Anchor::new(Timestamp::from_micros(least));
    words[header::ANCHOR].store(anchor.offset_us, SeqCst);
    words[header::LATEST].store(anchor.now().as_micros(), SeqCst);
    store(words, header::BOOT_ID, boot);
}

/// The layout of a file that says it is ready.
fn check(file: &File, path: &Path) -> Result<Layout, Fault> {
    let garbage = || Fault::Garbage { path: path.to_owned() };
    let read = |at| word(file, at).ok_or_else(garbage);
    if read(header::MAGIC)? != MAGIC {
        return Err(garbage());
    }
    let found = read(header::VERSION)?;
    if found != VERSION {
        return Err(Fault::Version { path: path.to_owned(), found, known: VERSION });
    }
    let mut numbers = [0; 5];
    for (i, number) in numbers.iter_mut().enumerate() {
        *number = read(header::LAYOUT + i)?;
    }
    if read(header::LAYOUT_SUM)? != layout_sum(&numbers) {
        return Err(garbage());
    }
    let layout = Layout::new(numbers.map(|number| usize::try_from(number).unwrap_or(0))).ok_or_else(garbage)?;
    let (is, needs) = (size(file, path)?, layout.bytes() as u64);
    if is < needs { Err(Fault::Truncated { path: path.to_owned(), is, needs }) } else { Ok(layout) }
}

/// Those who have the file open must be able to tell whether we live, and have our clock.
fn same_world(map: &Map, path: &Path) -> Result<(), Fault> {
    let words = map.words();
    let other = |which| Fault::Strangers { path: path.to_owned(), which };
    if load(words, header::BOOT_ID) != clock::boot_id()? {
        return Err(other("machine"));
    }
    if load(words, header::NAMESPACES) != clock::namespaces() {
        return Err(other("namespace of process ids or of time (a container)"));
    }
    Ok(())
}

fn layout_sum(numbers: &[u64; 5]) -> u64 {
    fnv(numbers.iter().flat_map(|number| number.to_le_bytes()))
}

fn map(file: &File, path: &Path, layout: &Layout) -> Result<Map, Fault> {
    Map::new(file, layout.bytes()).map_err(|error| Fault::file("map", path, error))
}

fn size(file: &File, path: &Path) -> Result<u64, Fault> {
    file.metadata().map(|found| found.len()).map_err(|error| Fault::file("look at", path, error))
}

fn word(file: &File, at: usize) -> Option<u64> {
    let mut bytes = [0; size_of::<u64>()];
    file.read_exact_at(&mut bytes, at as u64 * 8).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

fn load(words: &[AtomicU64], at: usize) -> [u64; 2] {
    [words[at].load(SeqCst), words[at + 1].load(SeqCst)]
}

fn store(words: &[AtomicU64], at: usize, [first, second]: [u64; 2]) {
    words[at].store(first, SeqCst);
    words[at + 1].store(second, SeqCst);
}

/// Whether the lock was free.
fn lock(file: &File, how: FlockOperation, path: &Path) -> Result<bool, Fault> {
    loop {
        match flock(file, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Fault::file("lock", path, error)),
        }
    }
}

fn wait_for_shared(file: &File, path: &Path, began: Instant) -> Result<(), Fault> {
    while !lock(file, FlockOperation::NonBlockingLockShared, path)? {
        pause(path, began)?;
    }
    Ok(())
}

fn pause(path: &Path, began: Instant) -> Result<(), Fault> {
    let waited = began.elapsed();
    if waited > PATIENCE {
        return Err(Fault::Creating { path: path.to_owned(), waited });
    }
    thread::sleep(Duration::from_millis(1));
    Ok(())
}
