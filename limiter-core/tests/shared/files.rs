//! What can be wrong with a file, and what a reboot does to it.

use super::{
    support::program::copied_into,
    world::{Folder, at, quota, spawn_as, take, task, wait_until_closed},
};
use limiter_core::{
    LocalStore, SharedStore, StoreError, StoreErrorKind, Timestamp,
    store::{Demand, Scope},
};
use std::{
    env, fs,
    io::Read,
    os::unix::{fs::FileExt, fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

/// Words of the header.
const VERSION: u64 = 1;
const BOOT_ID: u64 = 10;
const ANCHOR: u64 = 12;
const LATEST: u64 = 13;
const NAMESPACES: u64 = 14;
const HEADER: u64 = 512;

fn read(file: &Path, word: u64) -> u64 {
    let mut bytes = [0; 8];
    fs::File::open(file).unwrap().read_exact_at(&mut bytes, 8 * word).unwrap();
    u64::from_ne_bytes(bytes)
}

fn write(file: &Path, word: u64, value: u64) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.write_all_at(&value.to_ne_bytes(), 8 * word).unwrap();
}

fn small(file: &Path) -> Result<SharedStore, StoreError> {
    SharedStore::builder().max_keys(20).log_entries(600).timeout(Duration::from_millis(2)).open(file)
}

/// The kind of the error, and why.
fn refusal(file: &Path) -> (StoreErrorKind, String) {
    let error = small(file).unwrap_err();
    (error.kind(), std::error::Error::source(&error).unwrap().to_string())
}

#[test]
fn garbage_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let file = folder.file();
    for garbage in [b"not ours".repeat(2000), vec![0; 100_000], b"x".to_vec()] {
        fs::write(&file, &garbage).unwrap();
        let (kind, why) = refusal(&file);
        assert_eq!(kind, StoreErrorKind::Format, "{why}");
        assert!(why.contains("is not a file of shared limits") && why.contains(file.to_str().unwrap()), "{why}");
        assert_eq!(fs::read(&file).unwrap(), garbage);
    }
    fs::remove_file(&file).unwrap();
    drop(small(&file).unwrap());
    write(&file, 3, 7); // another layout than its sum tells
    assert_eq!(refusal(&file).0, StoreErrorKind::Format);
}

#[test]
fn a_file_of_another_version_is_refused_and_says_both() {
    let folder = Folder::new();
    drop(small(&folder.file()).unwrap());
    write(&folder.file(), VERSION, 99);
    let (kind, why) = refusal(&folder.file());
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(why.contains("version 99") && why.contains("version 1"), "{why}");
}

#[test]
fn a_clock_that_is_garbled_is_refused_before_it_forgets_every_limit() {
    let folder = Folder::new();
    drop(small(&folder.file()).unwrap());
    write(&folder.file(), ANCHOR, u64::MAX);
    assert_eq!(refusal(&folder.file()).0, StoreErrorKind::Format);
}

#[test]
fn a_file_cut_short_is_refused() {
    let folder = Folder::new();
    drop(small(&folder.file()).unwrap());
    let file = fs::File::options().write(true).open(folder.file()).unwrap();
    for bytes in [file.metadata().unwrap().len() - 1, 50_000, 100, 9] {
        file.set_len(bytes).unwrap();
        assert_eq!(refusal(&folder.file()).0, StoreErrorKind::Format, "{bytes} bytes");
    }
}

#[test]
fn a_path_that_cannot_be_is_refused() {
    let folder = Folder::new();
    assert_eq!(refusal(folder.path()).0, StoreErrorKind::Config);
    assert_eq!(refusal(&folder.path().join("no/such")).0, StoreErrorKind::Config);
    let error = SharedStore::builder().max_keys(usize::MAX).open(folder.file()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Config);
}

/// Says, as whoever it runs as, what opening the file comes to.
#[test]
#[ignore = "a child of the tests below"]
fn opening() {
    let Some((file, _)) = task() else { return };
    match small(&file) {
        Ok(_) => println!("[opened]"),
        Err(error) => println!("[{:?}] {}", error.kind(), std::error::Error::source(&error).unwrap()),
    }
}

