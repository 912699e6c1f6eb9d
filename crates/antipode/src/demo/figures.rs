//! Figures the demo compares itself with, measured on the same disks: how many bytes are unique, and what a
//! replication in fixed pieces of 1 MiB would have sent.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vault::ids::Kind;
use vault::keys::DomainKeys;
use vault::object::Sealer;

use super::disks::{BLOCK_BYTES, MEBIBYTE};
use crate::world::SystemEntropy;

/// Bytes of the distinct blocks of 4 KiB that hold anything but zeros, over all disks together.
pub(super) fn unique_bytes(disks: &[&Path]) -> io::Result<u64> {
    let keys = DomainKeys::generate(&SystemEntropy);
    let secrets = keys.secrets().map_err(io::Error::other)?;
    let mut seen = HashSet::new();
    let mut buffer = vec![0u8; MEBIBYTE as usize];
    for path in disks {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut at = 0;
        while at < length {
            let piece = &mut buffer[..(length - at).min(MEBIBYTE) as usize];
            file.read_exact_at(piece, at)?;
            let blocks =
                piece.chunks(BLOCK_BYTES as usize).filter(|block| block.iter().any(|byte| *byte != 0));
            seen.extend(blocks.map(|block| secrets.dedup_id(block)));
            at += MEBIBYTE;
        }
    }
    Ok(seen.len() as u64 * BLOCK_BYTES)
}

/// What it takes to send these pieces of 1 MiB of a disk, each compressed and sealed just as our own chunks
/// are, under keys that are thrown away. Zero pieces cost nothing.
pub(super) fn sealed_bytes_of_mebibytes(path: &Path, mebibytes: &[u64]) -> io::Result<u64> {
    let keys = DomainKeys::generate(&SystemEntropy);
    let keys = keys.sealing_keys(Kind::Chunk).map_err(io::Error::other)?;
    let mut sealer = Sealer::new().map_err(io::Error::other)?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut piece = vec![0u8; MEBIBYTE as usize];
    let mut sealed = Vec::new();
    let mut total = 0;
    for index in mebibytes {
        let offset = index * MEBIBYTE;
        let piece = &mut piece[..length.saturating_sub(offset).min(MEBIBYTE) as usize];
        file.read_exact_at(piece, offset)?;
        if piece.iter().any(|byte| *byte != 0) {
            sealed.clear();
            total +=
                u64::from(sealer.seal_chunk(keys, piece, &mut sealed).map_err(io::Error::other)?.stored_len);
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_counts_each_block_once_and_no_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let block = |byte: u8| vec![byte; BLOCK_BYTES as usize];
        std::fs::write(&a, [block(1), block(0), block(1), block(2)].concat()).unwrap();
        std::fs::write(&b, [block(2), block(3)].concat()).unwrap();
        assert_eq!(unique_bytes(&[&a, &b]).unwrap(), 3 * BLOCK_BYTES);
    }

    #[test]
    fn fixed_pieces_cost_what_their_bytes_cost() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        let mut numbers = super::super::disks::Numbers::seeded(3);
        let mut bytes: Vec<u8> = (0..3 * MEBIBYTE / 8).flat_map(|_| numbers.next().to_le_bytes()).collect();
        bytes[MEBIBYTE as usize..2 * MEBIBYTE as usize].fill(0);
        std::fs::write(&disk, &bytes).unwrap();
        let one = sealed_bytes_of_mebibytes(&disk, &[0]).unwrap();
        assert!((MEBIBYTE..MEBIBYTE + 256).contains(&one), "{one}");
        assert_eq!(
            sealed_bytes_of_mebibytes(&disk, &[0, 1, 2]).unwrap(),
            2 * one,
            "a zero piece costs nothing"
        );
    }
}
