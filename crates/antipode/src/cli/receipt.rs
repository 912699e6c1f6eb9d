//! `antipode receipt …`: what destinations signed for. `verify` asks nobody: it needs the file and the
//! destination's root key, which its operator reads off its recovery kit.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use model::time::Timestamp;
use serde_json::{Value, json};
use vault::ids::from_hex;
use vault::receipt::Level;
use vault::receipt_file::{CheckedReceipt, RECEIPT_FILE_BYTES_MAX, ReceiptFile};

use super::error::{CliError, Outcome};
use super::names::record_id;
use super::output::{Column, Output, cell};
use super::session::Surface;
use super::{Context, Global};

const COLUMNS: [Column; 6] = [
    ("RECORD", "id"),
    ("ITEM", "source_checkpoint_item_id"),
    ("REGION", "destination_region"),
    ("PROJECT", "destination_project_id"),
    ("REPLICA", "destination_checkpoint_item_id"),
    ("ORDERED (UTC)", "created_at"),
];
const DETAIL_COLUMNS: [Column; 10] = [
    ("RECORD", "replication_record_id"),
    ("ITEM", "checkpoint_item_id"),
    ("REGION", "destination_region"),
    ("REGION ID", "destination_region_id"),
    ("MANIFEST", "manifest"),
    ("OBJECTS", "object_count"),
    ("STORED", "stored_bytes"),
    ("LEVEL", "level"),
    ("SIGNED (UTC)", "published_at"),
    ("KEPT UNTIL (UTC)", "keep_until"),
];
const PROVED_COLUMNS: [Column; 13] = [
    ("SIGNED BY", "destination_region"),
    ("REGION ID", "destination_region_id"),
    ("SIGNED (UTC)", "published_at"),
    ("MANIFEST", "manifest"),
    ("FROM REGION ID", "source_region_id"),
    ("IN PROJECT", "destination_project_id"),
    ("REPLICA", "replica_id"),
    ("OBJECTS", "object_count"),
    ("STORED", "stored_bytes"),
    ("MODE", "mode"),
    ("LEVEL", "level"),
    ("MEANING", "meaning"),
    ("KEPT UNTIL (UTC)", "keep_until"),
];

/// What can be done with receipts.
#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Check a receipt with the destination's root key, without any region: what it proves, or exit code 1
    Verify(VerifyArgs),
    /// What a served region shows.
    #[command(flatten)]
    Served(ServedReceiptCommand),
}

/// `antipode receipt verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A file that `receipt show --out` wrote
    file: PathBuf,
    /// The root public key of the region that signed it, or the fingerprint on its recovery kit: 64 hex digits
    #[arg(long, value_name = "KEY")]
    key: String,
}

/// What a served region shows of receipts.
#[derive(Debug, Subcommand)]
pub enum ServedReceiptCommand {
    /// Show the replicas of the project that a destination has signed for
    List,
    /// Show what a destination signed
    Show {
        /// The replication record, by id or beginning of the id
        record: String,
        /// Write the receipt, with the card of the region that signed it, to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl ServedReceiptCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            ServedReceiptCommand::List => {
                let path = "/replication_records?status=success";
                let rows = context.session.list(Surface::Csbs, path, "replication_records").await?;
                context.output.list(&rows, &COLUMNS);
            }
            ServedReceiptCommand::Show { record, out } => {
                let path = format!("/replication_records/{}/receipt", record_id(context, &record).await?);
                let mut answer = context.session.get(Surface::Own, &path).await?;
                let receipt = answer["receipt"].take();
                if let Some(out) = out {
                    write_file(&out, &receipt)?;
                }
                context.output.one(&receipt, &DETAIL_COLUMNS);
            }
        }
        Ok(())
    }
}

/// Checks a receipt file and shows what it proves.
pub fn verify(args: &VerifyArgs, global: &Global) -> Outcome<()> {
    let usage = || CliError::usage("--key: must be 64 hex digits");
    let pinned: [u8; 32] = from_hex(&args.key.to_ascii_lowercase()).map_err(|_| usage())?;
    let refused = |error| CliError::failed(format!("{}: {error}", args.file.display()));
    let file = ReceiptFile::decode(&read_file(&args.file)?).map_err(refused)?;
    let checked = file.check(&pinned).map_err(refused)?;
    let output = Output { format: global.format(), raw_bytes: global.bytes };
    output.one(&proved(&checked), &PROVED_COLUMNS);
    Ok(())
}

fn proved(checked: &CheckedReceipt) -> Value {
    let said = &checked.receipt;
    let meaning = match said.level {
        Level::Stored => "every address was recomputed and nothing is missing",
        Level::Opened => "the same, and every chunk was opened",
        Level::Drilled => "the same, and the backup was restored",
    };
    json!({
        "id": said.replica.to_string(),
        "destination_region": checked.region_name,
        "destination_region_id": said.destination_region.to_string(),
        "published_at": Timestamp::from_millis(said.published_ms).wire(),
        "manifest": said.manifest.to_string(),
        "source_region_id": said.source_region.to_string(),
        "destination_project_id": said.destination_project,
        "replica_id": said.replica.to_string(),
        "object_count": said.object_count,
        "stored_bytes": said.stored_bytes,
        "mode": said.mode.word(),
        "level": said.level.word(),
        "meaning": meaning,
        "keep_until": Timestamp::from_millis(said.keep_until_ms).wire(),
    })
}

fn read_file(path: &Path) -> Outcome<Vec<u8>> {
    let failed = |error: std::io::Error| CliError::failed(format!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    // One byte more than the longest: the decoder refuses it, and nobody reads a device to its end.
    let file = File::open(path).map_err(failed)?;
    file.take(RECEIPT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write_file(path: &Path, receipt: &Value) -> Outcome<()> {
    let part = |key: &str| {
        let odd = || CliError::failed(format!("the region answered with a {key} that is not hex"));
        bytes_of(&cell(receipt, key)).ok_or_else(odd)
    };
    let file = ReceiptFile { card: part("card")?, receipt: part("receipt")? };
    let failed = |error: std::io::Error| CliError::failed(format!("{}: {error}", path.display()));
    std::fs::write(path, file.encode()).map_err(failed)
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pair = |start: usize| hex.get(start..start + 2).and_then(|pair| from_hex::<1>(pair).ok());
    (0..hex.len()).step_by(2).map(|start| pair(start).map(|[byte]| byte)).collect()
}
