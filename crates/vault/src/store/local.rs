//! An object store in a directory.
//!
//! A write goes to a private file under `.unfinished/`, is synced, then linked to its name, which
//! never replaces anything; then the directory is synced, and only then the caller hears of it.
//! A killed process leaves files under `.unfinished/` and nothing else; the next open removes them.
//! A failed sync is never repeated, because the kernel may have dropped the pages and would report
//! success: the store then takes no more writes until somebody opens it anew.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::medium::{Medium, MediumCall, Real};
use super::{ListPart, ObjectStore, Put, StoreError, StoreWriter, check_name};
use crate::crash_point;

const UNFINISHED: &str = ".unfinished";

/// An object store in a directory of a local file system that knows hard links.
#[derive(Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    next_unfinished: AtomicU64,
    is_broken: AtomicBool,
    /// Directories whose own entries are known to be durable up to the root, by this process.
    durable_directories: Mutex<HashSet<PathBuf>>,
    medium: Arc<dyn Medium>,
}

impl LocalStore {
    /// Opens the store in `root`, which is created when absent, and removes unfinished writes of
    /// processes that are gone.
    pub fn open(root: &Path) -> Result<LocalStore, StoreError> {
        LocalStore::open_over(root, Arc::new(Real))
    }

    /// Opens the store over a medium that may fail: for tests.
    pub fn open_over(root: &Path, medium: Arc<dyn Medium>) -> Result<LocalStore, StoreError> {
        let unfinished = root.join(UNFINISHED);
        DirBuilder::new().recursive(true).mode(0o700).create(&unfinished).map_err(StoreError::of_io)?;
        let inner = Inner {
            root: root.to_path_buf(),
            next_unfinished: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            durable_directories: Mutex::new(HashSet::new()),
            medium,
        };
        inner.sync_directory(root)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            inner.sync_directory(parent)?;
        }
        remove_unfinished(&unfinished).map_err(StoreError::of_io)?;
        Ok(LocalStore { inner: Arc::new(inner) })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    fn open_file(&self, name: &str) -> Result<File, StoreError> {
        check_name(name)?;
        let path = self.inner.root.join(name);
        self.inner.call(MediumCall::Read, &path)?;
        File::open(path).map_err(|cause| read_error(cause, name))
    }
}

/// Removes what killed processes left. A living writer holds a lock on its file.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn read_error(cause: io::Error, name: &str) -> StoreError {
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            StoreError::NotFound { name: name.to_owned() }
        }
        io::ErrorKind::UnexpectedEof => StoreError::TooShort { name: name.to_owned() },
        _ => StoreError::of_io(cause),
    }
}

impl Inner {
    fn require_writable(&self) -> Result<(), StoreError> {
        match self.is_broken.load(Ordering::SeqCst) {
            true => Err(StoreError::Broken),
            false => Ok(()),
        }
    }

    fn call(&self, call: MediumCall, path: &Path) -> Result<(), StoreError> {
        self.medium.call(call, path).map_err(StoreError::of_io)
    }

    /// Syncs once. Out of space spoils only this file, which nobody has seen yet; any other failure,
    /// and any of a directory, spoils the store.
    fn sync(&self, call: MediumCall, file: &File, path: &Path) -> Result<(), StoreError> {
        let synced = self.medium.call(call, path).and_then(|()| file.sync_data());
        synced.map_err(|cause| match StoreError::of_io(cause) {
            StoreError::Full if call == MediumCall::Sync => StoreError::Full,
            _ => {
                tracing::error!(path = %path.display(), "a sync failed; the store takes no more writes");
                self.is_broken.store(true, Ordering::SeqCst);
                StoreError::Broken
            }
        })
    }

    fn sync_directory(&self, path: &Path) -> Result<(), StoreError> {
        let directory = File::open(path).map_err(StoreError::of_io)?;
        self.sync(MediumCall::SyncDirectory, &directory, path)
    }

