//! `antipode key`: the region's keys, changed, proved and recovered. These commands work on the disk
//! itself and take the lock of the data directory: they run while `serve` does not.

mod command;
mod held;
mod kit;
mod passphrase;
mod sheet;

use std::sync::Arc;

use catalog::Catalog;
use control::Control;
use control::region::{KekPlan, KeyFiles};
use vault::kek::file::{KekKind, PassphraseCost};
use vault::store::LocalStore;

pub use command::{KeyArgs, run};
pub(crate) use held::HeldKeys;
pub(crate) use kit::read_kit;
pub(crate) use passphrase::new_passphrase;
pub(crate) use sheet::{share_path, write_sheets};

use crate::config::{Config, KekConfig};
use crate::serve::{self, StartError};

/// The key files of a region, with the passphrase if they take one: from its file, or typed.
pub(crate) fn key_files(config: &Config) -> Result<KeyFiles, StartError> {
    let files = KeyFiles::new(&config.storage.keys_dir).with_plan(kek_plan(config));
    if !files.needs_passphrase() {
        return Ok(files);
    }
    let passphrase = passphrase::passphrase(config.keys.passphrase_file.as_deref(), "Passphrase of the KEK")?;
    Ok(files.with_passphrase(passphrase))
}

/// How the configuration wants KEKs to be kept.
pub(crate) fn kek_plan(config: &Config) -> KekPlan {
    let keys = &config.keys;
    let kind = match keys.kek {
        KekConfig::File => KekKind::File,
        KekConfig::Passphrase => KekKind::Passphrase,
    };
    let cost = PassphraseCost {
        memory_kib: keys.passphrase_memory_kib,
        passes: keys.passphrase_passes,
        lanes: keys.passphrase_lanes,
    };
    KekPlan { kind, cost }
}

/// The region over its opened stores, while nobody serves it, with all keys that changes need.
async fn open_control(config: &Config) -> Result<Control, StartError> {
    let store = Arc::new(LocalStore::open(&config.storage.store_dir())?);
    let catalog = Catalog::open(&serve::catalog_url(config)?).await?;
    let (control, _) = serve::open_control(config, catalog, store).await?;
    serve::require_keys(&control)?;
    Ok(control)
}
