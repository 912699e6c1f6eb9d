//! Proves that what was measured is what the vault does: its cutter and the sweep's, over the same disks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use vault::cut::{CutParameters, Cutter, Piece};

use crate::AnyError;
use crate::cutting::{self, BLOCK_BYTES, Cut, CutHash, IdOver, Way};

/// Fails at the first segment that the vault, at its defaults, cuts in another way than the sweep does.
pub(crate) fn check(disks: &[PathBuf]) -> Result<(), AnyError> {
    let parameters = CutParameters::DEFAULT;
    let blocks = |bytes: u32| bytes as usize / BLOCK_BYTES;
    let way = Way {
        cut: Cut::Content {
            bits: u32::from(parameters.average_bits),
            blocks_min: blocks(parameters.chunk_bytes_min),
            blocks_max: blocks(parameters.chunk_bytes_max),
        },
        segment_bytes: parameters.segment_bytes as usize,
        cut_hash: CutHash::Sample,
        id_over: IdOver::Chunk,
    };
    let mut cutter = Cutter::new(parameters, &cutting::CUT_KEY)?;
    let mut segment = vec![0; way.segment_bytes];
    let mut piece_count = 0;
    for path in disks {
        let disk = File::open(path)?;
        let size = disk.metadata()?.len();
        for offset in (0..size).step_by(way.segment_bytes) {
            let length = (size - offset).min(way.segment_bytes as u64) as usize;
            disk.read_exact_at(&mut segment[..length], offset)?;
            piece_count += check_segment(&segment[..length], &way, &mut cutter)
                .ok_or_else(|| format!("{}: the segment at {offset} is cut otherwise", path.display()))?;
        }
    }
    println!("\nThe vault at its defaults cuts these disks into the same {piece_count} pieces.");
    Ok(())
}

/// The number of pieces, if both agree on all of them.
fn check_segment(segment: &[u8], way: &Way, cutter: &mut Cutter) -> Option<usize> {
    let mut pieces = Vec::new();
    cutter.cut(segment, &mut pieces);
    let ours = cutting::cut_segment(segment, way);
    let is_same = pieces.len() == ours.len()
        && pieces.iter().zip(&ours).all(|(piece, our)| {
            let (offset, is_hole) = match piece {
                Piece::Chunk { offset, .. } => (*offset, false),
                Piece::Hole { offset, .. } => (*offset, true),
            };
            offset as usize == our.start * BLOCK_BYTES && is_hole == our.id.is_none()
        });
    is_same.then_some(pieces.len())
}
