//! Every way of cutting and hashing that the sweep compares. The rules are those of the stored format: inside a
//! segment, over whole blocks, in this order: segment end, hole, maximum, cut hash once the minimum is reached.

pub(crate) const BLOCK_BYTES: usize = 4096;
/// A zero run of this many blocks stands alone as a hole; shorter ones are data.
const HOLE_BLOCKS_MIN: usize = 8;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum CutHash {
    /// The keyed hash of all 4096 bytes.
    Block,
    /// The keyed hash of 64 bytes at each of 0, 1024, 2048, 3072.
    Sample,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum IdOver {
    /// The keyed hash of the plain bytes of the chunk.
    Chunk,
    /// The keyed hash of the keyed hashes of its blocks.
    BlockDigests,
}

#[derive(Clone, Copy)]
pub(crate) enum Cut {
    Fixed { blocks: usize },
    Content { bits: u32, blocks_min: usize, blocks_max: usize },
}

#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) cut: Cut,
    pub(crate) segment_bytes: usize,
    pub(crate) cut_hash: CutHash,
    pub(crate) id_over: IdOver,
}

/// A piece of a segment, in blocks. A hole has no id.
pub(crate) struct Piece {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) id: Option<[u8; 32]>,
}

pub(crate) const CUT_KEY: [u8; 32] = *b"sweep: the key of the cut hashes";
const ID_KEY: [u8; 32] = *b"sweep: the key of the dedup ids.";

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let mut pieces = bytes.chunks_exact(128);
    pieces.by_ref().all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
        && pieces.remainder().iter().all(|byte| *byte == 0)
}

/// Cuts one segment and names its chunks, in one pass over the blocks.
pub(crate) fn cut_segment(segment: &[u8], way: &Way) -> Vec<Piece> {
    match way.cut {
        Cut::Fixed { blocks } => cut_fixed(segment, way, blocks),
        Cut::Content { .. } => cut_by_content(segment, way),
    }
}

fn cut_fixed(segment: &[u8], way: &Way, blocks: usize) -> Vec<Piece> {
    let block_count = segment.len().div_ceil(BLOCK_BYTES);
    let starts = (0..block_count).step_by(blocks);
    let piece = |start: usize| {
        let end = (start + blocks).min(block_count);
        let bytes = &segment[start * BLOCK_BYTES..(end * BLOCK_BYTES).min(segment.len())];
        let digests: Vec<[u8; 32]> = match way.id_over {
            IdOver::Chunk => Vec::new(),
            IdOver::BlockDigests => bytes.chunks(BLOCK_BYTES).map(block_digest).collect(),
        };
        Piece { start, end, id: (!is_zero(bytes)).then(|| chunk_id(bytes, &digests, way)) }
    };
    starts.map(piece).collect()
}

fn cut_by_content(segment: &[u8], way: &Way) -> Vec<Piece> {
    let Cut::Content { bits, blocks_min, blocks_max } = way.cut else { return Vec::new() };
    let blocks: Vec<&[u8]> = segment.chunks(BLOCK_BYTES).collect();
    let zero: Vec<bool> = blocks.iter().map(|block| is_zero(block)).collect();
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < blocks.len() {
        let run = zero[start..].iter().take_while(|is_zero| **is_zero).count();
        if run >= HOLE_BLOCKS_MIN {
            pieces.push(Piece { start, end: start + run, id: None });
            start += run;
            continue;
        }
        let mut digests = Vec::new();
        let mut end = start;
        while end < blocks.len() && !begins_hole(&zero, end) && end - start < blocks_max {
            let is_cut = match (way.cut_hash, way.id_over) {
                (CutHash::Block, _) | (_, IdOver::BlockDigests) => {
                    digests.push(block_digest(blocks[end]));
                    let last = digests[digests.len() - 1];
                    match way.cut_hash {
                        CutHash::Block => is_cut_at(&last, bits),
                        CutHash::Sample => is_cut_at(&sample_digest(blocks[end]), bits),
                    }
                }
                _ => end + 1 - start >= blocks_min && is_cut_at(&sample_digest(blocks[end]), bits),
            };
            end += 1;
            if is_cut && end - start >= blocks_min {
                break;
            }
        }
        let bytes = &segment[start * BLOCK_BYTES..(end * BLOCK_BYTES).min(segment.len())];
        pieces.push(Piece { start, end, id: Some(chunk_id(bytes, &digests, way)) });
        start = end;
    }
    pieces
}

fn begins_hole(zero: &[bool], at: usize) -> bool {
    zero.len() - at >= HOLE_BLOCKS_MIN && zero[at..at + HOLE_BLOCKS_MIN].iter().all(|is_zero| *is_zero)
}

fn block_digest(block: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(&CUT_KEY, block).as_bytes()
}

fn sample_digest(block: &[u8]) -> [u8; 32] {
    if block.len() < BLOCK_BYTES {
        return block_digest(block);
    }
    let mut sample = [0; 256];
    for (index, part) in sample.chunks_exact_mut(64).enumerate() {
        part.copy_from_slice(&block[index * 1024..index * 1024 + 64]);
    }
    *blake3::keyed_hash(&CUT_KEY, &sample).as_bytes()
}

fn is_cut_at(digest: &[u8; 32], bits: u32) -> bool {
    let low = u64::from(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]));
    low & ((1 << bits) - 1) == 0
}

fn chunk_id(bytes: &[u8], digests: &[[u8; 32]], way: &Way) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&ID_KEY);
    hasher.update(&[1]);
    match way.id_over {
        IdOver::Chunk => hasher.update(bytes),
        IdOver::BlockDigests => hasher.update(digests.as_flattened()),
    };
    *hasher.finalize().as_bytes()
}
