//! Texts that people carry or type: the store's format file, names, key files, recovery kits,
//! invitations.

use super::{Target, fixture};
use crate::ids::{Incarnation, PackNumber};
use crate::key_file;
use crate::keys::Secret;
use crate::layout::{self, PackName};
use crate::pairing::{Invitation, is_code, pairing_code};
use crate::recovery::{RecoveryKit, RecoverySeed, SHEET_BYTES_MAX, Sheet};
use crate::stored::check_format;

pub(super) const TARGETS: &[Target] = &[
    Target { name: "format-file", run: format, seeds: formats },
    Target { name: "names", run: names, seeds: all_names },
    Target { name: "key-file", run: key, seeds: keys },
    Target { name: "recovery-kit", run: kit, seeds: kits },
    Target { name: "invitation", run: invitation, seeds: invitations },
];

fn format(bytes: &[u8]) {
    assert_eq!(check_format(bytes).is_ok(), bytes == layout::FORMAT_CONTENT);
}

fn formats() -> Vec<Vec<u8>> {
    vec![layout::FORMAT_CONTENT.to_vec(), b"antipode store 0\n".to_vec()]
}

fn names(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    if let Ok(pack) = PackName::parse(name) {
        assert_eq!(pack.file_name(), name);
    }
    let domain = fixture().keys.domain();
    if let Some(revision) = layout::bundle_revision(domain, name) {
        assert_eq!(layout::bundle_name(domain, revision), name);
    }
}

fn all_names() -> Vec<Vec<u8>> {
    let pack = PackName::new(PackNumber(7), Incarnation([1; 16])).file_name();
    let bundle = layout::bundle_name(fixture().keys.domain(), 3);
    vec![pack.into_bytes(), bundle.into_bytes()]
}

fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(secret) = key_file::parse::<32>(text, "kek") {
        assert_eq!(key_file::render("kek", &secret[..]), text);
    }
    let _ = key_file::parse::<64>(text, "region-keys");
}

fn keys() -> Vec<Vec<u8>> {
    let file = |label, secret: &[u8]| key_file::render(label, secret).into_bytes();
    vec![file("kek", &[5; 32]), file("region-keys", &[6; 64])]
}

fn kit(bytes: &[u8]) {
    let Ok(sheet) = std::str::from_utf8(bytes) else { return };
    // A share says nothing by itself; it must not bring anybody down.
    let _ = Sheet::parse(sheet);
    if let Ok(kit) = RecoveryKit::parse(sheet) {
        assert!(sheet.len() <= SHEET_BYTES_MAX);
        let again = RecoveryKit::parse(&kit.render("again")).expect("what was rendered can be read");
        assert_eq!(again.root_fingerprint(), kit.root_fingerprint());
    }
}

fn kits() -> Vec<Vec<u8>> {
    let seed = RecoverySeed::from_secret(Secret::new([9; 32]));
    let kit = RecoveryKit::new(seed, &fixture().root.public());
    vec![kit.render("a region").as_bytes().to_vec()]
}

fn invitation(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    if let Ok(invitation) = line.parse::<Invitation>() {
        // Who types one may use capitals for the digits.
        assert_eq!(invitation.to_line(), line.trim().to_ascii_lowercase());
        let code = pairing_code(&invitation.root_key, &fixture().root.public(), &invitation.secret);
        assert!(is_code(&code, &code));
    }
    is_code(line, "");
}

fn invitations() -> Vec<Vec<u8>> {
    let invitation = Invitation {
        name: "here".to_owned(),
        url: "https://127.0.0.1:1".to_owned(),
        root_key: fixture().root.public(),
        tls_key_hash: [1; 32],
        secret: [2; 32],
    };
    vec![invitation.to_line().into_bytes()]
}
