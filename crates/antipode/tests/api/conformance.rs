//! Evidence for what we claim: every error code is reached by the test that its line names, and every line of
//! `docs/conformance.md` names tests that exist.

use std::path::{Path, PathBuf};

use antipode::http::error::table::{CODES, Code, Proof};

const PAGE: &str = include_str!("../../../../docs/conformance.md");

/// The source of a test as `file.rs::name`; the file lies in the crate's `tests` or `src`, or is named from the
/// root of the tree.
fn source_of(test: &str) -> Result<String, String> {
    let (file, name) = test.split_once("::").ok_or("is not file.rs::name")?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [home.join("tests").join(file), home.join("src").join(file), home.join("../..").join(file)];
    let path: PathBuf = places.into_iter().find(|path| path.is_file()).ok_or("there is no such file")?;
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let begin = text.find(&format!("fn {name}(")).ok_or("there is no such function")?;
    let before = &text[..begin];
    if !before
        .trim_end()
        .trim_end_matches("pub(crate)")
        .trim_end()
        .trim_end_matches("async")
        .trim_end()
        .ends_with(']')
    {
        return Err("is not a test".to_owned());
    }
    let indent = before.len() - before.rfind('\n').map_or(0, |line| line + 1);
    let margin: String = before[before.len() - indent..].chars().take_while(|c| *c == ' ').collect();
    let end = text[begin..].find(&format!("\n{margin}}}")).ok_or("has no end")?;
    Ok(text[begin..begin + end].to_owned())
}

/// A line of the table as the page shows it.
fn shown(line: &Code) -> String {
    let documented = line.documented.map_or("—".to_owned(), |status| status.to_string());
    let proof = match &line.proof {
        Proof::ReachedBy(test) => format!("`{test}`"),
        Proof::Never(because) => format!("not here: {because}"),
    };
    let here = if matches!(line.proof, Proof::Never(_)) { "—".to_owned() } else { line.status.to_string() };
    format!("| {} | {documented} | {here} | {} | {proof} |", line.code, line.text)
}

#[test]
fn every_code_is_reached_by_the_test_it_names_or_says_why_it_is_not() {
    for line in &CODES {
        match &line.proof {
            Proof::ReachedBy(test) => {
                let source = source_of(test).unwrap_or_else(|why| panic!("{}: {test} {why}", line.code));
                assert!(
                    source.contains(&format!("\"{}\"", line.code)),
                    "{test} does not speak of {}",
                    line.code
                );
            }
            Proof::Never(because) => assert!(because.len() > 10, "{}", line.code),
        }
    }
}

#[test]
fn the_page_shows_every_code_as_the_table_has_it() {
    let expected: Vec<String> = CODES.iter().map(shown).collect();
    let missing: Vec<&String> = expected.iter().filter(|line| !PAGE.contains(line.as_str())).collect();
    assert!(missing.is_empty(), "put these lines into docs/conformance.md:\n{}", expected.join("\n"));
    let rows = PAGE.lines().filter(|line| {
        ["| CSBS.", "| BackupService.", "| Antipode."].iter().any(|begin| line.starts_with(begin))
    });
    assert_eq!(rows.count(), CODES.len(), "a line of the page is no line of the table");
}

/// The tests that a text names, between backticks.
fn tests_named(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).filter(|word| word.contains(".rs::")).collect()
}

#[test]
fn every_test_that_the_page_names_exists() {
    let tests = tests_named(PAGE);
    assert!(tests.len() > 150, "{}", tests.len());
    let wrong: Vec<String> = tests
        .into_iter()
        .filter_map(|test| source_of(test).err().map(|why| format!("{test} {why}")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_line_of_the_contract_has_a_line_with_a_test_or_a_reason() {
    let numbers =
        |prefix: &str, count: usize| (1..=count).map(|n| format!("| {prefix}{n} |")).collect::<Vec<_>>();
    let mut wanted = numbers("", 23);
    wanted.extend(numbers("rule ", 12));
    wanted.extend(numbers("case ", 33));
    wanted.extend(numbers("quirk ", 6));
    for begin in wanted {
        assert_eq!(PAGE.lines().filter(|line| line.starts_with(&begin)).count(), 1, "{begin}");
    }
    for row in PAGE.lines().filter(|line| line.starts_with("| ") && !line.contains("proven by")) {
        assert!(!tests_named(row).is_empty() || row.contains("not here: "), "no test: {row}");
    }
}
