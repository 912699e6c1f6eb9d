//! Cutting a disk into chunks and holes at block boundaries.
//!
//! A disk is a grid of segments, cut one by one and independently. Inside a segment a keyed hash over
//! whole blocks decides where a chunk ends, so that data which moved by whole blocks is cut alike;
//! runs of zero blocks become holes. Without the domain's cut key nobody can tell where a given
//! content would be cut. The rules are part of the format (`docs/format.md`, "Cutting"), the numbers
//! are properties of a vault.

use crate::error::VaultError;
use crate::object::CHUNK_BYTES_MAX;

/// A run of at least so many zero blocks stands alone as a hole.
pub const HOLE_BLOCKS_MIN: u32 = 8;

/// Longest and shortest segment a vault may use.
const SEGMENT_BYTES_MAX: u32 = 32 << 20;

/// Which bytes of a block the cut hash covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// All of them.
    Whole,
    /// `piece_count` pieces of `piece_bytes`, evenly spread: piece i begins at i × block / count.
    Pieces {
        /// How many pieces.
        piece_count: u8,
        /// How long each is.
        piece_bytes: u16,
    },
}

/// How a vault cuts. Fixed when the vault is made: other numbers would find no duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutParameters {
    /// Bytes of a block. Cuts lie on multiples of it.
    pub block_bytes: u32,
    /// No chunk is shorter, except before a hole and at the end of a segment.
    pub chunk_bytes_min: u32,
    /// A block ends a chunk when this many low bits of its cut hash are zero.
    pub average_bits: u8,
    /// No chunk is longer.
    pub chunk_bytes_max: u32,
    /// Bytes of a segment.
    pub segment_bytes: u32,
    /// What the cut hash covers.
    pub sample: Sample,
}

impl CutParameters {
    /// The cut of new vaults, settled by the sweep of rfd 2: 16 to 256 KiB, 44 KiB on average.
    pub const DEFAULT: CutParameters = CutParameters {
        block_bytes: 4096,
        chunk_bytes_min: 16 << 10,
        average_bits: 3,
        chunk_bytes_max: 256 << 10,
        segment_bytes: 16 << 20,
        sample: Sample::Pieces { piece_count: 4, piece_bytes: 64 },
    };

    /// Checks parameters read from a store or chosen by hand.
    ///
    /// # Errors
    /// `BadFormat` naming the rule that is broken.
    pub fn check(&self) -> Result<(), VaultError> {
        let CutParameters {
            block_bytes,
            chunk_bytes_min,
            average_bits,
            chunk_bytes_max,
            segment_bytes,
            sample,
        } = *self;
        let bad = |why| Err(VaultError::bad_format("cut parameters", why));
        if !block_bytes.is_power_of_two() || !(512..=65536).contains(&block_bytes) {
            return bad("a block is a power of two from 512 bytes to 64 KiB");
        }
        if [chunk_bytes_min, chunk_bytes_max, segment_bytes].iter().any(|bytes| bytes % block_bytes != 0) {
            return bad("chunks and segments are whole blocks");
        }
        if chunk_bytes_min == 0 || chunk_bytes_min > chunk_bytes_max || chunk_bytes_max > CHUNK_BYTES_MAX {
            return bad(
                "a chunk has at least a block, at most 1 MiB, and the minimum is no more than the maximum",
            );
        }
        if segment_bytes < chunk_bytes_max || segment_bytes > SEGMENT_BYTES_MAX {
            return bad("a segment has at least the longest chunk and at most 32 MiB");
        }
        if average_bits > 16 {
            return bad("the average has at most 16 bits");
        }
        match sample {
            Sample::Whole => Ok(()),
            Sample::Pieces { piece_count, piece_bytes } => {
                let (count, bytes) = (u32::from(piece_count), u32::from(piece_bytes));
                let is_lawful = count > 0 && bytes > 0 && block_bytes % count == 0;
                if is_lawful && bytes <= block_bytes / count {
                    Ok(())
                } else {
                    bad("the pieces of a sample divide the block")
                }
            }
        }
    }
}

