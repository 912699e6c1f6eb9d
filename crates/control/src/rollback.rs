//! A catalog that was rolled back, noticed at the start. The store then holds packs or state objects of this
//! very incarnation under numbers that the catalog has yet to give: writing on would name two things alike and
//! collect what the catalog has forgotten. So writing stops until a rebuild; reads and restores go on (design §4).
//!
//! Looks only at names behind the catalog's own numbers, which are none when all is well: its cost follows the
//! number of vaults, not what they hold. A number is taken in the catalog before anything is stored under it,
//! and the catalog is asked again before it is doubted, because another process may have taken one meanwhile.

use catalog::Catalog;
use tracing::{error, warn};
use vault::error::VaultError;
use vault::ids::{Incarnation, PackNumber, VaultId};
use vault::layout::{self, PackName};
use vault::store::{ListPart, ObjectStore};

use crate::error::Error;
use crate::{Parts, blocking};

/// Names asked for at a time, when packs of other incarnations lie behind the place looked at.
const NAMES_A_CALL: usize = 1000;

/// Stops writing when the store knows more than the catalog; says so again when it was stopped before.
pub(crate) async fn stop_writing_when_rolled_back(parts: &Parts) -> Result<(), Error> {
    let region = parts.catalog.region().await?;
    let Some(region) = region else { return Ok(()) };
    if let Some(reason) = region.blocked_reason {
        warn!(%reason, "writing is blocked; reads and restores go on");
        return Ok(());
    }
    let found = match later_state(parts, region.state_sequence).await? {
        Some(found) => Some(found),
        None => later_pack(parts).await?,
    };
    let Some(found) = found else { return Ok(()) };
    let reason = format!(
        "the catalog was rolled back: the store holds {found}, which the catalog does not know of; put the \
         newest catalog back, or make one from the store with: antipode rebuild --from-store"
    );
    error!(%reason, "writing is blocked; reads and restores go on");
    parts.catalog.block_writes(&reason).await?;
    Ok(())
}

/// A state object of this incarnation that the catalog has not numbered.
async fn later_state(parts: &Parts, known: u64) -> Result<Option<String>, Error> {
    let incarnation = parts.incarnation;
    let after = layout::state_name(incarnation, known);
    let name = first_name(parts, layout::states_prefix(incarnation), after).await?;
    let Some(name) = name else { return Ok(None) };
    let known = parts.catalog.region().await?.map_or(0, |region| region.state_sequence);
    Ok((name > layout::state_name(incarnation, known)).then_some(name))
}

/// A pack of this incarnation that the catalog has not numbered, in any vault that the store knows.
async fn later_pack(parts: &Parts) -> Result<Option<String>, Error> {
    let mut place = layout::VAULTS_PREFIX.to_owned();
    while let Some(name) = first_name(parts, layout::VAULTS_PREFIX.to_owned(), place).await? {
        let Some(vault) = layout::vault_of_name(&name) else {
            // Nothing of ours: go on behind it.
            place = name;
            continue;
        };
        place = layout::place_behind_vault(vault);
        let known = last_pack(&parts.catalog, vault).await?;
        let Some(pack) = first_own_pack(parts, vault, known).await? else { continue };
        if pack.number > last_pack(&parts.catalog, vault).await? {
            return Ok(Some(pack.store_name(vault)));
        }
    }
    Ok(None)
}

async fn last_pack(catalog: &Catalog, vault: VaultId) -> Result<PackNumber, Error> {
    Ok(PackNumber(catalog.vault(vault.0).await?.map_or(0, |row| row.last_pack)))
}

async fn first_own_pack(parts: &Parts, vault: VaultId, known: PackNumber) -> Result<Option<PackName>, Error> {
    let (store, incarnation) = (parts.store.clone(), parts.incarnation);
    let found = blocking(move || own_pack_behind(store.as_ref(), vault, known, incarnation)).await??;
    Ok(found)
}

fn own_pack_behind(
    store: &dyn ObjectStore,
    vault: VaultId,
    known: PackNumber,
    incarnation: Incarnation,
) -> Result<Option<PackName>, VaultError> {
    let prefix = layout::packs_prefix(vault);
    let mut after = layout::place_behind_pack(vault, known);
    loop {
        let part = ListPart { prefix: &prefix, after: &after, count_max: NAMES_A_CALL };
        let names = store.list_part(&part).map_err(|error| error.while_doing("looking for later packs"))?;
        let is_own = |pack: &PackName| *pack == PackName::new(pack.number, incarnation);
        let packs = names.iter().filter_map(|name| PackName::parse(name.strip_prefix(&prefix)?).ok());
        if let Some(own) = packs.into_iter().find(is_own) {
            return Ok(Some(own));
        }
        match names.into_iter().next_back() {
            Some(last) => after = last,
            None => return Ok(None),
        }
    }
}

async fn first_name(parts: &Parts, prefix: String, after: String) -> Result<Option<String>, Error> {
    let store = parts.store.clone();
    let names =
        blocking(move || store.list_part(&ListPart { prefix: &prefix, after: &after, count_max: 1 })).await?;
    let names = names.map_err(|error| error.while_doing("comparing the store with the catalog"))?;
    Ok(names.into_iter().next())
}