    /// Creates the directories above `path` and makes their own entries durable. A directory found
    /// in place may be left over from a process that died before its sync, so it is synced too,
    /// once a process.
    fn require_directory(&self, path: &Path) -> Result<(), StoreError> {
        let known = || self.durable_directories.lock().unwrap_or_else(PoisonError::into_inner);
        if path == self.root || known().contains(path) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(&self.root).to_path_buf();
        self.require_directory(&parent)?;
        self.call(MediumCall::MakeDirectory, path)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::of_io(cause));
            }
            _ => self.sync_directory(&parent)?,
        }
        known().insert(path.to_path_buf());
        Ok(())
    }
}

impl ObjectStore for LocalStore {
    fn require_writable(&self) -> Result<(), StoreError> {
        self.inner.require_writable()
    }

    fn begin(&self, name: &str) -> Result<Box<dyn StoreWriter>, StoreError> {
        check_name(name)?;
        self.inner.require_writable()?;
        let number = self.inner.next_unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.inner.root.join(UNFINISHED).join(format!("{}-{number}", std::process::id()));
        self.inner.call(MediumCall::Create, &unfinished)?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = opened.map_err(StoreError::of_io)?;
        let writer = LocalWriter {
            inner: self.inner.clone(),
            final_path: self.inner.root.join(name),
            unfinished,
            file,
            is_spoiled: false,
        };
        writer.file.lock().map_err(StoreError::of_io)?;
        Ok(Box::new(writer))
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let file = self.open_file(name)?;
        let size = file.metadata().map_err(|cause| read_error(cause, name))?.len();
        let too_long = || StoreError::TooLong { name: name.to_owned(), bytes_max };
        if size > bytes_max {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| too_long())?);
        file.take(bytes_max).read_to_end(&mut bytes).map_err(|cause| read_error(cause, name))?;
        Ok(bytes)
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let file = self.open_file(name)?;
        let size = file.metadata().map_err(|cause| read_error(cause, name))?.len();
        let too_short = || StoreError::TooShort { name: name.to_owned() };
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(too_short());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| too_short())?];
        file.read_exact_at(&mut bytes, offset).map_err(|cause| read_error(cause, name))?;
        Ok(bytes)
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        let metadata = self.open_file(name)?.metadata().map_err(|cause| read_error(cause, name))?;
        match metadata.is_file() {
            true => Ok(metadata.len()),
            false => Err(StoreError::NotFound { name: name.to_owned() }),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.list_part(&ListPart { prefix, after: "", count_max: usize::MAX })
    }

    fn list_part(&self, part: &ListPart) -> Result<Vec<String>, StoreError> {
        let folder = part.prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folder.is_empty() {
            check_name(folder)?;
        }
        self.inner.call(MediumCall::List, &self.inner.root.join(folder))?;
        let mut names = Vec::new();
        collect_names(&self.inner.root, folder, part, &mut names).map_err(StoreError::of_io)?;
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.inner.require_writable()?;
        let path = self.inner.root.join(name);
        self.inner.call(MediumCall::Remove, &path)?;
        let removed = fs::remove_file(&path);
        crash_point!("store.delete.unlinked");
        let parent = path.parent().unwrap_or(&self.inner.root);
        match removed.map_err(|cause| read_error(cause, name)) {
            // A process that died after unlinking may not have synced: sync again if there is a folder.
            Err(StoreError::NotFound { .. }) if !parent.is_dir() => Ok(()),
            Ok(()) | Err(StoreError::NotFound { .. }) => self.inner.sync_directory(parent),
            Err(error) => Err(error),
        }
    }
}

/// Adds names in their order. Walks only folders that can hold names of this part.
fn collect_names(root: &Path, folder: &str, part: &ListPart, names: &mut Vec<String>) -> io::Result<()> {
    for entry in entries_of_part(root, folder, part)? {
        if names.len() >= part.count_max {
            return Ok(());
        }
        match entry.strip_suffix('/') {
            Some(folder) => collect_names(root, folder, part, names)?,
            None => names.push(entry),
        }
    }
    Ok(())
}

