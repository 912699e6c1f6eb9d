//! Deterministic chance for the images: the extended output of BLAKE3 over a seed, so that the same command makes the
//! same bytes on every machine.

pub(crate) struct Chance {
    output: blake3::OutputReader,
}

impl Chance {
    pub(crate) fn seeded(seed: &str) -> Chance {
        let mut hasher = blake3::Hasher::new();
        hasher.update(seed.as_bytes());
        Chance { output: hasher.finalize_xof() }
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.output.fill(bytes);
    }

    /// A number below `limit`; the bias of the remainder is far below what the images can show.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}
