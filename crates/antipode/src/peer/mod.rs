//! The link between regions: mutual TLS 1.3, HTTP/1.1, binary bodies (design §6).
//!
//! Each region has one TLS key ([`identity`]) and is known to its peers by the BLAKE3 of that key,
//! never by a name or an authority in a certificate. [`listener`] answers peers and hands every
//! request, with the key hash it came under, to a [`listener::PeerService`]; [`client`] asks them and
//! accepts only the key it was told. What a request looks like in bytes is in [`wire`].
//!
//! The link moves and bounds; it decides nothing. Who may do what is `control`'s to say.

pub mod client;
pub mod identity;
pub mod listener;
mod tls;
pub mod wire;

/// Makes aws-lc-rs the crypto provider of this process, for users of TLS that do not name one (the
/// command line's HTTP client). May be called again: the first call counts.
pub fn install_crypto_provider() {
    // An error means that one is installed already, and no other provider is in the tree.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