/// What of a folder belongs to a part, in order; folders end in `/`, which is where their names sort.
fn entries_of_part(root: &Path, folder: &str, part: &ListPart) -> io::Result<Vec<String>> {
    let read = match fs::read_dir(root.join(folder)) {
        Ok(read) => read,
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(cause) => return Err(cause),
    };
    let mut entries = Vec::new();
    for entry in read {
        let entry = entry?;
        let Ok(last) = entry.file_name().into_string() else { continue };
        let mut name = if folder.is_empty() { last } else { format!("{folder}/{last}") };
        if check_name(&name).is_err() {
            continue;
        }
        let (is_inside, is_after) = if entry.file_type()?.is_dir() {
            name.push('/');
            let is_inside = name.starts_with(part.prefix) || part.prefix.starts_with(&name);
            (is_inside, name.as_str() > part.after || part.after.starts_with(&name))
        } else {
            (name.starts_with(part.prefix), name.as_str() > part.after)
        };
        if is_inside && is_after {
            entries.push(name);
        }
    }
    entries.sort();
    Ok(entries)
}

struct LocalWriter {
    inner: Arc<Inner>,
    final_path: PathBuf,
    unfinished: PathBuf,
    file: File,
    is_spoiled: bool,
}

impl StoreWriter for LocalWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.require_writable()?;
        if self.is_spoiled {
            return Err(StoreError::Broken);
        }
        let written = match self.inner.medium.call(MediumCall::Write, &self.unfinished) {
            Ok(()) => self.file.write_all(bytes),
            Err(cause) => self.file.write_all(&bytes[..bytes.len() / 2]).and(Err(cause)),
        };
        written.map_err(|cause| {
            self.is_spoiled = true;
            StoreError::of_io(cause)
        })
    }

    fn finish(self: Box<Self>) -> Result<Put, StoreError> {
        self.inner.require_writable()?;
        if self.is_spoiled {
            return Err(StoreError::Broken);
        }
        crash_point!("store.finish.written");
        self.inner.sync(MediumCall::Sync, &self.file, &self.unfinished)?;
        crash_point!("store.finish.synced");
        let parent = self.final_path.parent().unwrap_or(&self.inner.root);
        self.inner.require_directory(parent)?;
        self.inner.call(MediumCall::Link, &self.final_path)?;
        let put = match fs::hard_link(&self.unfinished, &self.final_path) {
            Ok(()) => Put::Created,
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Put::Exists,
            Err(cause) => return Err(StoreError::of_io(cause)),
        };
        crash_point!("store.finish.linked");
        // Also when the name existed: whoever linked it may have died before this sync.
        self.inner.sync_directory(parent)?;
        crash_point!("store.finish.durable");
        Ok(put)
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        // What stays behind is litter that the next open removes.
        let _ = fs::remove_file(&self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::{Plan, arm, catch};
    use crate::store::conformance;

    #[test]
    fn a_local_store_passes_the_conformance_suite() {
        conformance::check(|| {
            let folder = tempfile::tempdir().unwrap();
            let store = LocalStore::open(folder.path()).unwrap();
            (Box::new(store) as Box<dyn ObjectStore>, Box::new(folder) as Box<dyn std::any::Any>)
        });
    }

    /// Lets one sync fail, counted from the opening on.
    struct FailingSync(io::ErrorKind, u64, AtomicU64);

    impl Medium for FailingSync {
        fn call(&self, call: MediumCall, _path: &Path) -> io::Result<()> {
            let is_sync = matches!(call, MediumCall::Sync | MediumCall::SyncDirectory);
            match is_sync && self.2.fetch_add(1, Ordering::SeqCst) + 1 == self.1 {
                true => Err(io::Error::from(self.0)),
                false => Ok(()),
            }
        }
    }

    fn failing_sync(kind: io::ErrorKind, fail_at: u64) -> (tempfile::TempDir, LocalStore) {
        let folder = tempfile::tempdir().unwrap();
        let medium = Arc::new(FailingSync(kind, fail_at, AtomicU64::new(0)));
        let store = LocalStore::open_over(folder.path(), medium).unwrap();
        (folder, store)
    }

    // Opening syncs twice (root and its parent), so the first write's syncs start at three:
    // the file, the root for the new folder, the folder.
    #[test]
    fn a_failed_sync_is_not_repeated_and_stops_all_writes() {
        for fail_at in [3, 4, 5] {
            let (folder, store) = failing_sync(io::ErrorKind::Other, fail_at);
            let waiting = store.begin("a/waiting").unwrap();
            assert!(matches!(store.put_if_absent("a/b", b"x"), Err(StoreError::Broken)), "{fail_at}");
            assert!(matches!(store.put_if_absent("a/c", b"x"), Err(StoreError::Broken)));
            assert!(matches!(waiting.finish(), Err(StoreError::Broken)));
            assert!(matches!(store.delete("a/b"), Err(StoreError::Broken)));
            drop(store);
            let store = LocalStore::open(folder.path()).unwrap();
            store.put_if_absent("a/c", b"x").unwrap();
        }
    }

    #[test]
    fn a_full_disk_at_sync_spoils_only_the_one_write() {
        let (_folder, store) = failing_sync(io::ErrorKind::StorageFull, 3);
        assert!(matches!(store.put_if_absent("a", b"x"), Err(StoreError::Full)));
        assert!(matches!(store.get("a", 9), Err(StoreError::NotFound { .. })));
        assert_eq!(store.put_if_absent("a", b"y").unwrap(), Put::Created);
    }

    #[test]
    fn a_full_disk_at_the_sync_of_a_directory_stops_all_writes() {
        // The name is there already: only the next start can tell whether it lasts.
        let (_folder, store) = failing_sync(io::ErrorKind::StorageFull, 4);
        assert!(matches!(store.put_if_absent("a", b"x"), Err(StoreError::Broken)));
        assert!(matches!(store.put_if_absent("a", b"x"), Err(StoreError::Broken)));
    }

    #[test]
    fn a_kill_at_any_point_leaves_all_or_nothing_and_no_litter_after_the_next_open() {
        for hit in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let store = LocalStore::open(folder.path()).unwrap();
            let armed = arm(Plan::at_hit(hit));
            let outcome = catch(|| {
                let mut writer = std::mem::ManuallyDrop::new(store.begin("a/b").unwrap());
                writer.append(b"whole").unwrap();
                std::mem::ManuallyDrop::into_inner(writer).finish().unwrap();
                store.delete("a/b").unwrap();
            });
            drop(armed);
            drop(store);
            let store = LocalStore::open(folder.path()).unwrap();
            assert_eq!(fs::read_dir(folder.path().join(UNFINISHED)).unwrap().count(), 0);
            match store.get("a/b", 10) {
                Ok(bytes) => assert_eq!(bytes, b"whole"),
                Err(error) => assert!(matches!(error, StoreError::NotFound { .. }), "{error}"),
            }
            if outcome.is_ok() {
                assert_eq!(hit, 6, "five points were passed");
                return;
            }
        }
    }

    #[test]
    fn opening_removes_dead_litter_and_spares_living_writers() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        fs::write(folder.path().join(UNFINISHED).join("1-1"), b"dead").unwrap();
        let mut writer = store.begin("living").unwrap();
        writer.append(b"x").unwrap();
        LocalStore::open(folder.path()).unwrap();
        assert!(!folder.path().join(UNFINISHED).join("1-1").exists());
        assert_eq!(writer.finish().unwrap(), Put::Created);
    }

    #[test]
    fn files_and_folders_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("store")).unwrap();
        store.put_if_absent("a/b", b"x").unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("store"), mode("store/a"), mode("store/a/b")), (0o700, 0o700, 0o600));
    }
}
