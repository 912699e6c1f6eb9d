//! Reading the volumes of an item segment by segment: holes are skipped, errors are never papered over.

use std::io;

use crate::backup::{VolumeReader, VolumeSpec};
use crate::error::VaultError;
use crate::tree::TreeShape;

/// After an error the extent is read again in pieces of this size, to name what cannot be read.
const CAREFUL_BYTES: usize = 4096;

/// A volume to be backed up.
pub(super) struct Source<'a> {
    pub(super) spec: &'a VolumeSpec,
    pub(super) shape: TreeShape,
    reader: &'a dyn VolumeReader,
    /// Sorted, not empty, not touching, inside the volume.
    data: Vec<(u64, u64)>,
    /// Likewise; none when everything counts as changed.
    changed: Option<Vec<(u64, u64)>>,
}

/// What a segment needs.
pub(super) enum Segment {
    /// It holds nothing.
    Hole,
    /// It did not change since the base.
    Kept,
    /// It has to be cut.
    Data(Vec<u8>),
}

/// The segments of all volumes, in order.
pub(super) struct Segments<'s, 'a> {
    sources: &'s [Source<'a>],
    source_index: usize,
    segment_index: u64,
}

impl<'a> Source<'a> {
    /// Prepares a volume. `is_base_live`: what the volume says about changes can be believed.
    pub(super) fn new(
        spec: &'a VolumeSpec,
        shape: TreeShape,
        reader: &'a dyn VolumeReader,
        is_base_live: bool,
    ) -> Result<Source<'a>, VaultError> {
        let size_bytes = shape.size_bytes();
        let data = reader.data_extents().map_err(|cause| VaultError::SourceRead {
            volume_id: spec.volume_id.clone(),
            offset: 0,
            length: size_bytes,
            cause,
        })?;
        let changed = spec.changed.as_ref().filter(|_| is_base_live);
        let changed = changed.map(|changed| normal_extents(changed.extents.clone(), size_bytes));
        Ok(Source { spec, shape, reader, data: normal_extents(data, size_bytes), changed })
    }

    fn segment(
        &self,
        index: u64,
        buffer: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> Result<Option<Segment>, VaultError> {
        let segment_bytes = u64::from(self.shape.segment_bytes());
        let start = index * segment_bytes;
        let end = (start + segment_bytes).min(self.shape.size_bytes());
        if self.changed.as_ref().is_some_and(|changed| overlaps(changed, start, end).next().is_none()) {
            return Ok(Some(Segment::Kept));
        }
        if overlaps(&self.data, start, end).next().is_none() {
            return Ok(Some(Segment::Hole));
        }
        let Some(mut bytes) = buffer() else { return Ok(None) };
        bytes.resize((end - start) as usize, 0);
        let mut filled = start;
        for (data_start, data_end) in overlaps(&self.data, start, end) {
            bytes[(filled - start) as usize..(data_start - start) as usize].fill(0);
            self.read(data_start, &mut bytes[(data_start - start) as usize..(data_end - start) as usize])?;
            filled = data_end;
        }
        bytes[(filled - start) as usize..].fill(0);
        Ok(Some(Segment::Data(bytes)))
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), VaultError> {
        if self.reader.read_at(offset, bytes).is_ok() {
            return Ok(());
        }
        // Once more in small pieces: trouble that passed is over, trouble that stays gets a place.
        let mut bad: Option<(u64, u64, io::Error)> = None;
        let mut at = offset;
        for piece in bytes.chunks_mut(CAREFUL_BYTES) {
            let length = piece.len() as u64;
            match (self.reader.read_at(at, piece), &mut bad) {
                (Ok(()), None) => {}
                (Ok(()), Some(_)) => break,
                (Err(cause), None) => bad = Some((at, length, cause)),
                (Err(_), Some((_, bad_length, _))) => *bad_length += length,
            }
            at += length;
        }
        match bad {
            None => Ok(()),
            Some((offset, length, cause)) => {
                Err(VaultError::SourceRead { volume_id: self.spec.volume_id.clone(), offset, length, cause })
            }
        }
    }
}