/// What a child without rights of its own says, that `command` starts.
fn opened_by(command: Command, file: &Path) -> String {
    let mut child = spawn_as(command, "files::opening", file, 0);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    said
}

#[test]
fn files_and_folders_without_the_right_to_write_are_told_apart() {
    let folder = Folder::new();
    // Root may write anywhere, and is nobody for this test.
    let program = copied_into(folder.path());
    let nobody = || {
        let mut command = Command::new(&program);
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        command.current_dir("/");
        command
    };
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    drop(small(&folder.file()).unwrap());
    for (mode, says) in [(0o444, "[ReadOnly]"), (0o000, "[Permission]")] {
        set(&folder.file(), mode);
        let said = opened_by(nobody(), &folder.file());
        assert!(said.contains(says) && said.contains("limits"), "{said}");
    }
    set(&folder.file(), 0o666);
    assert!(opened_by(nobody(), &folder.file()).contains("[opened]"));
    fs::remove_file(folder.file()).unwrap();
    set(folder.path(), 0o555);
    let said = opened_by(nobody(), &folder.file());
    set(folder.path(), 0o755);
    assert!(said.contains("[Permission]"), "{said}");
}

#[test]
fn a_disk_without_room_is_an_error_when_the_file_is_created_and_nothing_is_kept_of_it() {
    let folder = Folder::new();
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let said = opened_by(limited, &folder.file());
    assert!(said.contains("[Full]") && said.contains("cannot create"), "{said}");
    assert_eq!(fs::metadata(folder.file()).unwrap().len(), 0);
    assert!(small(&folder.file()).is_ok(), "with room again it is created");
}

#[test]
fn a_file_left_half_created_is_created_anew() {
    let folder = Folder::new();
    for left in [&b""[..], b"limiter?", &[b"limiter?".to_vec(), vec![7; 90_000]].concat()] {
        fs::write(folder.file(), left).unwrap();
        let (store, quota) = (small(&folder.file()).unwrap(), quota("1/h"));
        assert!(take(&store, &Scope::new("a"), 1, &quota, None));
        drop(store);
        let store = small(&folder.file()).unwrap();
        assert!(!take(&store, &Scope::new("a"), 1, &quota, None));
        drop(store);
        fs::remove_file(folder.file()).unwrap();
    }
}

