//! The names of everything in an object store, in one place.
//!
//! Names are made of `[a-z0-9._-]` and `/`. Everything is written once under a name that is never
//! used again; only deletion takes names away. `docs/format.md`, "Names in the store".

use crate::codec::Encoder;
use crate::error::VaultError;
use crate::ids::{
    DomainId, Epoch, Incarnation, KeyId, ManifestDigest, PackNumber, RegionId, VaultId, from_hex, to_hex,
};

/// Tells that a directory or bucket is a store of ours, and of which version.
pub const FORMAT_NAME: &str = "format";
/// What lies under [`FORMAT_NAME`].
pub const FORMAT_CONTENT: &[u8] = b"antipode store 1\n";
/// Prefix of all region cards.
pub const CARDS_PREFIX: &str = "cards/";
/// Prefix of all pins.
pub const PINS_PREFIX: &str = "pins/";
/// Prefix of all vaults. A primary vault is named as its key domain; a replica vault by
/// [`replica_vault_id`], because one domain may be replicated into several projects here.
pub const VAULTS_PREFIX: &str = "vaults/";
/// Prefix of all key bundles.
pub const KEYS_PREFIX: &str = "keys/";
/// Prefix of all state objects.
pub const STATE_PREFIX: &str = "state/";

/// The name of a region's card.
pub fn card_name(region: RegionId, serial: u64) -> String {
    format!("{CARDS_PREFIX}{region}/{serial:08}.card")
}

/// The name of the pin by which this region vouches for a peer's root key.
pub fn pin_name(peer: RegionId) -> String {
    format!("{PINS_PREFIX}{peer}.pin")
}

/// The id of the vault that holds the replicas of one key domain for one project here.
pub fn replica_vault_id(domain: DomainId, source: RegionId, destination_project: &str) -> VaultId {
    let mut encoder = Encoder::new();
    encoder.fixed(&domain.0).fixed(&source.0).string(destination_project);
    let digest = blake3::derive_key("antipode v1 replica vault", encoder.as_slice());
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    VaultId(id)
}

/// Prefix of everything of one vault.
pub fn vault_prefix(vault: VaultId) -> String {
    format!("{VAULTS_PREFIX}{vault}/")
}

/// The name of a vault's properties.
pub fn properties_name(vault: VaultId) -> String {
    format!("{VAULTS_PREFIX}{vault}/properties")
}

/// Prefix of a vault's packs.
pub fn packs_prefix(vault: VaultId) -> String {
    format!("{VAULTS_PREFIX}{vault}/packs/")
}

/// A place in a list behind every pack with this number or a smaller one, of any incarnation.
pub fn place_behind_pack(vault: VaultId, number: PackNumber) -> String {
    format!("{}{number}-~", packs_prefix(vault))
}

/// A place in a list behind everything of a vault.
pub fn place_behind_vault(vault: VaultId) -> String {
    format!("{}~", vault_prefix(vault))
}

/// The vault to which a name belongs, if it is the name of something in one.
pub fn vault_of_name(name: &str) -> Option<VaultId> {
    let (vault, _) = name.strip_prefix(VAULTS_PREFIX)?.split_once('/')?;
    from_hex(vault).ok().map(VaultId)
}

/// Prefix of a vault's manifests.
pub fn manifests_prefix(vault: VaultId) -> String {
    format!("{VAULTS_PREFIX}{vault}/manifests/")
}

/// The name of a manifest.
pub fn manifest_name(vault: VaultId, digest: ManifestDigest) -> String {
    format!("{VAULTS_PREFIX}{vault}/manifests/{digest}.manifest")
}

/// Prefix of a vault's wraps.
pub fn wraps_prefix(vault: VaultId) -> String {
    format!("{VAULTS_PREFIX}{vault}/wraps/")
}

/// What names a wrap. A vault holds at most one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrapName {
    /// The key domain.
    pub domain: DomainId,
    /// The epoch.
    pub epoch: Epoch,
    /// The number of the role.
    pub role: u8,
    /// The key that can open it.
    pub recipient: KeyId,
    /// The digest of the keys inside.
    pub key_check: [u8; 32],
}

/// The name of a wrap.
pub fn wrap_name(vault: VaultId, wrap: &WrapName) -> String {
    let WrapName { epoch, role, recipient, key_check, .. } = wrap;
    format!("{VAULTS_PREFIX}{vault}/wraps/{:08}-{role}-{recipient}-{}.wrap", epoch.0, to_hex(key_check))
}

/// Prefix of the key bundles of a domain.
pub fn bundles_prefix(domain: DomainId) -> String {
    format!("{KEYS_PREFIX}{domain}-")
}

/// The name of one revision of a domain's key bundle; the highest revision counts.
pub fn bundle_name(domain: DomainId, revision: u64) -> String {
    format!("{KEYS_PREFIX}{domain}-{revision:08}.bundle")
}

/// The revision in the name of a key bundle of this domain, if it is one.
pub fn bundle_revision(domain: DomainId, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(&bundles_prefix(domain))?.strip_suffix(".bundle")?;
    digits.parse().ok().filter(|revision| bundle_name(domain, *revision) == name)
}

/// The domain and revision in the name of a key bundle, if it is one.
pub fn bundle_of_name(name: &str) -> Option<(DomainId, u64)> {
    let (domain, _) = name.strip_prefix(KEYS_PREFIX)?.split_once('-')?;
    let domain = DomainId(from_hex(domain).ok()?);
    Some((domain, bundle_revision(domain, name)?))
}

/// The name of the ring of KEKs that the KEK with this number sealed.
pub fn ring_name(number: u32) -> String {
    format!("{KEYS_PREFIX}kek-{number:08}.ring")
}

