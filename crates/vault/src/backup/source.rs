//! The volumes of an item as they are read: what of them is wanted, holes are skipped, errors are never
//! papered over.

use std::io;

use crate::backup::{VolumeReader, VolumeSpec};
use crate::error::VaultError;
use crate::tree::{NodePlace, TreeShape};
use crate::walk::Tree;

/// After an error the extent is read again in pieces of this size, to name what cannot be read.
const CAREFUL_BYTES: usize = 4096;

/// A volume to be backed up.
pub(super) struct Source<'a> {
    pub(super) spec: &'a VolumeSpec,
    pub(super) shape: TreeShape,
    /// Its tree in the base, on the same grid and of the same size, where it may be built on.
    pub(super) base: Option<Tree>,
    reader: &'a dyn VolumeReader,
    /// Sorted, not empty, not touching, inside the volume.
    data: Vec<(u64, u64)>,
    /// Likewise; none when everything counts as changed.
    changed: Option<Vec<(u64, u64)>>,
}

/// What a segment needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It holds nothing.
    Hole,
    /// It did not change since the base.
    Kept,
    /// It has to be read.
    Data,
}

impl<'a> Source<'a> {
    /// Prepares a volume. `is_tracked`: what the volume says about changes since `base` can be believed.
    pub(super) fn new(
        spec: &'a VolumeSpec,
        shape: TreeShape,
        reader: &'a dyn VolumeReader,
        base: Option<Tree>,
        is_tracked: bool,
    ) -> Result<Source<'a>, VaultError> {
        let size_bytes = shape.size_bytes();
        let changed = match spec.changed.as_ref().filter(|_| is_tracked && base.is_some()) {
            Some(changed) => Some(changed_extents(spec, &changed.extents, size_bytes)?),
            None => None,
        };
        // Where changes are known, little is read, and asking for holes would cost more than it saves.
        let data = match changed {
            Some(_) => Ok(vec![(0, size_bytes)]),
            None => reader.data_extents(),
        };
        let data = data.map_err(|cause| VaultError::SourceRead {
            volume_id: spec.volume_id.clone(),
            offset: 0,
            length: size_bytes,
            cause,
        })?;
        Ok(Source { spec, shape, base, reader, data: normal_extents(data, size_bytes), changed })
    }

    /// True when nothing changed since the base: its tree is the tree.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changed.as_ref().is_some_and(Vec::is_empty)
    }

    /// True when changes since the base are known, so that all else is kept unread.
    pub(super) fn is_tracked(&self) -> bool {
        self.changed.is_some()
    }

    /// Where a segment lies: offset and length.
    pub(super) fn extent(&self, segment_index: u64) -> (u64, u64) {
        self.shape.extent(NodePlace { level: 0, index: segment_index })
    }

    /// What a segment needs.
    pub(super) fn wanted(&self, segment_index: u64) -> Wanted {
        let (start, length) = self.extent(segment_index);
        if self.changed.is_some() && !self.has_changed(start, start + length) {
            return Wanted::Kept;
        }
        if self.is_hole(start, start + length) { Wanted::Hole } else { Wanted::Data }
    }

    /// True when change tracking names a byte between these offsets.
    pub(super) fn has_changed(&self, start: u64, end: u64) -> bool {
        self.changed.as_ref().is_none_or(|changed| overlaps(changed, start, end).next().is_some())
    }

    /// True when nothing but zeros can lie between these offsets.
    pub(super) fn is_hole(&self, start: u64, end: u64) -> bool {
        overlaps(&self.data, start, end).next().is_none()
    }

    /// Fills `bytes` with what lies at `offset`; holes are not read.
    pub(super) fn fill(&self, offset: u64, bytes: &mut [u8]) -> Result<(), VaultError> {
        let end = offset + bytes.len() as u64;
        let mut filled = offset;
        for (data_start, data_end) in overlaps(&self.data, offset, end) {
            bytes[(filled - offset) as usize..(data_start - offset) as usize].fill(0);
            self.read(data_start, &mut bytes[(data_start - offset) as usize..(data_end - offset) as usize])?;
            filled = data_end;
        }
        bytes[(filled - offset) as usize..].fill(0);
        Ok(())
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

/// Change tracking that names what the volume does not have is not believed in anything else either.
fn changed_extents(
    spec: &VolumeSpec,
    extents: &[(u64, u64)],
    size_bytes: u64,
) -> Result<Vec<(u64, u64)>, VaultError> {
    let is_inside = |(offset, length): &(u64, u64)| {
        *length > 0 && offset.checked_add(*length).is_some_and(|end| end <= size_bytes)
    };
    if !extents.iter().all(is_inside) {
        return Err(VaultError::refused(format!(
            "a changed extent of volume {} lies outside its {size_bytes} bytes, or is empty",
            spec.volume_id
        )));
    }
    Ok(normal_extents(extents.to_vec(), size_bytes))
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

    fn read(bad: Vec<(u64, u64)>, failures: u32) -> Result<Vec<u8>, VaultError> {
        let reader = Faulty { bad, failures_left: Mutex::new(failures) };
        let spec = VolumeSpec { volume_id: "disk".to_owned(), changed: None };
        let shape = TreeShape::new(64 << 10, 64 << 10, 256).unwrap();
        let mut bytes = vec![7; 64 << 10];
        let source = Source::new(&spec, shape, &reader, None, false).unwrap();
        source.fill(0, &mut bytes).map(|()| bytes)
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
        assert_eq!(read(vec![(9000, 14000)], 1).unwrap(), vec![1; 64 << 10]);
    }
}
