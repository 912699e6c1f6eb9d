//! The text that a request signature is made over, `SDK-HMAC-SHA256`: what both who signs (the command line)
//! and who checks (the API) make of a request. `csbs-v1-api.md` §13.

use vault::ids::to_hex;
use vault::keyed_hash::sha256;

/// What the `Authorization` header begins with.
pub(crate) const ALGORITHM: &str = "SDK-HMAC-SHA256";
/// The header with the date, in the form `20261123T010203Z`.
pub(crate) const DATE: &str = "x-sdk-date";
/// The header with the host, its port included.
pub(crate) const HOST: &str = "host";

/// A path or query that cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTarget {
    #[error("must be valid percent-encoded text")]
    Encoding,
    #[error("a signed path may not hold an encoded slash")]
    Slash,
}

/// Everything of the canonical request before the digest of the body: method, path, query, headers. Names of
/// headers come in lower case, in the order in which the signature names them.
pub(crate) fn canonical_head(
    method: &str,
    path: &str,
    query: &str,
    headers: &[(&str, &[u8])],
) -> Result<Vec<u8>, BadTarget> {
    let mut text = format!("{method}\n{}\n{}\n", canonical_path(path)?, canonical_query(query)?).into_bytes();
    for (name, value) in headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(value.trim_ascii());
        text.push(b'\n');
    }
    text.push(b'\n');
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    text.extend_from_slice(names.join(";").as_bytes());
    text.push(b'\n');
    Ok(text)
}

/// The text itself.
pub(crate) fn text_to_sign(date: &str, canonical_head: &[u8], body: &[u8]) -> String {
    let canonical = [canonical_head, to_hex(&sha256(body)).as_bytes()].concat();
    format!("{ALGORITHM}\n{date}\n{}", to_hex(&sha256(&canonical)))
}

/// Each part of the path percent-encoded anew, with a slash at the end. An encoded slash is refused: it would
/// give two paths one signature.
fn canonical_path(path: &str) -> Result<String, BadTarget> {
    let mut canonical = String::with_capacity(path.len() + 1);
    for part in path.split('/') {
        let decoded = percent_decoded(part, false)?;
        if decoded.contains(&b'/') {
            return Err(BadTarget::Slash);
        }
        percent_encode(&decoded, &mut canonical);
        canonical.push('/');
    }
    if path.ends_with('/') {
        canonical.pop();
    }
    Ok(canonical)
}

/// The pairs of the query, decoded, sorted by key and value, and encoded anew.
fn canonical_query(query: &str) -> Result<String, BadTarget> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((percent_decoded(name, true)?, percent_decoded(value, true)?));
    }
    pairs.sort();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in &pairs {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        percent_encode(name, &mut canonical);
        canonical.push('=');
        percent_encode(value, &mut canonical);
    }
    Ok(canonical)
}

fn percent_decoded(text: &str, is_query: bool) -> Result<Vec<u8>, BadTarget> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let (Some(high), Some(low)) = (high, low) else { return Err(BadTarget::Encoding) };
                (high * 16 + low) as u8
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    Ok(decoded)
}

fn percent_encode(bytes: &[u8], encoded: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(*byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_paths_never_share_a_signature() {
        for (path, canonical) in [("/v1/p/a%20b", "/v1/p/a%20b/"), ("/", "/"), ("/v1/p/", "/v1/p/")] {
            assert_eq!(canonical_path(path).as_deref(), Ok(canonical));
        }
        for bad in ["/v1/p%2Fq", "/v1/%zz", "/v1/%2", "/v1/%"] {
            assert!(canonical_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_is_sorted_and_encoded_anew() {
        for (query, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("a=b+c", "a=b%20c"),
            ("a=b%2bc", "a=b%2Bc"),
            ("&&a=1&", "a=1"),
            ("a==b", "a=%3Db"),
        ] {
            assert_eq!(canonical_query(query).as_deref(), Ok(canonical), "{query}");
        }
    }
}
