//! Every parser of stored or received bytes as one function over bytes, for fuzzers.
//!
//! A target takes anything and returns; it panics when a parser does, when what was accepted is not
//! written back as the same bytes, or when a bound is broken. Signed things are signed here first, by a
//! fixed region, so that the bytes reach the parser behind the signature. The same functions serve the
//! tests ([`exercise`], stable Rust, seeded) and guided fuzzers.

mod mutate;
mod objects;
mod signed;
mod texts;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use crate::card::{CardFields, RegionIdentity, RootKey, WorkingKeys};
use crate::ids::to_hex;
use crate::kek::Kek;
use crate::keys::{DomainKeys, Secret};
use crate::seams::SeededEntropy;
use crate::signed::SigningKey;

pub use mutate::Mutator;

/// A parser under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it parses, in words that also make a folder name.
    pub name: &'static str,
    /// Parses anything.
    pub run: fn(&[u8]),
    /// Inputs that are accepted, to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All parsers of this crate.
pub fn targets() -> Vec<Target> {
    [objects::TARGETS, signed::TARGETS, texts::TARGETS, wire::TARGETS].concat()
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exercised {
    /// Inputs tried.
    pub executions: u64,
    /// Inputs of the corpus among them.
    pub corpus: u64,
}

/// Runs a target over a corpus and over `executions` mutations of it, which follow from `seed`.
///
/// # Panics
/// When the target does, after the input was printed.
pub fn exercise(target: &Target, corpus: &[Vec<u8>], executions: u64, seed: u64) -> Exercised {
    for input in corpus {
        try_input(target, input);
    }
    let mut mutator = Mutator::new(corpus.to_vec(), seed);
    for _ in 0..executions {
        let input = mutator.next_input();
        try_input(target, &input);
    }
    Exercised { executions: executions + corpus.len() as u64, corpus: corpus.len() as u64 }
}

fn try_input(target: &Target, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if let Err(payload) = outcome {
        tracing::error!(target = target.name, input = to_hex(input), "a parser failed");
        eprintln!("{} fails on {}", target.name, to_hex(input));
        resume_unwind(payload);
    }
}

/// A region and keys that never change, so that a kept input means the same for ever.
struct Fixture {
    root: RootKey,
    /// The same key, to sign cards that [`RootKey`] would not write.
    root_signing: SigningKey,
    identity: RegionIdentity,
    keys: DomainKeys,
    kek: Kek,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let entropy = SeededEntropy::new(0xf00d);
        let root_secret = Secret::generate(&entropy);
        let root = RootKey::from_secret(&root_secret);
        let working = WorkingKeys::generate(&entropy);
        let fields = CardFields {
            name: "fuzz".to_owned(),
            signing_key: working.signing_key(),
            receiving_key: working.receiving_key(),
            tls_key_hash: [0; 32],
            serial: 1,
            valid_from_ms: 0,
            valid_to_ms: u64::MAX,
            next_root_key: None,
        };
        let card = root.sign_card(&fields).expect("the name is short");
        let identity = RegionIdentity::new(working, card).expect("the card names these keys");
        let keys = DomainKeys::generate(&entropy);
        let root_signing = SigningKey::from_secret(&root_secret);
        Fixture { root, root_signing, identity, keys, kek: Kek::new(&Secret::generate(&entropy)) }
    })
}
