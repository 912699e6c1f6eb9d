//! Opening one disk in a directory that was reached safely, and telling what the thing there is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::error::DiskError;
use crate::roots::{Place, open_beneath};

/// Which file this is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Identity {
        Identity { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// What a disk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    File,
    BlockDevice,
}

/// A disk that is open, with the size it had then.
#[derive(Debug)]
pub(crate) struct OpenDisk {
    pub(crate) file: File,
    pub(crate) medium: Medium,
    pub(crate) size_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
}

/// Opens the disk at `place`. The thing is looked at before it is opened, since opening alone can block (fifo) or have
/// effects (tape, watchdog), and once more afterwards, since the name may have been given to something else meanwhile.
pub(crate) fn open_existing(place: &Place<'_>, purpose: Purpose) -> Result<OpenDisk, DiskError> {
    let looked_at =
        open_beneath(place.directory.as_fd(), place.name, OFlags::PATH, Mode::empty(), place.path)?;
    let (medium, identity) = look_at(looked_at.as_fd(), place.path)?;
    let access = match (purpose, medium) {
        (Purpose::Read, _) => OFlags::RDONLY,
        (Purpose::Write, Medium::File) => OFlags::RDWR,
        // On a block device this refuses what is mounted or held by another exclusive opener.
        (Purpose::Write, Medium::BlockDevice) => OFlags::RDWR | OFlags::EXCL,
    };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = open_beneath(place.directory.as_fd(), place.name, flags, Mode::empty(), place.path)?;
    if look_at(opened.as_fd(), place.path)? != (medium, identity) {
        return Err(DiskError::BadPath {
            path: place.path.to_owned(),
            why: "was replaced while it was opened",
        });
    }
    let size_bytes =
        size_of(opened.as_fd()).map_err(|errno| refused("find the size of", place.path, errno))?;
    Ok(OpenDisk { file: File::from(opened), medium, size_bytes })
}

/// The same disk once more, past the page cache; nothing where its file system cannot.
pub(crate) fn open_direct(place: &Place<'_>, disk: &OpenDisk) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = open_beneath(place.directory.as_fd(), place.name, flags, Mode::empty(), place.path).ok()?;
    let (ours, theirs) = (look_at(disk.file.as_fd(), place.path), look_at(opened.as_fd(), place.path));
    (ours.ok()? == theirs.ok()?).then(|| File::from(opened))
}

fn look_at(file: impl AsFd, path: &Path) -> Result<(Medium, Identity), DiskError> {
    let stat = rustix::fs::fstat(file).map_err(|errno| refused("look at", path, errno))?;
    let not_a_disk = |kind| Err(DiskError::NotADisk { path: path.to_owned(), kind });
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((Medium::File, Identity::of(&stat))),
        FileType::BlockDevice => Ok((Medium::BlockDevice, Identity::of(&stat))),
        FileType::Directory => not_a_disk("directory"),
        FileType::Fifo => not_a_disk("fifo"),
        FileType::CharacterDevice => not_a_disk("character device"),
        FileType::Socket => not_a_disk("socket"),
        FileType::Symlink => Err(DiskError::Link { path: path.to_owned() }),
        _ => not_a_disk("thing of unknown kind"),
    }
}

/// Where the disk ends now. Works for files and devices alike, and needs no ioctl.
pub(crate) fn size_of(file: impl AsFd) -> Result<u64, Errno> {
    rustix::fs::seek(file, SeekFrom::End(0))
}

/// The error for a path that the system did not give us.
pub(crate) fn refused(doing: &'static str, path: &Path, errno: Errno) -> DiskError {
    let path = path.to_owned();
    match errno {
        // Beneath-resolution answers EXDEV for a step out of the directory, ELOOP for any link.
        Errno::LOOP | Errno::XDEV => DiskError::Link { path },
        Errno::NOENT => DiskError::NotFound { path },
        Errno::NOTDIR => DiskError::BadPath { path, why: "goes through something that is no directory" },
        Errno::EXIST => DiskError::Exists { path },
        Errno::BUSY | Errno::TXTBSY | Errno::WOULDBLOCK => DiskError::InUse { path },
        _ => DiskError::Unavailable { doing, path, cause: io::Error::from(errno) },
    }
}
