//! What reads each object by itself, as the product does before it relies on it. An answer is what the
//! object means, in a form that can be compared.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use vault::error::VaultError;
use vault::head::Head;
use vault::ids::{ManifestDigest, RegionId, VaultId, from_hex};
use vault::kek::Kek;
use vault::layout::{self, PackName};
use vault::manifest::Manifest;
use vault::object::{Opener, address_of};
use vault::pack::{FooterPlace, TRAILER_BYTES};
use vault::properties::VaultProperties;
use vault::receipt::Receipt;
use vault::recovery::RecoveryKit;
use vault::signed::{PublicKey, Signers};
use vault::state::StateObject;
use vault::stored::{check_format, read_card, read_pin, read_wrap};

use crate::medium::{KEY_FILES, Medium, PAPER, RECEIVED};
use crate::world::whole::Whole;

pub(crate) struct Readers {
    kek: Kek,
    region: RegionId,
    root: PublicKey,
    recovery_key: [u8; 32],
    signers: Signers,
    vaults: BTreeMap<VaultId, vault::keys::DomainKeys>,
    packs: BTreeMap<String, Pack>,
    /// The newest bundle, to try a KEK on.
    bundle: (String, Vec<u8>),
    heads: BTreeMap<String, Head>,
    receipts: BTreeMap<String, Receipt>,
    folder: tempfile::TempDir,
    meanings: BTreeMap<String, String>,
}

/// What the catalog remembers of a pack.
struct Pack {
    bytes: u64,
    footer_digest: [u8; 32],
}

impl Readers {
    pub(crate) fn new(whole: &Whole, medium: &Medium) -> Readers {
        let regions = [&whole.region, &whole.second, &whole.replicas];
        let bundle = layout::bundle_name(whole.region.keys.domain(), 2);
        let mut readers = Readers {
            kek: whole.kek.clone(),
            region: whole.region.identity.region(),
            root: whole.root.public(),
            recovery_key: whole.kit.seed().receiving_key().public(),
            signers: whole.signers.clone(),
            vaults: regions.map(|region| (region.vault_id, region.keys.clone())).into(),
            packs: BTreeMap::new(),
            bundle: (bundle.clone(), medium.bytes(&bundle).unwrap().to_vec()),
            heads: BTreeMap::new(),
            receipts: BTreeMap::new(),
            folder: tempfile::tempdir().unwrap(),
            meanings: BTreeMap::new(),
        };
        for name in medium.names() {
            readers.remember(&name, &medium.bytes(&name).unwrap());
        }
        readers
    }

    /// What a region knows about its own objects from elsewhere.
    fn remember(&mut self, name: &str, bytes: &[u8]) {
        if name.ends_with(".pack") {
            let footer_digest = place(bytes).unwrap().digest;
            self.packs.insert(name.to_owned(), Pack { bytes: bytes.len() as u64, footer_digest });
        } else if name.ends_with(".receipt") {
            self.receipts.insert(name.to_owned(), Receipt::decode(bytes, &self.signers).unwrap());
        } else if name.ends_with(".head") {
            self.heads.insert(name.to_owned(), Head::decode(bytes, &self.signers).unwrap());
        } else if name.starts_with(PAPER) {
            self.meanings.insert(name.to_owned(), self.read(name, Some(bytes)).unwrap());
        }
    }

    /// What a name meant when its bytes were sound, for what may change without another meaning.
    pub(crate) fn meaning(&self, name: &str) -> &str {
        self.meanings.get(name).map_or("", String::as_str)
    }

    /// Reads what lies under a name now; nothing is an error.
    pub(crate) fn read(&self, name: &str, bytes: Option<&[u8]>) -> Result<String, VaultError> {
        let bytes = bytes.ok_or_else(|| VaultError::refused("it is not there"))?;
        if let Some(label) = name.strip_prefix(KEY_FILES) {
            return self.read_key_file(label, bytes);
        }
        if name.starts_with(PAPER) {
            return self.read_kit(bytes);
        }
        if name.starts_with(RECEIVED) {
            return self.read_received(name, bytes);
        }
        if name == layout::FORMAT_NAME {
            return check_format(bytes).map(|()| String::new());
        }
        let debug = |value: &dyn std::fmt::Debug| Ok(format!("{value:?}"));
        match name.split('/').next().unwrap_or_default() {
            "cards" => debug(&read_card(name, bytes)?),
            "pins" => match read_pin(name, bytes, &self.signers)? {
                pin if pin.region == self.region => debug(&pin),
                _ => Err(VaultError::refused("pins of others count for nothing")),
            },
            "keys" => debug(&self.kek.open_bundle(name, bytes)?.current_epoch()),
            "state" => debug(&StateObject::open(name, bytes, &self.kek, self.region, &self.signers)?),
            _ => self.read_of_vault(name, bytes),
        }
    }

