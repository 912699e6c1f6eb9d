//! What holds for files only: holes, odd and zero sizes, creation, and disks that change while they are read.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use disk::{DiskError, Format, SizeRule, SourceRoots};

const MIB: u64 = 1 << 20;

struct Folder {
    folder: tempfile::TempDir,
    roots: SourceRoots,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let roots = SourceRoots::new(vec![folder.path().to_owned()], vec![]).unwrap();
        Folder { folder, roots }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sparse_file(&self, name: &str, size_bytes: u64) -> File {
        let file = File::options().create_new(true).read(true).write(true).open(self.path(name)).unwrap();
        file.set_len(size_bytes).unwrap();
        file
    }
}

#[test]
fn a_shrunk_disk_is_an_error_and_never_a_hole() {
    let folder = Folder::new();
    let file = folder.sparse_file("disk.raw", 8 * MIB);
    file.write_all_at(&[7; 4096], 6 * MIB).unwrap();
    let reader = folder.roots.open_reader(&folder.path("disk.raw"), Format::Raw).unwrap();
    file.set_len(2 * MIB + 100).unwrap();
    let shrank = |error: DiskError| {
        assert!(
            matches!(error, DiskError::Shrank { size_bytes, size_now_bytes } if size_bytes == 8 * MIB && size_now_bytes == 2 * MIB + 100),
            "{error:?}"
        );
    };
    shrank(reader.data_extents().unwrap_err());
    shrank(reader.require_size().unwrap_err());
    shrank(reader.read_at(2 * MIB, &mut [0; 4096]).unwrap_err());
    reader.read_at(2 * MIB, &mut [0; 100]).unwrap();
}

#[test]
fn a_disk_that_grows_is_read_as_it_was() {
    let folder = Folder::new();
    let file = folder.sparse_file("disk.raw", MIB);
    let reader = folder.roots.open_reader(&folder.path("disk.raw"), Format::Raw).unwrap();
    file.write_all_at(&[7; 4096], 2 * MIB).unwrap();
    assert_eq!(reader.size_bytes(), MIB);
    assert!(reader.data_extents().unwrap().is_empty());
    assert!(matches!(reader.read_at(2 * MIB, &mut [0; 1]), Err(DiskError::OutOfBounds { .. })));
}

#[test]
fn holes_survive_in_both_directions() {
    let folder = Folder::new();
    let source = folder.sparse_file("source.raw", 64 * MIB);
    source.write_all_at(&[7; 4096], 0).unwrap();
    source.write_all_at(&[9; 4096], 32 * MIB).unwrap();
    source.sync_all().unwrap();
    let reader = folder.roots.open_reader(&folder.path("source.raw"), Format::Raw).unwrap();
    let extents = reader.data_extents().unwrap();
    let data_bytes: u64 = extents.iter().map(|extent| extent.length).sum();
    assert!(data_bytes <= MIB, "the holes of the source are not seen: {extents:?}");

    let rule = SizeRule::Create(64 * MIB);
    let writer = folder.roots.open_writer(&folder.path("copy.raw"), Format::Raw, rule).unwrap();
    for extent in extents {
        let mut buffer = vec![0; extent.length as usize];
        reader.read_at(extent.offset, &mut buffer).unwrap();
        writer.write_at(extent.offset, &buffer).unwrap();
    }
    writer.sync().unwrap();
    let copy = std::fs::metadata(folder.path("copy.raw")).unwrap();
    assert_eq!(copy.len(), 64 * MIB);
    assert!(copy.blocks() * 512 <= MIB, "the copy takes {} bytes", copy.blocks() * 512);
    assert!(
        std::fs::read(folder.path("source.raw")).unwrap() == std::fs::read(folder.path("copy.raw")).unwrap()
    );
}