/// A piece of a segment. Offsets count from the segment's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Data to be stored as one chunk.
    Chunk {
        /// First byte.
        offset: u32,
        /// Length in bytes.
        length: u32,
    },
    /// Zeros, of which nothing is stored.
    Hole {
        /// First byte.
        offset: u32,
        /// Length in bytes.
        length: u32,
    },
}

impl Piece {
    /// Length in bytes.
    pub fn length(&self) -> u32 {
        match self {
            Piece::Chunk { length, .. } | Piece::Hole { length, .. } => *length,
        }
    }
}

/// A part of a segment, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub struct CutWindow<'a> {
    /// Its bytes: whole blocks, except at the segment's end.
    pub bytes: &'a [u8],
    /// Where they begin in the segment.
    pub offset: usize,
    /// Length of the segment.
    pub segment_len: usize,
}

/// How far the cut of a segment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutCursor {
    /// Where the piece that has not ended begins.
    start: usize,
    /// The next block.
    at: usize,
    is_in_hole: bool,
}

impl CutCursor {
    /// A cut that begins at `offset`, where a piece began before: behind it nothing depends on what lies
    /// in front of it.
    pub fn at(offset: usize) -> CutCursor {
        CutCursor { start: offset, at: offset, is_in_hole: false }
    }

    /// Where the piece that has not ended begins.
    pub fn piece_start(&self) -> usize {
        self.start
    }

    /// The first byte that the next window has to hold.
    pub fn needed_from(&self) -> usize {
        if self.is_in_hole { self.at } else { self.start }
    }

    fn end_piece(&mut self, pieces: &mut Vec<Piece>) {
        let (offset, length) = (self.start as u32, (self.at - self.start) as u32);
        let is_hole = std::mem::take(&mut self.is_in_hole);
        self.start = self.at;
        match (length, is_hole) {
            (0, _) => {}
            (_, true) => pieces.push(Piece::Hole { offset, length }),
            (_, false) => pieces.push(Piece::Chunk { offset, length }),
        }
    }
}

/// Cuts segments. Cheap to make; holds a small buffer for samples.
#[derive(Clone)]
pub struct Cutter {
    parameters: CutParameters,
    cut_key: zeroize::Zeroizing<[u8; 32]>,
    mask: u64,
    sample: Vec<u8>,
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cutter").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl Cutter {
    /// A cutter for one vault.
    ///
    /// # Errors
    /// As [`CutParameters::check`].
    pub fn new(parameters: CutParameters, cut_key: &[u8; 32]) -> Result<Cutter, VaultError> {
        parameters.check()?;
        let mask = (1u64 << parameters.average_bits) - 1;
        Ok(Cutter { parameters, cut_key: zeroize::Zeroizing::new(*cut_key), mask, sample: Vec::new() })
    }

    /// Cuts one segment, which is shorter than the grid's only at the end of a disk. The pieces follow
    /// each other without gaps and cover it; an empty segment has none.
    ///
    /// `pieces` is cleared first and reused, so that cutting allocates nothing once warm.
    pub fn cut(&mut self, segment: &[u8], pieces: &mut Vec<Piece>) {
        pieces.clear();
        let mut cursor = CutCursor::at(0);
        self.advance(
            &CutWindow { bytes: segment, offset: 0, segment_len: segment.len() },
            &mut cursor,
            pieces,
        );
    }

    /// Cuts on from where `cursor` stands, as far as the window lets it be sure, and appends the pieces
    /// that ended. Windows that follow each other give the same pieces as the whole segment at once.
    ///
    /// # Panics
    /// When the window does not hold what the cursor still needs, or the segment is longer than the grid's.
    pub fn advance(&mut self, window: &CutWindow<'_>, cursor: &mut CutCursor, pieces: &mut Vec<Piece>) {
        assert!(
            window.segment_len <= self.parameters.segment_bytes as usize,
            "a segment is longer than the grid's"
        );
        assert!(cursor.needed_from() >= window.offset, "the window begins behind what the cut needs");
        let end = window.offset + window.bytes.len();
        let is_last = end >= window.segment_len;
        while cursor.at < end {
            if cursor.is_in_hole {
                self.extend_hole(window, cursor);
                if cursor.at < end || is_last {
                    cursor.end_piece(pieces);
                }
                continue;
            }
            if !is_last && end - cursor.at < self.lookahead_bytes() {
                return;
            }
            if self.begins_hole(window, cursor.at) {
                cursor.end_piece(pieces);
                cursor.is_in_hole = true;
                continue;
            }
            self.take_block(window, cursor, pieces);
        }
        if is_last {
            cursor.end_piece(pieces);
        }
    }