impl<'s, 'a> Segments<'s, 'a> {
    pub(super) fn new(sources: &'s [Source<'a>]) -> Segments<'s, 'a> {
        Segments { sources, source_index: 0, segment_index: 0 }
    }

    /// The next segment, read into what `buffer` gives; none at the end, or when `buffer` has no more.
    pub(super) fn next(
        &mut self,
        buffer: &mut dyn FnMut() -> Option<Vec<u8>>,
    ) -> Result<Option<Segment>, VaultError> {
        while let Some(source) = self.sources.get(self.source_index) {
            if self.segment_index < source.shape.segment_count() {
                self.segment_index += 1;
                return source.segment(self.segment_index - 1, buffer);
            }
            (self.source_index, self.segment_index) = (self.source_index + 1, 0);
        }
        Ok(None)
    }
}

/// Sorts, clips and merges; what lies outside the volume is nobody's data.
fn normal_extents(mut extents: Vec<(u64, u64)>, size_bytes: u64) -> Vec<(u64, u64)> {
    extents.sort_unstable();
    let mut normal: Vec<(u64, u64)> = Vec::new();
    for (offset, length) in extents {
        let end = offset.saturating_add(length).min(size_bytes);
        if offset >= end {
            continue;
        }
        match normal.last_mut() {
            Some((_, last_end)) if *last_end >= offset => *last_end = end.max(*last_end),
            _ => normal.push((offset, end)),
        }
    }
    normal
}

/// The parts of `extents` (start, end) that lie in a segment.
fn overlaps(extents: &[(u64, u64)], start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    let first = extents.partition_point(|(_, extent_end)| *extent_end <= start);
    let inside = extents[first..].iter().take_while(move |(extent_start, _)| *extent_start < end);
    inside.map(move |(extent_start, extent_end)| (start.max(*extent_start), end.min(*extent_end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn extents_are_sorted_clipped_and_merged() {
        let normal =
            normal_extents(vec![(50, 10), (0, 10), (10, 5), (90, 100), (55, 1), (200, 5), (7, 0)], 100);
        assert_eq!(normal, [(0, 15), (50, 60), (90, 100)]);
        assert_eq!(normal_extents(vec![(5, u64::MAX)], 100), [(5, 100)]);
        assert_eq!(overlaps(&normal, 10, 95).collect::<Vec<_>>(), [(10, 15), (50, 60), (90, 95)]);
        assert_eq!(overlaps(&normal, 15, 50).count(), 0);
    }

    /// A disk of ones whose bad bytes fail, some of them only a few times.
    struct Faulty {
        bad: Vec<(u64, u64)>,
        failures_left: Mutex<u32>,
    }

    impl VolumeReader for Faulty {
        fn size_bytes(&self) -> u64 {
            64 << 10
        }

        fn data_extents(&self) -> io::Result<Vec<(u64, u64)>> {
            Ok(vec![(0, 64 << 10)])
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let mut left = self.failures_left.lock().unwrap();
            let is_bad = overlaps(&self.bad, offset, offset + buffer.len() as u64).next().is_some();
            if is_bad && *left > 0 {
                *left -= 1;
                return Err(io::Error::from_raw_os_error(5));
            }
            buffer.fill(1);
            Ok(())
        }
    }

    fn read(bad: Vec<(u64, u64)>, failures: u32) -> Result<Option<Segment>, VaultError> {
        let reader = Faulty { bad, failures_left: Mutex::new(failures) };
        let spec = VolumeSpec { volume_id: "disk".to_owned(), changed: None };
        let shape = TreeShape::new(64 << 10, 64 << 10, 256).unwrap();
        let sources = [Source::new(&spec, shape, &reader, false).unwrap()];
        Segments::new(&sources).next(&mut || Some(vec![7; 10]))
    }

    #[test]
    fn an_error_that_stays_names_its_extent_and_fills_nothing_in() {
        let Err(VaultError::SourceRead { volume_id, offset, length, .. }) = read(vec![(9000, 14000)], 1000)
        else {
            panic!("the error was lost");
        };
        assert_eq!((volume_id.as_str(), offset, length), ("disk", 8192, 8192));
    }

    #[test]
    fn an_error_that_passes_is_over() {
        let Ok(Some(Segment::Data(bytes))) = read(vec![(9000, 14000)], 1) else { panic!("no data") };
        assert_eq!(bytes, vec![1; 64 << 10]);
    }
}
