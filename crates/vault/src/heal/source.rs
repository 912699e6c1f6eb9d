//! Another store as a source of objects: every whole pack in it whose objects are of one key domain, be
//! it the home of the domain or a replica of it. No key is needed and no signature is asked for: an
//! address is the digest of the bytes.

use std::path::Path;
use std::sync::Arc;

use crate::error::VaultError;
use crate::heal::ObjectSource;
use crate::ids::{Address, DomainId, Epoch, Incarnation, Kind, PackNumber, VaultId};
use crate::index::{Index, IndexIdentity, IndexSettings, IndexedObject, IndexedPack};
use crate::layout;
use crate::object::{HEADER_BYTES, Header, address_of};
use crate::pack::{ReadFooter, read_footer_of};
use crate::store::{ObjectStore, StoreError};

/// A second store, indexed by the footers of its packs.
pub struct StoreSource {
    store: Arc<dyn ObjectStore>,
    index: Index,
    pack_count: u64,
}

impl StoreSource {
    /// Reads the footers of a store. The index is made in `index_folder`, which is the caller's to remove.
    ///
    /// # Errors
    /// `Unavailable`, `Index`. A pack that cannot be used is passed over.
    pub fn open(
        store: Arc<dyn ObjectStore>,
        domain: DomainId,
        index_folder: &Path,
    ) -> Result<StoreSource, VaultError> {
        let doing = "listing the packs of another store";
        let identity = IndexIdentity { vault: VaultId(domain.0), domain, incarnation: Incarnation([0; 16]) };
        let index = Index::open(index_folder, &identity, &IndexSettings::default())?;
        let mut source = StoreSource { store, index, pack_count: 0 };
        let names = source.store.list(layout::VAULTS_PREFIX).map_err(|error| error.while_doing(doing))?;
        for name in names.iter().filter(|name| name.contains("/packs/")) {
            source.take_pack(name, domain)?;
        }
        Ok(source)
    }

    /// Packs that it can give objects from.
    pub fn pack_count(&self) -> u64 {
        self.pack_count
    }

    fn take_pack(&mut self, name: &str, domain: DomainId) -> Result<(), VaultError> {
        let doing = "reading a pack of another store";
        let bytes = self.store.size(name).map_err(|error| error.while_doing(doing))?;
        let footer = match read_footer_of(self.store.as_ref(), name, bytes) {
            Ok((_, footer)) => footer,
            Err(VaultError::BadFormat { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !self.is_of(name, &footer, domain)? {
            return Ok(());
        }
        self.pack_count += 1;
        let object = |entry: &crate::pack::PackEntry| IndexedObject {
            address: entry.address,
            kind: entry.kind,
            offset: entry.offset,
            stored_len: entry.stored_len,
            id: None,
        };
        self.index.add(&IndexedPack {
            number: PackNumber(self.pack_count),
            name: name.to_owned(),
            epoch: Epoch::NONE,
            objects: footer.entries.iter().map(object).collect(),
        })
    }

    /// All objects of a pack are of one domain, so the first one tells.
    fn is_of(&self, name: &str, footer: &ReadFooter, domain: DomainId) -> Result<bool, VaultError> {
        let Some(first) = footer.entries.first() else { return Ok(false) };
        match self.store.get_range(name, first.offset, HEADER_BYTES as u64) {
            Ok(header) => Ok(Header::parse(&header).is_ok_and(|header| header.domain == domain)),
            Err(StoreError::NotFound { .. } | StoreError::TooShort { .. }) => Ok(false),
            Err(error) => Err(error.while_doing("reading a pack of another store")),
        }
    }
}

impl ObjectSource for StoreSource {
    fn object(&self, kind: Kind, address: Address) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(place) = self.index.place(address)?.filter(|place| place.kind == kind) else {
            return Ok(None);
        };
        let Some(name) = self.index.pack_name(place.pack)? else { return Ok(None) };
        match self.store.get_range(&name, place.offset, u64::from(place.stored_len)) {
            Ok(stored) => Ok(Some(stored).filter(|stored| address_of(stored) == address)),
            Err(StoreError::NotFound { .. } | StoreError::TooShort { .. }) => Ok(None),
            Err(error) => Err(error.while_doing("reading an object of another store")),
        }
    }
}