#[test]
fn punching_gives_room_back() {
    let folder = Folder::new();
    let file = folder.sparse_file("disk.raw", 8 * MIB);
    file.write_all_at(&vec![7; 8 * MIB as usize], 0).unwrap();
    file.sync_all().unwrap();
    let rule = SizeRule::Exactly(8 * MIB);
    let writer = folder.roots.open_writer(&folder.path("disk.raw"), Format::Raw, rule).unwrap();
    writer.punch_hole(MIB, 6 * MIB).unwrap();
    writer.sync().unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), 8 * MIB);
    assert!(metadata.blocks() * 512 <= 3 * MIB, "still {} bytes", metadata.blocks() * 512);
}

#[test]
fn odd_sizes_are_kept_to_the_byte() {
    let folder = Folder::new();
    for size_bytes in [1, 511, 4097, 2 * MIB + 4095] {
        let name = format!("{size_bytes}.raw");
        let rule = SizeRule::Create(size_bytes);
        let writer = folder.roots.open_writer(&folder.path(&name), Format::Raw, rule).unwrap();
        writer.write_at(size_bytes - 1, &[5]).unwrap();
        writer.sync().unwrap();
        let reader = folder.roots.open_reader(&folder.path(&name), Format::Raw).unwrap();
        assert_eq!(reader.size_bytes(), size_bytes);
        let extents = reader.data_extents().unwrap();
        assert_eq!(extents.last().map(|extent| extent.offset + extent.length), Some(size_bytes));
        let mut last = [0];
        reader.read_at(size_bytes - 1, &mut last).unwrap();
        assert_eq!(last, [5]);
        writer.punch_hole(0, size_bytes).unwrap();
        reader.read_at(size_bytes - 1, &mut last).unwrap();
        assert_eq!(last, [0]);
    }
}

#[test]
fn a_disk_of_no_bytes_is_a_disk() {
    let folder = Folder::new();
    let writer =
        folder.roots.open_writer(&folder.path("none.raw"), Format::Raw, SizeRule::Create(0)).unwrap();
    writer.punch_hole(0, 0).unwrap();
    writer.sync().unwrap();
    let reader = folder.roots.open_reader(&folder.path("none.raw"), Format::Raw).unwrap();
    assert_eq!(reader.size_bytes(), 0);
    assert!(reader.data_extents().unwrap().is_empty());
    reader.read_at(0, &mut []).unwrap();
    assert!(matches!(reader.read_at(0, &mut [0]), Err(DiskError::OutOfBounds { .. })));
}

#[test]
fn a_created_disk_is_private_and_replaces_nothing() {
    let folder = Folder::new();
    let path = folder.path("new.raw");
    let writer = folder.roots.open_writer(&path, Format::Raw, SizeRule::Create(MIB)).unwrap();
    writer.write_at(0, b"first").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(writer);
    let second = folder.roots.open_writer(&path, Format::Raw, SizeRule::Create(MIB));
    assert!(matches!(second, Err(DiskError::Exists { .. })));
    assert!(std::fs::read(&path).unwrap().starts_with(b"first"));
}

#[test]
fn a_disk_that_cannot_be_made_large_enough_leaves_nothing() {
    let folder = Folder::new();
    let path = folder.path("huge.raw");
    let opened = folder.roots.open_writer(&path, Format::Raw, SizeRule::Create(u64::MAX));
    assert!(opened.is_err());
    assert!(!path.exists());
}

#[test]
fn a_file_is_resized_when_asked() {
    let folder = Folder::new();
    folder.sparse_file("disk.raw", MIB);
    for size_bytes in [3 * MIB, 100] {
        let rule = SizeRule::Resize(size_bytes);
        let writer = folder.roots.open_writer(&folder.path("disk.raw"), Format::Raw, rule).unwrap();
        assert_eq!(writer.size_bytes(), size_bytes);
        assert_eq!(std::fs::metadata(folder.path("disk.raw")).unwrap().len(), size_bytes);
    }
}

#[test]
fn writing_the_disk_of_a_missing_folder_is_not_found() {
    let folder = Folder::new();
    for rule in [SizeRule::Create(1), SizeRule::AtLeast(1)] {
        let opened = folder.roots.open_writer(&folder.path("none/disk.raw"), Format::Raw, rule);
        assert!(matches!(opened, Err(DiskError::NotFound { .. })), "{opened:?}");
    }
}
