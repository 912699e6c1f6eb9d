//! stub while the vault's ingest lands
/// Open transfers.
#[derive(Default)]
pub(crate) struct OpenTransfers;
impl crate::Control { pub(crate) async fn verify_replica(&self, _: &catalog::Job) -> Result<(), crate::Error> { Ok(()) } }
