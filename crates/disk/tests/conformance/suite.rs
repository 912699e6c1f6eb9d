//! What every disk source has to do, asked through the public interface only.

use std::path::PathBuf;

use disk::{DataExtent, DiskError, DiskReader, DiskWriter, Format, SizeRule, SourceRoots};

const MIB: u64 = 1 << 20;

/// A disk full of zeros that exists, made anew for each question.
pub(crate) trait Disk {
    fn roots(&self) -> SourceRoots;
    fn path(&self) -> PathBuf;
    fn size_bytes(&self) -> u64;
}

pub(crate) type Make<'m> = &'m dyn Fn(u64) -> Box<dyn Disk>;

/// Runs the whole suite; sizes are multiples of 4096, because devices have no others.
pub(crate) fn check(make: Make<'_>) {
    the_size_is_known(make);
    a_wrong_size_is_refused(make);
    what_is_written_is_read(make);
    nothing_outside_is_touched(make);
    a_hole_reads_as_zeros_and_its_neighbours_stay(make);
    extents_cover_all_data(make);
    only_one_may_write(make);
    many_read_at_once(make);
}

fn reader(disk: &dyn Disk) -> DiskReader {
    disk.roots().open_reader(&disk.path(), Format::Raw).unwrap()
}

fn writer(disk: &dyn Disk) -> DiskWriter {
    disk.roots().open_writer(&disk.path(), Format::Raw, SizeRule::Exactly(disk.size_bytes())).unwrap()
}

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|index| ((seed + index).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 | 1)
        .collect()
}

fn read(reader: &DiskReader, offset: u64, length: usize) -> Vec<u8> {
    let mut buffer = vec![0xEE; length];
    reader.read_at(offset, &mut buffer).unwrap();
    buffer
}

fn the_size_is_known(make: Make<'_>) {
    let disk = make(3 * MIB);
    assert_eq!(reader(disk.as_ref()).size_bytes(), 3 * MIB);
    assert_eq!(writer(disk.as_ref()).size_bytes(), 3 * MIB);
    reader(disk.as_ref()).require_size().unwrap();
}

fn a_wrong_size_is_refused(make: Make<'_>) {
    let disk = make(2 * MIB);
    let open =
        |rule| disk.roots().open_writer(&disk.path(), Format::Raw, rule).map(|writer| writer.size_bytes());
    assert_eq!(open(SizeRule::AtLeast(MIB)).unwrap(), 2 * MIB);
    assert!(matches!(
        open(SizeRule::AtLeast(2 * MIB + 1)),
        Err(DiskError::WrongSize { size_bytes, wanted_bytes, .. }) if size_bytes == 2 * MIB && wanted_bytes == 2 * MIB + 1
    ));
    assert!(matches!(open(SizeRule::Exactly(MIB)), Err(DiskError::WrongSize { .. })));
    assert!(matches!(open(SizeRule::Create(2 * MIB)), Err(DiskError::Exists { .. })));
    assert_eq!(reader(disk.as_ref()).size_bytes(), 2 * MIB, "a refused writer changed the disk");
}

fn what_is_written_is_read(make: Make<'_>) {
    let disk = make(4 * MIB);
    // Has the old bytes in its cache: some writes go past it.
    let early = reader(disk.as_ref());
    assert_eq!(read(&early, 0, 4 << 20), vec![0; 4 << 20]);
    let writer = writer(disk.as_ref());
    let short = [(0, 1), (4095, 2), (MIB - 7, 300_001), (4 * MIB - 513, 513)];
    let long = [(MIB + (512 << 10), (1 << 20) + 5000), (3 * MIB, 70_000), (3 * MIB + 70_000, 200_000)];
    let places = [&short[..], &long].concat();
    for &(offset, length) in &places {
        writer.write_at(offset, &pattern(offset, length)).unwrap();
    }
    writer.write_at(17, &[]).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let reader = reader(disk.as_ref());
    for (offset, length) in places {
        assert_eq!(read(&reader, offset, length), pattern(offset, length), "at {offset}");
        assert_eq!(read(&early, offset, length), pattern(offset, length), "at {offset}, as seen before");
    }
    assert_eq!(read(&reader, 8192, 4096), vec![0; 4096], "what nobody wrote");
}