    /// Bytes behind a piece that decide where it ends.
    pub fn lookahead_bytes(&self) -> usize {
        HOLE_BLOCKS_MIN as usize * self.parameters.block_bytes as usize
    }

    /// Adds the next block to the chunk, which may end behind it.
    fn take_block(&mut self, window: &CutWindow<'_>, cursor: &mut CutCursor, pieces: &mut Vec<Piece>) {
        let from = cursor.at - window.offset;
        let block = &window.bytes[from..window.bytes.len().min(from + self.parameters.block_bytes as usize)];
        cursor.at += block.len();
        let length = (cursor.at - cursor.start) as u32;
        let may_end = length >= self.parameters.chunk_bytes_min && cursor.at < window.segment_len;
        if length >= self.parameters.chunk_bytes_max || (may_end && self.ends_chunk(block)) {
            cursor.end_piece(pieces);
        }
    }

    /// True when a hole begins at this block. Fewer than [`HOLE_BLOCKS_MIN`] zero blocks are a hole only
    /// if they are the whole segment.
    fn begins_hole(&self, window: &CutWindow<'_>, at: usize) -> bool {
        let block_bytes = self.parameters.block_bytes as usize;
        let blocks = window.bytes[at - window.offset..].chunks(block_bytes).take(HOLE_BLOCKS_MIN as usize);
        let count = blocks.take_while(|block| is_zero(block)).count();
        count == HOLE_BLOCKS_MIN as usize || (at == 0 && count * block_bytes >= window.segment_len)
    }

    fn extend_hole(&self, window: &CutWindow<'_>, cursor: &mut CutCursor) {
        let block_bytes = self.parameters.block_bytes as usize;
        let blocks = window.bytes[cursor.at - window.offset..].chunks(block_bytes);
        for block in blocks.take_while(|block| is_zero(block)) {
            cursor.at += block.len();
        }
    }

    fn ends_chunk(&mut self, block: &[u8]) -> bool {
        let digest = match self.parameters.sample {
            Sample::Whole => blake3::keyed_hash(&self.cut_key, block),
            Sample::Pieces { piece_count, piece_bytes } => {
                let step = block.len() / usize::from(piece_count);
                self.sample.clear();
                for piece in 0..usize::from(piece_count) {
                    self.sample.extend_from_slice(&block[piece * step..][..usize::from(piece_bytes)]);
                }
                blake3::keyed_hash(&self.cut_key, &self.sample)
            }
        };
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) & self.mask == 0
    }
}

/// The keyed digests of the blocks of a chunk: a candidate of the sweep for dedup ids, see
/// [`crate::keys::DomainSecrets::dedup_id_of_blocks`]. Suite 1 does not use it.
pub fn block_digests(cut_key: &[u8; 32], block_bytes: u32, chunk: &[u8], digests: &mut Vec<[u8; 32]>) {
    digests.clear();
    digests.extend(
        chunk.chunks(block_bytes as usize).map(|block| *blake3::keyed_hash(cut_key, block).as_bytes()),
    );
}

