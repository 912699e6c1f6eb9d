//! The sweep behind rfd 0002: how a disk is cut into chunks, and what is hashed for it.
//!
//! `bench/sweep.sh` makes the disk images with the sub-commands of `images` and then runs `measure` on them. The sweep
//! keeps a cutter of its own (`cutting`), because it must also be able to cut in the ways that the vault refused;
//! `agreement` compares it with the vault's.
//! Every figure comes from real bytes run through the real codec; only the columns named "projected" are arithmetic.

mod agreement;
mod chance;
mod cutting;
mod images;
mod measure;

use std::path::PathBuf;

type AnyError = Box<dyn std::error::Error>;

const USAGE: &str = "usage: sweep database FILE MIB [SEED] | noise FILE MIB | log FILE MIB | \
                     change SOURCE DESTINATION PER_MILLE [SEED] | extents BEFORE AFTER GRANULARITY | \
                     measure GENERATION_1 … -- GENERATION_2 …";

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["database", file, mib] => images::write_database(file.as_ref(), mib.parse()?, "database"),
        ["database", file, mib, seed] => images::write_database(file.as_ref(), mib.parse()?, seed),
        ["log", file, mib] => images::write_log(file.as_ref(), mib.parse()?),
        ["extents", before, after, granularity] => {
            images::write_extents(before.as_ref(), after.as_ref(), granularity.parse()?)
        }
        ["noise", file, mib] => images::write_noise(file.as_ref(), mib.parse()?),
        ["change", source, destination, per_mille] => {
            images::change_blocks(source.as_ref(), destination.as_ref(), per_mille.parse()?, "")
        }
        ["change", source, destination, per_mille, seed] => {
            images::change_blocks(source.as_ref(), destination.as_ref(), per_mille.parse()?, seed)
        }
        ["measure", disks @ ..] => {
            let middle = disks.iter().position(|word| *word == "--").ok_or(USAGE)?;
            let paths = |some: &[&str]| some.iter().map(PathBuf::from).collect::<Vec<_>>();
            measure::run(&paths(&disks[..middle]), &paths(&disks[middle + 1..]))?;
            agreement::check(&paths(&disks[..middle]))
        }
        _ => Err(USAGE.into()),
    }
}
