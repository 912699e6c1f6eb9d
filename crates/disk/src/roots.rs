//! Where disks may lie: the configured source roots, and the directories that no disk may come from.
//!
//! A path given later is walked one name at a time below its root, through directory handles, so that renaming things
//! meanwhile changes nothing. Each directory on the way is compared with the forbidden ones by device and inode: a bind
//! mount or another spelling of the same directory is recognised.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::error::DiskError;
use crate::format::{Format, SizeRule};
use crate::open::{self, Identity};
use crate::reader::DiskReader;
use crate::writer::DiskWriter;

/// Every step of a path is opened under these rules. A kernel without `openat2` gives an error, not a weaker walk.
const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The directories under which disks may be opened.
#[derive(Debug)]
pub struct SourceRoots {
    roots: Vec<Root>,
    forbidden: Vec<Forbidden>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// The handle is kept so that the inode number cannot be given to another directory.
#[derive(Debug)]
struct Forbidden {
    path: PathBuf,
    identity: Identity,
    _directory: File,
}

/// A disk's place: the directory that holds it and its name there.
pub(crate) struct Place<'p> {
    pub(crate) path: &'p Path,
    pub(crate) directory: OwnedFd,
    pub(crate) name: &'p Path,
}

impl SourceRoots {
    /// Opens the `roots` (absolute directories, no link on the way, none inside a forbidden directory). `forbidden` are
    /// the directories of the service itself, data, store and keys: each must exist, because one that cannot be
    /// recognised later would be no protection. No roots is lawful and means that no disk can be opened.
    pub fn new(roots: Vec<PathBuf>, forbidden: Vec<PathBuf>) -> Result<SourceRoots, DiskError> {
        let forbidden = forbidden.into_iter().map(Forbidden::open).collect::<Result<Vec<_>, _>>()?;
        let mut source_roots = SourceRoots { roots: Vec::new(), forbidden };
        for path in roots {
            let directory = source_roots.open_root(&path)?;
            source_roots.roots.push(Root { path, directory });
        }
        Ok(source_roots)
    }

    /// Opens the disk at `path`, an absolute path under one of the roots, for reading.
    pub fn open_reader(&self, path: &Path, format: Format) -> Result<DiskReader, DiskError> {
        let place = self.find(path)?;
        match format {
            Format::Raw => Ok(DiskReader::new(open::open_existing(&place, open::Purpose::Read)?)),
        }
    }

    /// Opens the disk at `path`, an absolute path under one of the roots, for writing, alone: another writer or, for a
    /// block device, a mounted file system gives [`DiskError::InUse`]. What `size` promises holds when this returns;
    /// nothing is changed when it fails.
    pub fn open_writer(&self, path: &Path, format: Format, size: SizeRule) -> Result<DiskWriter, DiskError> {
        let place = self.find(path)?;
        match format {
            Format::Raw => DiskWriter::open(&place, size),
        }
    }

    fn open_root(&self, path: &Path) -> Result<OwnedFd, DiskError> {
        let names = absolute_names(path)?;
        let top = rustix::fs::openat2(
            CWD,
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::empty(),
        )
        .map_err(|errno| open::refused("open", path, errno))?;
        self.refuse_forbidden(top.as_fd(), path)?;
        self.walk(top, &names, path)
    }

    fn find<'p>(&self, path: &'p Path) -> Result<Place<'p>, DiskError> {
        absolute_names(path)?;
        let holding = self.roots.iter().filter(|root| path.starts_with(&root.path));
        let root = holding
            .max_by_key(|root| root.path.components().count())
            .ok_or_else(|| DiskError::OutsideRoots { path: path.to_owned() })?;
        let rest = path.strip_prefix(&root.path).unwrap_or(Path::new(""));
        let mut names: Vec<&Path> = rest.iter().map(Path::new).collect();
        let Some(name) = names.pop() else {
            return Err(DiskError::NotADisk { path: path.to_owned(), kind: "directory" });
        };
        let directory = root.directory.try_clone().map_err(|cause| DiskError::Unavailable {
            doing: "open",
            path: path.to_owned(),
            cause,
        })?;
        Ok(Place { path, directory: self.walk(directory, &names, path)?, name })
    }

    /// Goes down the `names` one by one. `path` is what the caller asked for, for errors.
    fn walk(&self, from: OwnedFd, names: &[&Path], path: &Path) -> Result<OwnedFd, DiskError> {
        let mut directory = from;
        for name in names {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            directory = open_beneath(directory.as_fd(), name, flags, Mode::empty(), path)?;
            let stat =
                rustix::fs::fstat(&directory).map_err(|errno| open::refused("look at", path, errno))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(DiskError::BadPath {
                    path: path.to_owned(),
                    why: "goes through something that is no directory",
                });
            }
            self.refuse_forbidden(directory.as_fd(), path)?;
        }
        Ok(directory)
    }

    fn refuse_forbidden(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<(), DiskError> {
        let stat = rustix::fs::fstat(directory).map_err(|errno| open::refused("look at", path, errno))?;
        match self.forbidden.iter().find(|forbidden| forbidden.identity == Identity::of(&stat)) {
            Some(found) => Err(DiskError::Forbidden { path: path.to_owned(), forbidden: found.path.clone() }),
            None => Ok(()),
        }
    }
}

impl Forbidden {
    /// Links are followed here: whatever the path leads to is what must be kept away from.
    fn open(path: PathBuf) -> Result<Forbidden, DiskError> {
        let unavailable = |cause| DiskError::Unavailable { doing: "open", path: path.clone(), cause };
        let directory = File::open(&path).map_err(unavailable)?;
        let stat = rustix::fs::fstat(&directory).map_err(|errno| open::refused("look at", &path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(DiskError::BadPath { path, why: "is no directory" });
        }
        Ok(Forbidden { identity: Identity::of(&stat), _directory: directory, path })
    }
}

/// Opens one name in a directory, refusing links and everything that could lead out of it.
pub(crate) fn open_beneath(
    directory: BorrowedFd<'_>,
    name: &Path,
    flags: OFlags,
    mode: Mode,
    path: &Path,
) -> Result<OwnedFd, DiskError> {
    rustix::fs::openat2(directory, name, flags | OFlags::CLOEXEC, mode, STRICT)
        .map_err(|errno| open::refused("open", path, errno))
}

/// The names of an absolute path that has no `..`; `.` and double slashes mean nothing and are dropped.
fn absolute_names(path: &Path) -> Result<Vec<&Path>, DiskError> {
    let bad = |why| DiskError::BadPath { path: path.to_owned(), why };
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(bad("is not absolute"));
    }
    let names = components.map(|component| match component {
        Component::Normal(name) => Ok(Path::new(name)),
        _ => Err(bad("has a step upwards")),
    });
    names.collect()
}
