//! Signatures against those of the origin cloud's own SDK: `vectors.json` is printed by
//! `tools/signature_vectors.py`.

use axum::http::request::Builder;
use serde_json::Value;
use vault::keyed_hash::is_hmac_sha256;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn parts_of(vector: &Value) -> Parts {
    let request = Request::builder().method(text(&vector["method"])).uri(text(&vector["target"]));
    let with = |request: Builder, pair: &Value| request.header(text(&pair[0]), text(&pair[1]).as_bytes());
    let request = vector["headers"].as_array().unwrap().iter().fold(request, with);
    request.body(()).unwrap().into_parts().0
}

fn is_signed_by(parts: &Parts, body: &[u8], secret: &str) -> bool {
    let claim = Claim::of(&parts.headers).unwrap();
    let (stated_date, _) = date_of(&parts.headers).unwrap();
    let text = text_to_sign(stated_date, &head_of(parts, &claim).unwrap(), body);
    is_hmac_sha256(secret.as_bytes(), text.as_bytes(), &claim.signature)
}

#[test]
fn what_the_sdk_of_the_origin_signs_is_accepted() {
    let vectors = vectors();
    let secret = text(&vectors["secret"]);
    let all = vectors["vectors"].as_array().unwrap();
    assert!(all.len() >= 16);
    for vector in all {
        let (parts, body) = (parts_of(vector), text(&vector["body"]).as_bytes());
        assert_eq!(Claim::of(&parts.headers).unwrap().access_key, text(&vectors["access"]));
        assert!(is_signed_by(&parts, body, secret), "{}", vector["name"]);
        assert!(!is_signed_by(&parts, b"another body", secret), "{}", vector["name"]);
        assert!(!is_signed_by(&parts, body, "another secret"), "{}", vector["name"]);
    }
}

#[test]
fn whatever_is_changed_of_a_signed_request_breaks_the_signature() {
    let vectors = vectors();
    let vector = &vectors["vectors"][4];
    let signed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts_of(vector);
        change(&mut parts);
        is_signed_by(&parts, b"", text(&vectors["secret"]))
    };
    assert!(signed(&|_| {}));
    assert!(signed(
        &|parts| parts.uri = "/v1/p/checkpoint_items?sort=created_at:asc&limit=10".parse().unwrap()
    ));
    for target in ["/v1/q/checkpoint_items?limit=10&sort=created_at%3Aasc", "/v1/p/checkpoint_items?limit=10"]
    {
        assert!(!signed(&|parts| parts.uri = target.parse().unwrap()), "{target}");
    }
    assert!(!signed(&|parts| parts.method = Method::DELETE));
    assert!(!signed(&|parts| drop(parts.headers.insert(HOST, "other".parse().unwrap()))));
    assert!(!signed(&|parts| drop(parts.headers.insert(DATE, "20261123T010204Z".parse().unwrap()))));
}

#[test]
fn a_claim_has_one_form() {
    let claim = |text: &str| {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
        Claim::of(&headers).is_ok()
    };
    let signature = "0".repeat(64);
    let good = format!("{ALGORITHM} Access=A, SignedHeaders=host;x-sdk-date, Signature={signature}");
    assert!(claim(&good));
    assert!(claim(&good.replace(", ", ",")));
    for bad in [
        ALGORITHM.to_owned(),
        good.replace("Access=A, ", ""),
        good.replace("Access", "Credential"),
        good.replace("host;", ""),
        good.replace(";x-sdk-date", ""),
        good.replace("0000", "xyzw"),
        format!("{good}00"),
        format!("{good}, More=1"),
        good.replace(ALGORITHM, "SDK-HMAC-SHA256X"),
        good.replace("host", &"h;".repeat(100)),
    ] {
        assert!(!claim(&bad), "{bad}");
    }
    let mut twice = HeaderMap::new();
    twice.append(AUTHORIZATION, good.parse().unwrap());
    twice.append(AUTHORIZATION, good.parse().unwrap());
    assert!(Claim::of(&twice).is_err());
}

#[test]
fn only_a_date_of_the_one_form_is_a_date() {
    let date = |text: &str| {
        let headers = HeaderMap::from_iter([(DATE.parse().unwrap(), text.parse().unwrap())]);
        date_of(&headers).map(|(_, moment)| moment.wire()).ok()
    };
    assert_eq!(date("20261123T010203Z").as_deref(), Some("2026-11-23T01:02:03.000000"));
    for bad in ["", "20261123T010203", "20261323T010203Z", "2026-11-23T01:02:03Z", "20261123T010203Z "] {
        assert!(date(bad).is_none() || bad.ends_with(' '), "{bad}");
    }
}
