//! Bodies of requests: too large, too deep, of another type, or not what they seem.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::policy_body;
use crate::target::{BODY_BYTES_MAX, Target, rest_of, status};

/// The text of a sound policy with one number or text in it replaced by other JSON.
fn policy_with(key: &str, raw: &str) -> String {
    let mut body = policy_body("nightly", &["db1"]);
    let operation = &mut body["policy"]["scheduled_operations"][0];
    match key {
        "max_backups" => operation["operation_definition"][key] = json!("MARK"),
        "name" | "description" => body["policy"][key] = json!("MARK"),
        _ => body[key] = json!("MARK"),
    }
    body.to_string().replace("\"MARK\"", raw)
}

#[tokio::test]
async fn what_is_no_sound_json_is_refused_and_changes_nothing() {
    let target = Target::open().await;
    let sound = policy_body("nightly", &["db1"]).to_string();
    let deep = |open: &str| open.repeat(20_000);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "body: is empty"),
        ("blanks", b"  ".to_vec(), "body: is not valid JSON"),
        ("half of it", sound.as_bytes()[..sound.len() / 2].to_vec(), "body: is not valid JSON"),
        ("twice", format!("{sound}{sound}").into_bytes(), "body: is not valid JSON"),
        ("a form", b"name=nightly".to_vec(), "body: is not valid JSON"),
        ("null", b"null".to_vec(), "body: must be a JSON object"),
        ("a list", b"[]".to_vec(), "body: must be a JSON object"),
        ("deep lists", deep("[").into_bytes(), "recursion limit"),
        ("deep objects", deep("{\"a\":").into_bytes(), "recursion limit"),
        ("a key twice", policy_with("policy", "{}").replacen('{', "{\"policy\":1,", 1).into_bytes(), "twice"),
        ("a lone surrogate", policy_with("name", "\"\\ud800\"").into_bytes(), "body: is not valid JSON"),
        ("no UTF-8", [b"{\"a\":\"".as_slice(), b"\xff\"}"].concat(), "body: is not valid JSON"),
        ("UTF-16", sound.encode_utf16().flat_map(u16::to_le_bytes).collect(), "body: is not valid JSON"),
        (
            "a NUL in a text",
            policy_with("name", "\"a\\u0000b\"").into_bytes(),
            "policy.name: may not hold a NUL",
        ),
        ("1e400", policy_with("max_backups", "1e400").into_bytes(), "out of range"),
        ("2^64", policy_with("max_backups", "18446744073709551616").into_bytes(), "max_backups: "),
        ("2^63", policy_with("max_backups", "9223372036854775808").into_bytes(), "max_backups: "),
        ("1.5", policy_with("max_backups", "1.5").into_bytes(), "max_backups: "),
        ("a number as the name", policy_with("name", "7").into_bytes(), "policy.name: must be a string"),
        ("NaN", policy_with("max_backups", "NaN").into_bytes(), "body: is not valid JSON"),
    ];
    for (name, body, named) in &cases {
        let answer = target.post("/policies", body).await;
        assert_eq!(status(&answer), 400, "{name}: {answer:?}");
        assert!(answer.contains("CSBS.9001") && answer.contains(named), "{name}: {answer:?}");
    }
    target.serves_others().await;
    let policies = target.world.a.admin.get_v1("/policies").await;
    assert_eq!(policies.body["policies"], Value::Array(vec![]));
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let target = Target::open().await;
    let path = target.world.a.admin.v1("/policies");
    for stated in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "\u{e4}"] {
        let lines = format!("Content-Type: {stated}\r\nContent-Length: 2\r\n");
        let answer = target.send(format!("{}{{}}", target.head("POST", &path, &lines)).as_bytes()).await;
        assert_eq!(status(&answer), 400, "{stated}: {answer:?}");
        assert!(answer.contains("Content-Type: must be application/json"), "{stated}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_its_sender_hears_why() {
    let target = Target::open().await;
    let large = vec![b' '; usize::try_from(BODY_BYTES_MAX).unwrap() * 16];
    let answer = target.post("/policies", &large).await;
    assert_eq!(status(&answer), 400, "{answer:?}");
    assert!(answer.contains("body: is larger than 131072 bytes"), "{answer:?}");
    // One that does not say how much it sends.
    let path = target.world.a.admin.v1("/policies");
    let mut request = target.head("POST", &path, "Transfer-Encoding: chunked\r\n").into_bytes();
    for _ in 0..64 {
        request.extend_from_slice(b"2000\r\n");
        request.extend_from_slice(&[b' '; 0x2000]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = target.send(&request).await;
    assert!(status(&answer) == 400 && answer.contains("is larger than"), "{answer:?}");
    target.serves_others().await;
}

#[tokio::test]
async fn a_stranger_may_send_a_log_in_and_no_more() {
    let target = Target::open().await;
    let body = vec![b' '; 65 * 1024];
    let head = format!(
        "POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = target.send(&[head.as_bytes(), &body].concat()).await;
    assert!(status(&answer) == 400 && answer.contains("is larger than 65536 bytes"), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_in_bounded_time() {
    let target = Target::open().await;
    let path = target.world.a.admin.v1("/policies");
    let head = target.head("POST", &path, "Content-Type: application/json\r\nContent-Length: 100\r\n");
    let mut slow = target.connect().await;
    slow.write_all(format!("{head}{{").as_bytes()).await.unwrap();
    target.serves_others().await;
    let answer = rest_of(slow).await;
    assert!(status(&answer) == 408 && answer.contains("body: did not arrive in time"), "{answer:?}");
    // One that is closed half way.
    let mut broken = target.connect().await;
    broken.write_all(format!("{head}{{").as_bytes()).await.unwrap();
    broken.shutdown().await.unwrap();
    let answer = rest_of(broken).await;
    assert!(status(&answer) == 400 && answer.contains("body: broke off"), "{answer:?}");
    target.serves_others().await;
}