/// True when all bytes are zero. Looks at the first bytes before it scans: most blocks end there.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |all, byte| all | byte) == 0)
        && tail.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [5; 32];
    const BLOCK: usize = 4096;

    fn noise(blocks: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0u8; blocks * BLOCK];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cut_with(parameters: CutParameters, segment: &[u8]) -> Vec<Piece> {
        let mut pieces = vec![Piece::Hole { offset: 9, length: 9 }];
        Cutter::new(parameters, &KEY).unwrap().cut(segment, &mut pieces);
        pieces
    }

    fn cut(segment: &[u8]) -> Vec<Piece> {
        cut_with(CutParameters::DEFAULT, segment)
    }

    fn kinds(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| if matches!(piece, Piece::Hole { .. }) { 'h' } else { 'c' }).collect()
    }

    fn check_cover(segment: &[u8], pieces: &[Piece]) {
        let parameters = CutParameters::DEFAULT;
        let mut expected = 0u32;
        for (index, piece) in pieces.iter().enumerate() {
            let (Piece::Chunk { offset, length } | Piece::Hole { offset, length }) = *piece;
            assert_eq!(offset, expected);
            expected += length;
            let is_last = index + 1 == pieces.len();
            let bytes = &segment[offset as usize..expected as usize];
            if let Piece::Hole { .. } = piece {
                assert!(is_zero(bytes) && (is_last || length.is_multiple_of(4096)));
                continue;
            }
            assert!(length <= parameters.chunk_bytes_max && length > 0);
            let before_hole = pieces.get(index + 1).is_some_and(|next| matches!(next, Piece::Hole { .. }));
            assert!(
                is_last
                    || before_hole
                    || (length >= parameters.chunk_bytes_min && length.is_multiple_of(4096))
            );
        }
        assert_eq!(expected as usize, segment.len());
    }

    #[test]
    fn an_empty_segment_has_no_pieces() {
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn a_segment_of_zeros_is_one_hole_however_short() {
        for length in [1, 4096, 3 * 4096 + 512, 16 << 20] {
            assert_eq!(cut(&vec![0; length]), [Piece::Hole { offset: 0, length: length as u32 }]);
        }
    }

    #[test]
    fn eight_zero_blocks_are_a_hole_and_seven_are_data() {
        let around = |zero_blocks: usize| [noise(1, 1), vec![0; zero_blocks * BLOCK], noise(1, 2)].concat();
        assert_eq!(kinds(&cut(&around(8))), "chc");
        let pieces = cut(&around(7));
        check_cover(&around(7), &pieces);
        assert!(!kinds(&pieces).contains('h'));
    }

    #[test]
    fn an_odd_tail_counts_as_a_block() {
        let mut segment = noise(1, 3);
        segment.resize(BLOCK + 7 * BLOCK + 512, 0);
        assert_eq!(kinds(&cut(&segment)), "ch");
        segment.truncate(BLOCK + 6 * BLOCK + 512);
        assert!(!kinds(&cut(&segment)).contains('h'));
        segment.truncate(100);
        assert_eq!(cut(&segment), [Piece::Chunk { offset: 0, length: 100 }]);
    }

    #[test]
    fn chunks_of_equal_blocks_end_at_the_maximum_or_the_minimum() {
        // Every block has the same hash, so it ends a chunk always or never.
        for byte in 1..=20u8 {
            let pieces = cut(&vec![byte; 1 << 20]);
            let lengths: Vec<u32> = pieces.iter().map(Piece::length).collect();
            assert!(lengths == [256 << 10; 4] || lengths == [16 << 10; 64], "{lengths:?}");
        }
    }

    #[test]
    fn the_average_is_near_what_the_bits_promise() {
        let pieces = cut(&noise(4096, 4));
        let average = (16 << 20) / pieces.len();
        assert!((41 << 10..48 << 10).contains(&average), "{average}");
    }

    #[test]
    fn data_moved_by_whole_blocks_is_cut_alike() {
        let data = noise(512, 5);
        let ends = |segment: &[u8], skip: u32| -> std::collections::BTreeSet<u32> {
            cut(segment)
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Chunk { offset, length } => (offset + length).checked_sub(skip),
                    Piece::Hole { .. } => None,
                })
                .collect()
        };
        let moved = [noise(3, 6), data.clone()].concat();
        let (before, after) = (ends(&data, 0), ends(&moved, 3 * 4096));
        assert!(before.intersection(&after).count() * 10 > before.len() * 9);
    }

    #[test]
    fn another_key_cuts_elsewhere() {
        let data = noise(512, 7);
        let mut pieces = Vec::new();
        Cutter::new(CutParameters::DEFAULT, &[6; 32]).unwrap().cut(&data, &mut pieces);
        assert_ne!(pieces, cut(&data));
    }

    #[test]
    fn a_frozen_cut_stays_as_it_is() {
        let lengths = |sample| -> Vec<u32> {
            let parameters = CutParameters { sample, ..CutParameters::DEFAULT };
            cut_with(parameters, &noise(64, 8)).iter().map(|piece| piece.length() / 4096).collect()
        };
        assert_eq!(lengths(Sample::Pieces { piece_count: 4, piece_bytes: 64 }), FROZEN_SAMPLED);
        assert_eq!(lengths(Sample::Whole), FROZEN_WHOLE);
    }
    const FROZEN_SAMPLED: [u32; 5] = [27, 8, 6, 10, 13];
    const FROZEN_WHOLE: [u32; 6] = [25, 4, 10, 10, 9, 6];

    #[test]
    fn unlawful_parameters_are_refused() {
        let default = CutParameters::DEFAULT;
        let pieces = |piece_count, piece_bytes| Sample::Pieces { piece_count, piece_bytes };
        for parameters in [
            CutParameters { block_bytes: 0, ..default },
            CutParameters { block_bytes: 4097, ..default },
            CutParameters { block_bytes: 256, ..default },
            CutParameters { chunk_bytes_min: 0, ..default },
            CutParameters { chunk_bytes_min: 9000, ..default },
            CutParameters { chunk_bytes_min: 512 << 10, ..default },
            CutParameters { chunk_bytes_max: 2 << 20, ..default },
            CutParameters { segment_bytes: 128 << 10, ..default },
            CutParameters { segment_bytes: 64 << 20, ..default },
            CutParameters { average_bits: 17, ..default },
            CutParameters { sample: pieces(0, 64), ..default },
            CutParameters { sample: pieces(3, 64), ..default },
            CutParameters { sample: pieces(4, 0), ..default },
            CutParameters { sample: pieces(4, 1025), ..default },
        ] {
            assert!(Cutter::new(parameters, &KEY).is_err(), "{parameters:?}");
        }
        default.check().unwrap();
    }

    /// Cuts a segment in windows of which each has at most `window_bytes`.
    fn cut_in_windows(segment: &[u8], window_bytes: usize) -> Vec<Piece> {
        let mut cutter = Cutter::new(CutParameters::DEFAULT, &KEY).unwrap();
        let (mut cursor, mut pieces, mut end) = (CutCursor::at(0), Vec::new(), 0);
        while cursor.piece_start() < segment.len() {
            let from = cursor.needed_from();
            end = segment.len().min(end.max(from) + window_bytes);
            let window = CutWindow { bytes: &segment[from..end], offset: from, segment_len: segment.len() };
            cutter.advance(&window, &mut cursor, &mut pieces);
        }
        pieces
    }

    proptest! {
        #[test]
        fn windows_give_the_pieces_of_the_whole(
            runs in proptest::collection::vec((any::<bool>(), 1usize..90), 0..12),
            tail in 0usize..4096,
            window_blocks in 1usize..200,
        ) {
            let mut segment = Vec::new();
            for (index, (is_zero, blocks)) in runs.into_iter().enumerate() {
                if is_zero { segment.resize(segment.len() + blocks * BLOCK, 0) } else { segment.extend(noise(blocks, index as u64)) }
            }
            segment.extend(&noise(1, 99)[..tail]);
            prop_assert_eq!(cut_in_windows(&segment, window_blocks * BLOCK), cut(&segment));
        }

        #[test]
        fn pieces_cover_any_segment(runs in proptest::collection::vec((any::<bool>(), 1usize..20), 0..20), tail in 0usize..4096) {
            let mut segment = Vec::new();
            for (index, (is_zero, blocks)) in runs.into_iter().enumerate() {
                if is_zero { segment.resize(segment.len() + blocks * BLOCK, 0) } else { segment.extend(noise(blocks, index as u64)) }
            }
            segment.extend(&noise(1, 99)[..tail]);
            check_cover(&segment, &cut(&segment));
        }
    }
}
