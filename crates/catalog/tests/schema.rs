//! The migrations of both engines say the same, and `schema.sql` shows what they add up to.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sqlx::{AnyPool, Row as _};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn migrations(engine: &str) -> BTreeMap<String, String> {
    let folder = folder("migrations").join(engine);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

/// What PostgreSQL calls the words of SQLite. Text is compared byte by byte on both, so that lists have
/// one order.
fn in_postgres_words(sqlite: &str) -> String {
    let mut translated = String::new();
    for line in sqlite.split_inclusive('\n') {
        if line.starts_with("--") {
            translated.push_str(line);
            continue;
        }
        let line = line.replace(") STRICT;", ");");
        let words = line.split_inclusive([' ', ',', ';', '\n']).map(|piece| {
            let (word, end) =
                piece.split_at(piece.len() - piece.chars().next_back().map_or(0, char::len_utf8));
            match word {
                "INTEGER" => format!("BIGINT{end}"),
                "TEXT" => format!("TEXT COLLATE \"C\"{end}"),
                "BLOB" => format!("BYTEA{end}"),
                _ => piece.to_owned(),
            }
        });
        translated.extend(words);
    }
    translated
}

#[test]
fn every_migration_says_the_same_on_both_engines() {
    let (sqlite, postgres) = (migrations("sqlite"), migrations("postgres"));
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    for (name, text) in &sqlite {
        assert_eq!(&in_postgres_words(text), &postgres[name], "{name}");
    }
}

#[tokio::test]
async fn schema_sql_is_what_the_migrations_make() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("catalog.db");
    catalog::Catalog::open_file(&path).await.unwrap().close().await;
    let database = AnyPool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let rows = sqlx::query("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '%sqlx%'");
    let rows = rows.fetch_all(&database).await.unwrap();
    let mut made: Vec<String> = rows.iter().map(|row| row.get::<String, _>("sql")).collect();
    let written = std::fs::read_to_string(folder("schema.sql")).unwrap();
    let mut written: Vec<String> =
        written.split(";\n").skip_while(|text| text.is_empty()).map(strip_comment).collect();
    written.retain(|text| !text.is_empty());
    made.sort();
    written.sort();
    assert_eq!(written, made, "run: cargo run -p catalog --example schema > crates/catalog/schema.sql");
}

#[tokio::test]
async fn a_catalog_opens_again_and_refuses_what_is_none() {
    let temporary = tempfile::tempdir().unwrap();
    let odd = temporary.path().join("a # b%20?.db");
    for _ in 0..2 {
        catalog::Catalog::open_file(&odd).await.unwrap().close().await;
    }
    assert!(odd.exists(), "the very path that was given");
    let other = temporary.path().join("other.db");
    std::fs::write(&other, vec![b'x'; 8192]).unwrap();
    for refused in [
        catalog::Catalog::open_file(&other).await,
        catalog::Catalog::open("mysql://x").await,
        catalog::Catalog::open("nonsense").await,
        catalog::Catalog::open_file(&temporary.path().join("missing").join("x.db")).await,
    ] {
        assert!(matches!(refused.map(drop), Err(catalog::CatalogError::Unavailable { .. })));
    }
}

fn strip_comment(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().skip_while(|line| line.starts_with("--") || line.is_empty()).collect();
    lines.join("\n")
}
