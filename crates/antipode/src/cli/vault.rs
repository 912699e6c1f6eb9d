//! `antipode vault …`: the vaults of the region and their collection (operator).

use clap::Subcommand;
use reqwest::Method;

use super::Context;
use super::error::Outcome;
use super::output::{Column, cell};
use super::session::Surface;

const COLUMNS: [Column; 4] =
    [("ID", "id"), ("PROJECT", "project_id"), ("KIND", "kind"), ("CREATED (UTC)", "created_at")];
const COLLECTION_COLUMNS: [Column; 6] = [
    ("PHASE", "phase"),
    ("DONE", "done_bytes"),
    ("OF", "total_bytes"),
    ("SECONDS LEFT", "seconds_left"),
    ("LIVE", "live_bytes"),
    ("FREED", "deleted_bytes"),
];

/// What can be done with the vaults of a region that is served.
#[derive(Debug, Subcommand)]
pub enum ServedVaultCommand {
    /// Show the vaults and how far their collections are
    Show,
    /// Free what no backup needs any more, now instead of when it is due
    Collect {
        /// The vault's id; every vault if left out
        id: Option<String>,
    },
}

impl ServedVaultCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let vaults = context.session.list(Surface::Own, "/vaults", "vaults").await?;
        match self {
            ServedVaultCommand::Show => {
                context.output.list(&vaults, &COLUMNS);
                let collections = vaults.iter().map(|vault| vault["collection"].clone());
                let collections: Vec<_> = collections.filter(|collection| !collection.is_null()).collect();
                if !collections.is_empty() {
                    context.output.list(&collections, &COLLECTION_COLUMNS);
                }
            }
            ServedVaultCommand::Collect { id } => {
                let ids =
                    id.map_or_else(|| vaults.iter().map(|vault| cell(vault, "id")).collect(), |id| vec![id]);
                for id in ids {
                    let path = format!("/vaults/{id}/collect");
                    context.session.send(Method::POST, Surface::Own, &path, None).await?;
                }
                context.output.done("ordered");
            }
        }
        Ok(())
    }
}
