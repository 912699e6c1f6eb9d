//! Every parser of stored or received bytes over its kept corpus, its seeds, and seeded mutations of both.
//!
//! `ANTIPODE_FUZZ_EXECUTIONS` makes it a long run that prints a line for each target (`make fuzz-long`);
//! `ANTIPODE_FUZZ_TARGET` chooses one; `ANTIPODE_WRITE_CORPUS=1` writes the seeds into the corpus.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use std::path::{Path, PathBuf};

use vault::parsers::{Target, exercise, targets};

/// For each target in an ordinary run.
const EXECUTIONS: u64 = 3_000;

fn corpus_of(target: &Target) -> Vec<Vec<u8>> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    if std::env::var_os("ANTIPODE_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
    let files = std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} has no corpus", target.name));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let mut corpus: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    corpus.extend((target.seeds)());
    corpus
}

#[expect(clippy::disallowed_methods, reason = "a long run says how long it took")]
fn run(target: &Target, executions: u64, is_long: bool) {
    let begun = std::time::Instant::now();
    let exercised = exercise(target, &corpus_of(target), executions, 1);
    if is_long {
        let (name, seconds) = (target.name, begun.elapsed().as_secs_f64());
        println!("{name:<16}{:>12} executions{:>4} crashes{seconds:>9.1} s", exercised.executions, 0);
    }
}

#[test]
fn no_parser_fails_on_any_input() {
    let number = std::env::var("ANTIPODE_FUZZ_EXECUTIONS").ok();
    let only = std::env::var("ANTIPODE_FUZZ_TARGET").ok();
    let executions = number.as_ref().map_or(EXECUTIONS, |text| text.parse().unwrap());
    for target in targets().iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)) {
        run(target, executions, number.is_some());
    }
}

#[test]
fn targets_have_names_of_their_own_and_accept_their_seeds() {
    let mut names: Vec<&str> = targets().iter().map(|target| target.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(targets().iter().all(|target| !(target.seeds)().is_empty()));
}
