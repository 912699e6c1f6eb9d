//! Between the vault's traits and the disk's types.

use std::io;

use disk::{DiskError, DiskReader, DiskWriter};
use vault::backup::VolumeReader;
use vault::restore::VolumeWriter;

/// A disk as the vault reads it.
pub(crate) struct SourceVolume(pub(crate) DiskReader);

impl VolumeReader for SourceVolume {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn data_extents(&self) -> io::Result<Vec<(u64, u64)>> {
        let extents = self.0.data_extents().map_err(into_io)?;
        Ok(extents.iter().map(|extent| (extent.offset, extent.length)).collect())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer).map_err(into_io)
    }
}

/// A disk as the vault writes it.
pub(crate) struct TargetVolume(pub(crate) DiskWriter);

impl VolumeWriter for TargetVolume {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes).map_err(into_io)
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        self.0.punch_hole(offset, length).map_err(into_io)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync().map_err(into_io)
    }
}

fn into_io(error: DiskError) -> io::Error {
    io::Error::other(error)
}