    fn read_of_vault(&self, name: &str, bytes: &[u8]) -> Result<String, VaultError> {
        let rest = name.strip_prefix(layout::VAULTS_PREFIX).unwrap();
        let (vault, rest) = rest.split_once('/').unwrap();
        let vault = VaultId(from_hex(vault)?);
        if rest == "properties" {
            let properties = VaultProperties::decode(bytes, vault, self.region, &self.signers)?;
            return Ok(format!("{properties:?}"));
        }
        if rest.starts_with("wraps/") {
            return Ok(format!("{:?}", read_wrap(vault, name, bytes, &self.signers)?.fields()));
        }
        if let Some(digest) = rest.strip_prefix("manifests/") {
            return self.read_manifest(vault, digest.strip_suffix(".manifest").unwrap().parse()?, bytes);
        }
        self.read_pack(vault, name, bytes)
    }

    fn read_manifest(
        &self,
        vault: VaultId,
        digest: ManifestDigest,
        bytes: &[u8],
    ) -> Result<String, VaultError> {
        let manifest = Manifest::decode(bytes, &self.signers)?;
        let keys = &self.vaults[&vault];
        if manifest.digest() != digest || manifest.fields().domain != keys.domain() {
            return Err(VaultError::refused("another manifest"));
        }
        let mut opener = Opener::new()?;
        let body = manifest.body(keys, &mut opener)?;
        Ok(format!("{:?} {body:?} {:?}", manifest.fields(), manifest.description(keys, &mut opener)?))
    }

    /// A pack against what the catalog remembers, and every object in it against its address.
    fn read_pack(&self, vault: VaultId, name: &str, bytes: &[u8]) -> Result<String, VaultError> {
        let bad = |why: &str| Err(VaultError::bad_format("pack", why));
        let known = &self.packs[name];
        if known.bytes != bytes.len() as u64 {
            return bad("another length");
        }
        let place = place(bytes)?;
        if place.digest != known.footer_digest {
            return bad("another footer");
        }
        let footer = place.decode(&bytes[place.offset as usize..][..place.length as usize])?;
        let file_name = PackName::parse(name.rsplit('/').next().unwrap())?;
        footer.dedup_ids(&self.vaults[&vault], &mut Opener::new()?, file_name)?;
        for entry in &footer.entries {
            let stored = &bytes[entry.offset as usize..entry.end() as usize];
            if address_of(stored) != entry.address {
                return Err(VaultError::Corrupt { address: entry.address, why: "another address" });
            }
        }
        Ok(format!("{:?}", footer.entries))
    }

    fn read_key_file(&self, label: &str, bytes: &[u8]) -> Result<String, VaultError> {
        let path = self.folder.path().join("key");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let kek = Kek::load(&path)?;
        if label == "kek" {
            kek.open_bundle(&self.bundle.0, &self.bundle.1)?;
        }
        Ok(String::new())
    }

    fn read_kit(&self, bytes: &[u8]) -> Result<String, VaultError> {
        let text = std::str::from_utf8(bytes).map_err(|_| VaultError::refused("no text"))?;
        RecoveryKit::prove(text, &self.root, &self.recovery_key)?;
        let kit = RecoveryKit::parse(text)?;
        Ok(format!("{:?} {}", kit.root_fingerprint(), kit.seed().receiving_key().key_id()))
    }

    /// A receipt must be the one that was waited for, a head newer than the last.
    fn read_received(&self, name: &str, bytes: &[u8]) -> Result<String, VaultError> {
        if name.ends_with(".receipt") {
            let (receipt, known) = (Receipt::decode(bytes, &self.signers)?, &self.receipts[name]);
            return match (receipt.manifest, receipt.replica) == (known.manifest, known.replica) {
                true => Ok(format!("{receipt:?}")),
                false => Err(VaultError::refused("a receipt for another replica")),
            };
        }
        if name.ends_with(".entries") {
            return Ok(format!("{:?}", self.heads[&name.replace("entries", "head")].entries(bytes)?));
        }
        let (head, known) = (Head::decode(bytes, &self.signers)?, &self.heads[name]);
        match head.counter == known.counter {
            true => Ok(format!("{head:?}")),
            false => Err(VaultError::refused("a head of another time")),
        }
    }
}

fn place(pack: &[u8]) -> Result<FooterPlace, VaultError> {
    let trailer = pack.len().saturating_sub(TRAILER_BYTES);
    FooterPlace::parse(&pack[trailer..], pack.len() as u64)
}
