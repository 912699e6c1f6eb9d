//! Prints the tables that the migrations make, for `schema.sql`:
//! `cargo run -p catalog --example schema > crates/catalog/schema.sql`.

use sqlx::Row as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("catalog.db");
    catalog::Catalog::open_file(&path).await?.close().await;
    let database = sqlx::AnyPool::connect(&format!("sqlite://{}", path.display())).await?;
    println!("-- Generated from migrations/sqlite by the example \"schema\"; a test compares it.");
    let rows = sqlx::query(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '%sqlx%' ORDER BY tbl_name, type DESC, name",
    );
    for row in rows.fetch_all(&database).await? {
        println!("\n{};", row.try_get::<String, _>("sql")?);
    }
    Ok(())
}