#[test]
fn a_file_keeps_its_states_and_its_layout_between_processes() {
    let folder = Folder::new();
    let (scope, quota) = (Scope::new("a"), quota("sliding_log 30/h, 50/day"));
    let store = small(&folder.file()).unwrap();
    assert!((0..30).all(|_| take(&store, &scope, 1, &quota, None)));
    drop(store);
    let store = SharedStore::builder().max_keys(9999).max_rates(8).open(folder.file()).unwrap();
    assert_eq!((store.usage().keys, store.usage().max_keys), (1, 20));
    assert!(!take(&store, &scope, 1, &quota, None));
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_new_boot_has_a_new_clock_that_is_never_before_the_newest_state_and_mints_nothing() {
    let folder = Folder::new();
    let (scope, quota) = (Scope::new("a"), quota("3/h"));
    let store = small(&folder.file()).unwrap();
    assert!((0..3).all(|_| take(&store, &scope, 1, &quota, None)));
    let before = store.now(None).unwrap();
    drop(store);
    let reboot = |latest: u64| {
        wait_until_closed(&folder.file());
        write(&folder.file(), BOOT_ID, 1);
        write(&folder.file(), LATEST, latest);
        small(&folder.file()).unwrap()
    };

    // The wall time is later: it is taken.
    let store = reboot(read(&folder.file(), LATEST));
    let now = store.now(None).unwrap();
    assert!(now >= before && now.saturating_since(before) < Duration::from_secs(60));
    assert!(!take(&store, &scope, 1, &quota, None));
    drop(store);

    // The wall time has fallen behind, by a wrong battery clock: time goes on from the newest state.
    let ahead = Timestamp::from(SystemTime::now()).as_micros() + 1000 * 3_600_000_000;
    let store = reboot(ahead);
    assert!(store.now(None).unwrap() >= at(ahead));
    assert!((0..3).all(|_| take(&store, &scope, 2, &quota, None)));
    drop(store);
    let store = reboot(read(&folder.file(), LATEST));
    assert!(store.now(None).unwrap() >= at(ahead));
    assert!(!take(&store, &scope, 2, &quota, None));
    // Without a boot between, the clock is the same for all who come.
    let other = small(&folder.file()).unwrap();
    let (one, two) = (store.now(None).unwrap(), other.now(None).unwrap());
    assert!(two.saturating_since(one) < Duration::from_secs(60) && store.now(None).unwrap() >= two);
}

#[test]
fn processes_that_cannot_see_each_other_or_have_another_clock_do_not_share_a_file() {
    let folder = Folder::new();
    let store = small(&folder.file()).unwrap();
    for (word, says) in [(BOOT_ID, "another machine"), (NAMESPACES, "a container")] {
        let ours = read(&folder.file(), word);
        write(&folder.file(), word, 1);
        let (kind, why) = refusal(&folder.file());
        assert_eq!(kind, StoreErrorKind::Config);
        assert!(why.contains(says), "{why}");
        write(&folder.file(), word, ours);
    }
    // Alone again, whoever comes takes the file as its own.
    drop(store);
    wait_until_closed(&folder.file());
    write(&folder.file(), NAMESPACES, 1);
    assert!(small(&folder.file()).is_ok());
}

#[test]
fn damage_anywhere_behind_the_header_never_panics_nor_hangs() {
    let folder = Folder::new();
    let quotas =
        ["5/s", "fixed_window 9/s", "sliding_log 60/min", "sliding_window 5/s, 50/min", "sliding_log 9/s, 80/h"]
            .map(quota);
    let scope = Scope::new("a");
    let mut random = 42_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 20
    };
    for round in 0..40 {
        let _ = fs::remove_file(folder.file());
        let store = small(&folder.file()).unwrap();
        for turn in 0..40 {
            for (quota, key) in quotas.iter().zip(0..) {
                take(&store, &scope, key, quota, Some(at(turn * 9999)));
            }
        }
        drop(store);
        let bytes = fs::read(folder.file()).unwrap();
        let words = (0..).zip(bytes.chunks(8)).skip(usize::try_from(HEADER).unwrap());
        let used: Vec<u64> = words.filter(|(_, word)| word.iter().any(|byte| *byte != 0)).map(|(at, _)| at).collect();
        for _ in 0..30 {
            let word = used[usize::try_from(next()).unwrap() % used.len()];
            let old = read(&folder.file(), word);
            let new = [next() << 20 | next(), old ^ 1 << (next() % 64), old.wrapping_add(next() % 3), 0, u64::MAX];
            write(&folder.file(), word, new[usize::try_from(next()).unwrap() % new.len()]);
        }
        if round % 2 == 0 {
            wait_until_closed(&folder.file());
            write(&folder.file(), BOOT_ID, 1);
        }
        let store = small(&folder.file()).unwrap();
        for turn in 0..10 {
            for (quota, key) in quotas.iter().zip(0_u64..) {
                let key = key.to_le_bytes();
                let demand = Demand::new(&scope, &key, quota, 1);
                let now = at(400_000 + 50_000 * turn);
                if let Err(error) = LocalStore::take(&store, &[demand], Some(&now)) {
                    let kinds = [StoreErrorKind::Format, StoreErrorKind::Unavailable];
                    assert!(kinds.contains(&error.kind()) && round % 2 == 1, "{error:?}");
                }
                let _ = LocalStore::snapshot(&store, demand, Some(&now));
            }
        }
        let _ = LocalStore::sweep(&store, Some(&at(1_000_000_000)));
        for key in 0..5_u64 {
            let _ = LocalStore::reset(&store, &scope, &key.to_le_bytes());
        }
    }
}