fn nothing_outside_is_touched(make: Make<'_>) {
    let disk = make(MIB);
    let writer = writer(disk.as_ref());
    let reader = reader(disk.as_ref());
    for (offset, length) in [(MIB, 1), (MIB - 1, 2), (u64::MAX, 1), (u64::MAX - 4, 16)] {
        let mut buffer = vec![0; length as usize];
        let refused = [
            reader.read_at(offset, &mut buffer).unwrap_err(),
            writer.write_at(offset, &buffer).unwrap_err(),
            writer.punch_hole(offset, length).unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, DiskError::OutOfBounds { size_bytes: MIB, .. }), "{error:?}");
        }
    }
    reader.read_at(MIB, &mut []).unwrap();
    assert_eq!(self::reader(disk.as_ref()).size_bytes(), MIB);
}

fn a_hole_reads_as_zeros_and_its_neighbours_stay(make: Make<'_>) {
    let holes = [
        (0, MIB),
        (MIB, 4096),
        (MIB + 100, 50),
        (4095, 4098),
        (513, 300_000),
        (4 * MIB - 5000, 5000),
        (9, 0),
    ];
    for (offset, length) in holes {
        let disk = make(4 * MIB);
        let writer = writer(disk.as_ref());
        let mut expected = pattern(0, 4 * MIB as usize);
        writer.write_at(0, &expected).unwrap();
        writer.punch_hole(offset, length).unwrap();
        writer.sync().unwrap();
        drop(writer);
        expected[offset as usize..(offset + length) as usize].fill(0);
        let found = read(&reader(disk.as_ref()), 0, 4 * MIB as usize);
        assert!(found == expected, "a hole of {length} at {offset}");
    }
}

fn extents_cover_all_data(make: Make<'_>) {
    let disk = make(64 * MIB);
    let writer = writer(disk.as_ref());
    let places = [0, 4096, 20 * MIB + 3, 64 * MIB - 4096];
    for offset in places {
        writer.write_at(offset, &pattern(offset, 4000)).unwrap();
    }
    writer.sync().unwrap();
    let extents = reader(disk.as_ref()).data_extents().unwrap();
    for offset in places {
        let holds =
            |extent: &DataExtent| extent.offset <= offset && offset + 4000 <= extent.offset + extent.length;
        assert!(extents.iter().any(holds), "nothing holds {offset}: {extents:?}");
    }
    let mut end = 0;
    for extent in &extents {
        assert!(extent.length > 0 && extent.offset >= end, "{extents:?}");
        end = extent.offset + extent.length;
    }
    assert!(end <= 64 * MIB, "{extents:?}");
}

fn only_one_may_write(make: Make<'_>) {
    let disk = make(MIB);
    let first = writer(disk.as_ref());
    let second = disk.roots().open_writer(&disk.path(), Format::Raw, SizeRule::Exactly(MIB));
    assert!(matches!(second, Err(DiskError::InUse { .. })), "{second:?}");
    drop(first);
    writer(disk.as_ref());
}

fn many_read_at_once(make: Make<'_>) {
    let disk = make(4 * MIB);
    let content = pattern(3, 4 * MIB as usize);
    let writer = writer(disk.as_ref());
    writer.write_at(0, &content).unwrap();
    writer.sync().unwrap();
    let reader = reader(disk.as_ref());
    std::thread::scope(|scope| {
        for part in content.chunks(MIB as usize).enumerate() {
            let reader = &reader;
            scope.spawn(move || assert!(read(reader, part.0 as u64 * MIB, part.1.len()) == part.1));
        }
    });
}
