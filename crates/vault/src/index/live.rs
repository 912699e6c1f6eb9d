//! Which packs are live: one bit a pack, wherever in the range of numbers they lie.

use std::collections::HashMap;

use crate::ids::PackNumber;

#[derive(Debug, Default)]
pub(super) struct LiveSet {
    words: HashMap<u64, u64>,
}

impl LiveSet {
    pub(super) fn contains(&self, number: PackNumber) -> bool {
        self.words.get(&(number.0 / 64)).is_some_and(|word| word >> (number.0 % 64) & 1 == 1)
    }

    pub(super) fn numbers(&self) -> Vec<PackNumber> {
        let of_word = |(index, word): (&u64, &u64)| {
            let (index, word) = (*index, *word);
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| PackNumber(index * 64 + bit))
        };
        self.words.iter().flat_map(of_word).collect()
    }

    pub(super) fn set(&mut self, number: PackNumber, is_live: bool) {
        let word = self.words.entry(number.0 / 64).or_default();
        let bit = 1 << (number.0 % 64);
        if is_live {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }
}