/// The number in the name of a ring, if it is one.
pub fn ring_of_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(KEYS_PREFIX)?.strip_prefix("kek-")?.strip_suffix(".ring")?;
    digits.parse().ok().filter(|number| ring_name(*number) == name)
}

/// Prefix of the wraps of one epoch for one recipient in one role; a vault holds at most one of them.
pub fn wrap_prefix(vault: VaultId, epoch: Epoch, role: u8, recipient: KeyId) -> String {
    format!("{}{:08}-{role}-{recipient}-", wraps_prefix(vault), epoch.0)
}

/// The whole name of a pack.
pub fn pack_name(vault: VaultId, number: PackNumber, incarnation: Incarnation) -> String {
    PackName::new(number, incarnation).store_name(vault)
}

/// The name of a state object.
pub fn state_name(incarnation: Incarnation, sequence: u64) -> String {
    format!("{}{sequence:016}.state", states_prefix(incarnation))
}

/// Prefix of the state objects of one incarnation; their order is that of their numbers.
pub fn states_prefix(incarnation: Incarnation) -> String {
    format!("{STATE_PREFIX}{}-", to_hex(&incarnation.0[..4]))
}

/// The name of a pack inside its vault: the number that the catalog reserved and the first bytes of the
/// incarnation that did, so that a rolled-back catalog cannot name two packs alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    /// The reserved number.
    pub number: PackNumber,
    /// The first four bytes of the incarnation.
    pub incarnation: [u8; 4],
}

impl PackName {
    /// The name of the pack with this number in this incarnation.
    pub fn new(number: PackNumber, incarnation: Incarnation) -> PackName {
        let [a, b, c, d, ..] = incarnation.0;
        PackName { number, incarnation: [a, b, c, d] }
    }

    /// The last part of the store name, which the pack itself repeats under seal.
    pub fn file_name(&self) -> String {
        format!("{}-{}.pack", self.number, to_hex(&self.incarnation))
    }

    /// The whole store name.
    pub fn store_name(&self, vault: VaultId) -> String {
        format!("{}{}", packs_prefix(vault), self.file_name())
    }

    /// Parses [`PackName::file_name`].
    ///
    /// # Errors
    /// `BadFormat` for any other spelling.
    pub fn parse(file_name: &str) -> Result<PackName, VaultError> {
        let parse = || {
            let (number, incarnation) = file_name.strip_suffix(".pack")?.split_once('-')?;
            let number = PackNumber(u64::from_be_bytes(from_hex(number).ok()?));
            Some(PackName { number, incarnation: from_hex(incarnation).ok()? })
        };
        parse().ok_or_else(|| VaultError::bad_format("pack name", file_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_documented_ones() {
        let domain = DomainId([0xab; 16]);
        let hex = "ab".repeat(16);
        let pack = PackName::new(PackNumber(0x1f), Incarnation([0xcd; 16]));
        assert_eq!(
            pack.store_name(VaultId([0xab; 16])),
            format!("vaults/{hex}/packs/000000000000001f-cdcdcdcd.pack")
        );
        assert_eq!(PackName::parse(&pack.file_name()).unwrap(), pack);
        assert_eq!(card_name(RegionId([0xab; 16]), 1), format!("cards/{hex}/00000001.card"));
        assert_eq!(bundle_name(domain, 3), format!("keys/{hex}-00000003.bundle"));
        assert_eq!(bundle_revision(domain, &bundle_name(domain, 3)), Some(3));
        assert_eq!(state_name(Incarnation([0xcd; 16]), 7), "state/cdcdcdcd-0000000000000007.state");
        let wrap =
            WrapName { domain, epoch: Epoch(2), role: 1, recipient: KeyId([1; 16]), key_check: [2; 32] };
        let expected = format!("vaults/{hex}/wraps/00000002-1-{}-{}.wrap", "01".repeat(16), "02".repeat(32));
        assert_eq!(wrap_name(VaultId([0xab; 16]), &wrap), expected);
    }

    #[test]
    fn places_divide_what_was_before_from_what_came_later() {
        let (vault, own) = (VaultId([0xab; 16]), Incarnation([0xcd; 16]));
        let place = place_behind_pack(vault, PackNumber(0x1f));
        let name = |number, incarnation| pack_name(vault, PackNumber(number), incarnation);
        assert!(name(0x1f, own) < place && name(0x1f, Incarnation([0xff; 16])) < place);
        assert!(name(0x20, own) > place && name(0x20, Incarnation([0; 16])) > place);
        assert!(place_behind_vault(vault) > wraps_prefix(vault));
        assert!(place_behind_vault(vault) < packs_prefix(VaultId([0xac; 16])));
        assert_eq!(vault_of_name(&name(1, own)), Some(vault));
        assert_eq!(vault_of_name(&properties_name(vault)), Some(vault));
        for strange in ["vaults/x/properties", "keys/1", "vaults", "vaults/", "format"] {
            assert_eq!(vault_of_name(strange), None, "{strange}");
        }
        assert!(state_name(own, 9) < state_name(own, 10));
        assert!(state_name(own, 9).starts_with(&states_prefix(own)));
    }

    #[test]
    fn a_pack_name_has_one_spelling() {
        for name in [
            "",
            "1-cdcdcdcd.pack",
            "000000000000001F-cdcdcdcd.pack",
            "000000000000001f-cdcdcdcd",
            "000000000000001f-cdcdcdc.pack",
        ] {
            assert!(PackName::parse(name).is_err(), "{name:?} was accepted");
        }
        let domain = DomainId([0xab; 16]);
        for name in ["", "keys/x", &format!("keys/{}-3.bundle", "ab".repeat(16))] {
            assert_eq!(bundle_revision(domain, name), None);
        }
    }
}
