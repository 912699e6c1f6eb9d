//! A small seeded mutator: the stable stand-in for a guided fuzzer.

use crate::seams::{Entropy, SeededEntropy};

/// Longest input it makes.
const BYTES_MAX: usize = 64 << 10;
/// Numbers on which parsers trip.
const NUMBERS: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff, u64::MAX / 2, u64::MAX];

/// Makes inputs out of a corpus. The same corpus and seed make the same inputs.
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
    entropy: SeededEntropy,
    /// Chance that was drawn and not yet used.
    drawn: Vec<u8>,
}

impl Mutator {
    /// A mutator; an empty corpus counts as one empty input.
    pub fn new(mut corpus: Vec<Vec<u8>>, seed: u64) -> Mutator {
        if corpus.is_empty() {
            corpus.push(Vec::new());
        }
        Mutator { corpus, entropy: SeededEntropy::new(seed), drawn: Vec::new() }
    }

    /// The next input: one of the corpus after one to five changes.
    pub fn next_input(&mut self) -> Vec<u8> {
        let index = self.below(self.corpus.len());
        let mut input = self.corpus[index].clone();
        for _ in 0..=self.below(5) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let length = (self.below(32) + 1).min(input.len() - at);
        match self.below(9) {
            0 if length > 0 => input[at] ^= 1 << self.below(8),
            1 if length > 0 => input[at] = self.below(256) as u8,
            2 => drop(input.splice(at..at, self.bytes(length + 1))),
            3 => drop(input.drain(at..at + length)),
            4 => {
                let copy = input[at..at + length].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => self.set_number(input, at),
            6 => input.truncate(at),
            7 => self.splice_other(input, at),
            _ => {
                let noise = self.bytes(length);
                input[at..at + length].copy_from_slice(&noise);
            }
        }
    }

    /// A number of one to eight bytes, little-endian, over what is there.
    fn set_number(&mut self, input: &mut [u8], at: usize) {
        let number = match self.below(3) {
            0 => input.len() as u64,
            _ => NUMBERS[self.below(NUMBERS.len())],
        };
        let width = [1, 2, 4, 8][self.below(4)].min(input.len() - at);
        input[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }

    /// The end of another input behind the beginning of this one.
    fn splice_other(&mut self, input: &mut Vec<u8>, at: usize) {
        let index = self.below(self.corpus.len());
        let from = self.below(self.corpus[index].len() + 1);
        input.truncate(at);
        input.extend_from_slice(&self.corpus[index][from..]);
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        if self.drawn.len() < 4 {
            self.drawn.resize(4096, 0);
            self.entropy.fill(&mut self.drawn);
        }
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.drawn.split_off(self.drawn.len() - 4));
        u32::from_le_bytes(bytes) as usize % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_one_run_of_inputs_and_few_repeat() {
        let corpus = vec![b"some text".to_vec(), vec![0; 40]];
        let run = |seed| {
            let mut mutator = Mutator::new(corpus.clone(), seed);
            (0..500).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let different: std::collections::BTreeSet<_> = run(3).into_iter().collect();
        assert!(different.len() > 400, "{}", different.len());
    }

    #[test]
    fn an_empty_corpus_still_makes_inputs() {
        let mut mutator = Mutator::new(Vec::new(), 1);
        assert!((0..100).any(|_| !mutator.next_input().is_empty()));
    }
}
